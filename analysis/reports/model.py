"""
The report as typed values: what text, HTML, JSON and frames show. Each value writes its own part of the JSON.

Whoever renders a report imports from here alone; the statistics that a report is made of are offered here too.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.reports.details import (
    CumulativePoint,
    Curves,
    DayPoint,
    Guardrail,
    MonthlyValue,
    OrderTotals,
    Posteriors,
    SegmentResult,
)
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.readings import ENDS, SCALES, Interval, Lift, Reading
from analysis.stats.heterogeneity import Breakdown, CrossEffects, SegmentValue
from analysis.stats.moments import Moments
from analysis.stats.orders.decomposition import Decomposition, LogLift
from analysis.stats.orders.order_values import OrderValues

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Breakdown",
    "Check",
    "CrossEffects",
    "CumulativePoint",
    "Curves",
    "DayPoint",
    "Decision",
    "Decomposition",
    "Guardrail",
    "Interval",
    "Kind",
    "Lift",
    "LogLift",
    "MetricResult",
    "Moments",
    "MonthlyValue",
    "OrderTotals",
    "OrderValues",
    "Posteriors",
    "Reading",
    "Report",
    "SegmentResult",
    "SegmentValue",
    "VariantRow",
    "Verdict",
]

Decision = Literal["ship", "stop", "keep_running", "no_difference", "withheld"]
Figures = Mapping[str, float | Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Check:
    """
    The outcome of one trust check.

    Attributes:
        name: As JSON names it.
        label: What it checks, as readers see it.
        passed: None where there is not enough data for the check yet.
        detail: What was seen; of a failed check, the likely cause too.
        figures: Further figures, by the names that JSON has for them.
    """

    name: str
    label: str
    passed: bool | None
    detail: str
    p_value: float | None = None
    figures: Figures | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        values: dict[str, Any] = {"name": self.name, "passed": self.passed, "detail": self.detail}
        return values | ({} if self.p_value is None else {"p_value": self.p_value}) | dict(self.figures or {})


@dataclass(frozen=True, slots=True)
class MetricResult:
    """
    One metric of every variant, and its lifts over the control.

    Attributes:
        moments: By variant, the control first; None where the metric cannot be computed.
        lifts: By variant, without the control and without variants of weight 0.
        is_money: Whether values are in the shop's currency.
        reason: Why the metric cannot be computed, or a quantile has no interval.
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
        """Return the JSON values."""
        totals = self.totals or self.moments
        variants = {key: _variant_dict(arm, totals.get(key), self.reason) for key, arm in self.moments.items()}
        values: dict[str, Any] = {"kind": self.kind, "better": self.better, "variants": variants}
        values["lifts"] = {key: lift.to_dict() for key, lift in self.lifts.items()}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant as it was declared, and how many units it had."""

    key: str
    placement: str | None
    units: int
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        return {"key": self.key, "placement": self.placement, "units": self.units, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What to do now.

    Attributes:
        variant: The variant that the decision is about; None where it is about none.
        reasons: Whole sentences.
        monthly_value: What the variant that leads would bring.
        days_left: Until the planned number of units is reached, at the pace so far; 0 once it is decided.
        days_left_reason: Why `days_left` is None.
    """

    decision: Decision
    variant: str | None
    reasons: list[str]
    monthly_value: MonthlyValue | None = None
    days_left: int | None = None
    days_left_reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""
        money = {} if self.monthly_value is None else self.monthly_value.to_dict()
        values: dict[str, Any] = {"decision": self.decision, "variant": self.variant, "reasons": self.reasons}
        values |= {"monthly_value": money, "days_left": self.days_left}
        return values if self.days_left_reason is None else values | {"days_left_reason": self.days_left_reason}


