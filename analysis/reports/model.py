"""A report's parts as plain values: what text, HTML and JSON all show."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from analysis.reports.trust_checks import Check
from analysis.reports.verdict import Verdict
from analysis.stats.boundaries.multiplicity import corrected
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.readings import ENDS, SCALES, CorrectedP, Lift, Method
from analysis.stats.moments import Moments

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class MetricResult:
    """
    One metric of every variant, and its lifts over the control.

    Attributes:
        moments: By variant, the control first; None where the metric cannot be had.
        lifts: By variant, without the control and without arms of weight 0.
        is_money: Whether values are in the shop's currency.
        reason: Why the metric cannot be had, or a quantile has no interval.
        better: Whether the shop wants it higher or lower.
        totals: Moments whose numerators and denominators are shown, where `moments` are combined over sets of weights.
    """

    kind: Kind
    moments: Mapping[str, Moments | None]
    lifts: Mapping[str, Lift]
    is_money: bool = False
    reason: str | None = None
    better: Literal["higher", "lower"] = "higher"
    totals: Mapping[str, Moments] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        totals = self.totals or self.moments
        variants = {key: _arm_dict(arm, totals.get(key), self.reason) for key, arm in self.moments.items()}
        shown: dict[str, Any] = {"kind": self.kind, "better": self.better, "variants": variants}
        shown["lifts"] = {key: one.to_dict() for key, one in self.lifts.items()}
        return shown if self.reason is None else shown | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant as it was declared and met."""

    key: str
    placement: str | None
    units: int
    weight: float


@dataclass(frozen=True, slots=True)
class Report:
    """
    What an experiment, or a file, has to say.

    Attributes:
        experiment: Its key; a file's name for `analyze`.
        as_of_ms: Nothing later was read.
        epochs: The epochs that were read; empty for a file.
        window_days: Days after its exposure in which a unit's orders count; None for a file.
        currency: Of the money metrics, in major units; None for a file.
        simulated: Whether made-up shoppers took part.
        primary: The metric that decides; None for a file.
        verdict, guardrails: None and empty for a file.
        orders: What became of the store's orders: `counted`, `elsewhere` (of units that are not in the experiment, or outside
            their window), `without_unit`, `unverified`, `excluded: REASON`; None for a file.
        earlier_exposures: Exposures of epochs that were not read, since their arms meant something else.
        strata: How many sets of weights the epochs had; with several, arms are compared within each.
        details: What explains the result: `decomposition`, `order_values`, `funnel`, `segments`, `curves`, `interactions`,
            `bayesian`; JSON values, each where it was asked for.
    """

    experiment: str
    title: str
    as_of_ms: int
    epochs: list[int]
    confidence: float
    window_days: int | None
    currency: str | None
    simulated: bool
    checks: list[Check]
    variants: list[VariantRow]
    metrics: Mapping[str, MetricResult]
    primary: str | None = None
    guardrails: Mapping[str, Mapping[str, Any]] | None = None
    verdict: Verdict | None = None
    earlier_exposures: int = 0
    orders: Mapping[str, int] | None = None
    strata: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """Whether no trust check failed."""
        return all(check.passed is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values, as DESIGN's report names them; never NaN or infinite."""
        shown: dict[str, Any] = {
            "experiment": self.experiment,
            "title": self.title,
            "as_of": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.as_of_ms / 1000)),
            "epochs": self.epochs,
            "earlier_exposures": self.earlier_exposures,
            "weights_changed": self.strata > 1,
            "confidence": self.confidence,
            "window_days": self.window_days,
            "currency": self.currency,
            "simulated": self.simulated,
            "trust": {"passed": self.trusted, "checks": [check.to_dict() for check in self.checks]},
            "variants": [
                {"key": row.key, "placement": row.placement, "units": row.units, "weight": row.weight}
                for row in self.variants
            ],
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
        }
        if self.orders is not None:
            shown["orders"] = dict(self.orders)
        shown |= self.details
        if self.verdict is not None:
            shown["guardrails"] = {name: dict(one) for name, one in (self.guardrails or {}).items()}
            shown["verdict"] = self.verdict.to_dict()
        return shown

    def to_frame(self) -> "pandas.DataFrame":
        """Give one row for each metric and variant: value, error, and its lift over the control as read three ways."""
        import pandas as pd

        return pd.DataFrame([row for name, metric in self.metrics.items() for row in _frame_rows(name, metric)])

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        from analysis.render.html import fragment

        return fragment(self, prefix=f"crosslift-{self.experiment}-{self.as_of_ms}-")

    def to_json(self) -> str:
        """Give the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _arm_dict(arm: Moments | None, total: Moments | None, reason: str | None) -> dict[str, Any]:
    if arm is None or total is None:
        empty = dict.fromkeys(("value", "std_error", "units", "numerator", "denominator"))
        return empty | {"reason": reason}
    shown: dict[str, Any] = {
        "value": arm.value,
        "std_error": arm.std_error,
        "units": arm.n,
        "numerator": float(f"{total.numerator:.15g}"),  # beyond that stands only what adding up leaves
        "denominator": float(f"{total.denominator:.15g}"),
    }
    if reason is not None:
        shown |= {"std_error": None, "reason": reason}
    elif arm.value is None:
        shown["reason"] = "no units" if arm.n == 0 else "the denominator is 0"
    elif arm.std_error is None:
        shown["reason"] = "a single unit has no standard error"
    return shown


def _frame_rows(name: str, metric: MetricResult) -> Iterator[dict[str, Any]]:
    for key, arm in metric.moments.items():
        row: dict[str, Any] = {"metric": name, "kind": metric.kind, "variant": key}
        row |= {"value": arm and arm.value, "std_error": arm and arm.std_error, "units": arm and arm.n}
        lift = metric.lifts.get(key)
        for reading, found in (
            ("", lift),
            ("simultaneous_", lift and lift.simultaneous),
            ("anytime_", lift and lift.anytime),
        ):
            row[f"{reading}p_value"] = found and found.p_value
            for scale in SCALES:
                interval = found and getattr(found, scale)
                for end in ENDS:
                    row[f"{reading}{scale}_{end}"] = interval and getattr(interval, end)
        yield row


def across(
    metrics: Mapping[str, MetricResult], names: Sequence[str], method: Method | None
) -> Mapping[str, MetricResult]:
    """Hold the p of some metrics' lifts together; without a method nothing is held."""
    if method is None:
        return metrics
    places = [(name, key) for name in names for key in metrics[name].lifts]
    p_values = [metrics[name].lifts[key].simultaneous.p_value for name, key in places]
    told = dict(zip(places, corrected(p_values, method), strict=True))
    held = dict(metrics)
    for name, key in places:
        lifts = dict(held[name].lifts)
        lifts[key] = replace(lifts[key], across_metrics=CorrectedP(method, told[name, key]))
        held[name] = replace(held[name], lifts=lifts)
    return held
