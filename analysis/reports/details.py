"""The parts of a report that explain its result, as typed values; each writes its own part of the JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.stats.comparisons.readings import Lift, Reading
from analysis.stats.heterogeneity import Breakdown
from analysis.stats.posterior import Posterior


@dataclass(frozen=True, slots=True)
class Guardrail:
    """
    A metric that must not get worse by more than a margin.

    Attributes:
        margin: The largest loss allowed, a share of the control's value, below 0.
        passed: Whether the whole interval is above the margin.
        low, high: The always-valid interval of the gain, negative for a loss; None with a reason.
    """

    margin: float
    passed: bool
    low: float | None
    high: float | None
    reason: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the whole interval is below the margin."""
        return self.high is not None and self.high < self.margin

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        values: dict[str, Any] = {"margin": self.margin, "passed": self.passed, "low": self.low, "high": self.high}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class MonthlyValue:
    """
    What a variant would bring in 30 days over the control, in the shop's currency.

    Attributes:
        estimate, low, high: The always-valid interval; None with a reason.
        variant: Of which variant; None where none has a lift.
        metric: The metric that it is computed from.
        units: Eligible units of 30 days, at the pace so far.
    """

    estimate: float | None
    low: float | None
    high: float | None
    variant: str | None = None
    metric: str | None = None
    units: int | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        values: dict[str, Any] = {"estimate": self.estimate, "low": self.low, "high": self.high}
        if self.variant is not None:
            values |= {"variant": self.variant, "metric": self.metric, "units": self.units}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class CumulativePoint:
    """The always-valid lifts over all units exposed up to the end of a day (YYYY-MM-DD), by variant."""

    day: str
    units: int
    lifts: Mapping[str, Reading]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        lifts = {
            key: {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict()}
            for key, lift in self.lifts.items()
        }
        return {"day": self.day, "units": self.units, "lifts": lifts}


@dataclass(frozen=True, slots=True)
class DayPoint:
    """The lifts on one day after the exposure, among units followed that long, by variant."""

    day: int
    units: int
    lifts: Mapping[str, Lift]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        lifts = {
            key: {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}
            for key, lift in self.lifts.items()
        }
        return {"day": self.day, "units": self.units, "lifts": lifts}


@dataclass(frozen=True, slots=True)
class Curves:
    """The primary metric over time; `since_exposure_of` names the column whose daily sums the second curve shows."""

    cumulative: Sequence[CumulativePoint]
    since_exposure: Sequence[DayPoint]
    since_exposure_of: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        return {
            "cumulative": [point.to_dict() for point in self.cumulative],
            "since_exposure": [point.to_dict() for point in self.since_exposure],
            "since_exposure_of": self.since_exposure_of,
        }


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """The primary metric broken down by one attribute."""

    metric: str
    breakdown: Breakdown

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        return {"metric": self.metric, **self.breakdown.to_dict()}


@dataclass(frozen=True, slots=True)
class Posteriors:
    """The chances of each variant to be the best in a metric, by flat priors."""

    metric: str
    variants: Mapping[str, Posterior]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        return {
            "metric": self.metric,
            "variants": {key: posterior.to_dict() for key, posterior in self.variants.items()},
        }


@dataclass(frozen=True, slots=True)
class OrderTotals:
    """
    What became of the orders of the store.

    Attributes:
        counted: Of units of the experiment, inside their window.
        elsewhere: Of units that are not in the experiment, or outside their window.
        without_unit, unverified: Of whom nobody knows the visitor; that the shop has not confirmed.
        excluded: By the order rules, by reason.
        from_sources: Of sources that the shop excludes, by source.
    """

    counted: int = 0
    elsewhere: int = 0
    without_unit: int = 0
    unverified: int = 0
    excluded: Mapping[str, int] = field(default_factory=dict)
    from_sources: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, int]:
        """Return the JSON values; what is 0 is missing, but for the first two."""
        unmatched = {"without_unit": self.without_unit} if self.without_unit else {}
        return {"counted": self.counted, "elsewhere": self.elsewhere, **unmatched, **self.excluded_counts()}

    def excluded_counts(self) -> dict[str, int]:
        """Return how many orders do not count, by reason."""
        counts = {"unverified": self.unverified} if self.unverified else {}
        counts |= {f"excluded: {reason}": n for reason, n in self.excluded.items()}
        return counts | {f"source: {source}": n for source, n in self.from_sources.items()}