@dataclass(frozen=True, slots=True)
class Report:
    """
    What an experiment, or a file, says.

    Attributes:
        experiment: Its key; the name of the file for `analyze`.
        as_of_ms: Nothing later was read.
        epochs: The epochs that were read; empty for a file.
        window_days: Days after its exposure in which the orders of a unit count; None for a file.
        currency: Of the money metrics, in major units; None for a file.
        simulated: Whether made-up shoppers took part.
        primary: The metric that decides; None for a file.
        verdict, guardrails: None and empty for a file.
        orders: None for a file.
        earlier_exposures: Exposures of epochs that were not read, since their variants meant something else.
        strata: How many sets of weights the epochs had; with several, variants are compared within each.
        decomposition, order_values, funnel, segments, curves, interactions, posteriors: What explains the result; None where
            a report has no such part.
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
    guardrails: Mapping[str, Guardrail] | None = None
    verdict: Verdict | None = None
    earlier_exposures: int = 0
    orders: OrderTotals | None = None
    strata: int = 1
    decomposition: Mapping[str, Decomposition] | None = None
    order_values: Mapping[str, OrderValues] | None = None
    funnel: Mapping[str, Mapping[str, int]] | None = None
    segments: Mapping[str, SegmentResult] | None = None
    curves: Curves | None = None
    interactions: Mapping[str, CrossEffects] | None = None
    posteriors: Posteriors | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether no trust check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def weights_changed(self) -> bool:
        """Whether variants had several sets of weights."""
        return self.strata > 1

    @property
    def is_empty(self) -> bool:
        """Whether an experiment has no exposures yet."""
        return self.orders is not None and not any(row.units for row in self.variants)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values, as docs/reading.md describes them; never NaN or infinite."""
        values: dict[str, Any] = {
            "experiment": self.experiment,
            "title": self.title,
            "as_of": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.as_of_ms / 1000)),
            "epochs": self.epochs,
            "earlier_exposures": self.earlier_exposures,
            "weights_changed": self.weights_changed,
            "confidence": self.confidence,
            "window_days": self.window_days,
            "currency": self.currency,
            "simulated": self.simulated,
            "trust": {"passed": self.is_trusted, "checks": [check.to_dict() for check in self.checks]},
            "variants": [row.to_dict() for row in self.variants],
            "metrics": _dicts(self.metrics),
        }
        if self.orders is not None:
            values["orders"] = self.orders.to_dict()
        values |= self._explanations()
        if self.verdict is not None:
            values["guardrails"] = _dicts(self.guardrails or {})
            values["verdict"] = self.verdict.to_dict()
        return values

    def _explanations(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if self.decomposition is not None:
            parts["decomposition"] = _dicts(self.decomposition)
        if self.order_values is not None:
            parts["order_values"] = _dicts(self.order_values)
        if self.funnel is not None:
            parts["funnel"] = {key: dict(steps) for key, steps in self.funnel.items()}
        if self.segments is not None:
            parts["segments"] = _dicts(self.segments)
        if self.curves is not None:
            parts["curves"] = self.curves.to_dict()
        if self.interactions is not None:
            parts["interactions"] = {
                key: {"metric": "revenue_per_visitor", **effects.to_dict()}
                for key, effects in self.interactions.items()
            }
        return parts if self.posteriors is None else parts | {"bayesian": self.posteriors.to_dict()}

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row for each metric and variant: value, error, and its lift over the control as read three ways."""
        import pandas as pd

        return pd.DataFrame([row for name, metric in self.metrics.items() for row in _frame_rows(name, metric)])

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _dicts(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part.to_dict() for name, part in parts.items()}


def _variant_dict(arm: Moments | None, total: Moments | None, reason: str | None) -> dict[str, Any]:
    if arm is None or total is None:
        empty = dict.fromkeys(("value", "std_error", "units", "numerator", "denominator"))
        return empty | {"reason": reason}
    values: dict[str, Any] = {
        "value": arm.value,
        "std_error": arm.std_error,
        "units": arm.n,
        "numerator": float(f"{total.numerator:.15g}"),  # beyond that are only rounding errors of the sum
        "denominator": float(f"{total.denominator:.15g}"),
    }
    if reason is not None:
        values |= {"std_error": None, "reason": reason}
    elif arm.value is None:
        values["reason"] = "no units" if arm.n == 0 else "the denominator is 0"
    elif arm.std_error is None:
        values["reason"] = "a single unit has no standard error"
    return values


def _frame_rows(name: str, metric: MetricResult) -> Iterator[dict[str, Any]]:
    for key, arm in metric.moments.items():
        row: dict[str, Any] = {"metric": name, "kind": metric.kind, "variant": key}
        row |= {"value": arm and arm.value, "std_error": arm and arm.std_error, "units": arm and arm.n}
        lift = metric.lifts.get(key)
        readings = {"": lift, "simultaneous_": lift and lift.simultaneous, "anytime_": lift and lift.anytime}
        for prefix, reading in readings.items():
            row[f"{prefix}p_value"] = reading and reading.p_value
            for scale in SCALES:
                interval = reading and getattr(reading, scale)
                for end in ENDS:
                    row[f"{prefix}{scale}_{end}"] = interval and getattr(interval, end)
        yield row
