"""What a comparison says: an interval, a reading (p-value and both intervals), and a lift with all of its readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas

Method = Literal["holm", "benjamini_hochberg"]
SCALES, ENDS = ("absolute", "relative"), ("estimate", "low", "high")


@dataclass(frozen=True, slots=True)
class Interval:
    """
    An estimate with its interval.

    Attributes:
        estimate, low, high: None where it cannot be had.
        reason: Why something is None.
    """

    estimate: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One way to read a comparison; p and both intervals always agree.

    Attributes:
        absolute: Treatment - control, in the metric's unit.
        relative: (treatment - control) / |control|, a share.
        p_value: Two-sided, of no difference.
        reason: Why p_value is None.
    """

    absolute: Interval
    relative: Interval
    p_value: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {"absolute": self.absolute.to_dict(), "relative": self.relative.to_dict(), "p_value": self.p_value}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift(Reading):
    """
    A comparison read in three ways; its own fields are the comparison's alone, at a fixed horizon.

    Attributes:
        simultaneous: All variants of the family at once (Dunnett); with one variant the same.
        anytime: Holds on every day it is read, all variants of the family together.
        adjusted: The same comparison with what the units did before taken out, where that is known.
        capped: The same comparison with the largest and the smallest values capped, where that is asked for.
        group_sequential: At the planned looks only, where there are any.
        across_metrics: The family's p, held together with those of the report's other secondary metrics.
    """

    simultaneous: Reading
    anytime: Reading
    adjusted: Adjusted | None = None
    capped: Capped | None = None
    group_sequential: Look | None = None
    across_metrics: CorrectedP | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = Reading.to_dict(self)
        values |= {"simultaneous": self.simultaneous.to_dict(), "anytime": self.anytime.to_dict()}
        for name in ("adjusted", "capped", "group_sequential", "across_metrics"):
            part = getattr(self, name)
            if part is not None:
                values[name] = part.to_dict()
        return values

    def to_frame(self) -> pandas.DataFrame:
        """Return one row for each reading: p, and estimate, low and high of the absolute and the relative lift."""
        import pandas as pd

        readings = {"alone": self, "simultaneous": self.simultaneous, "anytime": self.anytime}
        if self.adjusted is not None:
            readings["adjusted"] = self.adjusted.lift
        rows = {}
        for name, one in readings.items():
            ends = {f"{scale}_{end}": getattr(getattr(one, scale), end) for scale in SCALES for end in ENDS}
            rows[name] = {"p_value": one.p_value, **ends}
        return pd.DataFrame.from_dict(rows, orient="index")


@dataclass(frozen=True, slots=True)
class Adjusted:
    """
    A lift with what a covariate explains taken out.

    Attributes:
        covariate: What it was, as a merchant reads it.
        variance_saved: The share by which the variance of the difference has shrunk; None with a reason in `lift`.
    """

    covariate: str
    variance_saved: float | None
    lift: Lift

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"covariate": self.covariate, "variance_saved": self.variance_saved, **self.lift.to_dict()}


@dataclass(frozen=True, slots=True)
class Capped:
    """A lift over values between `low` and `high`, in the metric's unit; those beyond count as the nearer of the two."""

    low: float
    high: float
    lift: Lift

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"capped_at": [self.low, self.high], **self.lift.to_dict()}


@dataclass(frozen=True, slots=True)
class Look:
    """The newest of the planned readings that has been reached: its number, how many there are, and the bound on |z|."""

    number: int
    looks: int
    bound: float | None
    reading: Reading

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"look": self.number, "looks": self.looks, "bound": self.bound, **self.reading.to_dict()}


@dataclass(frozen=True, slots=True)
class CorrectedP:
    """A p-value corrected for the number of secondary metrics; None where the metric has no p-value."""

    method: Method
    p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"method": self.method, "p_value": self.p_value}
