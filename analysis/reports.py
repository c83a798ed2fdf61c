"""The report: one object of plain values behind text and JSON."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.lifts import Kind, Lift, compare
from analysis.metrics import CATALOGUE, Metric
from analysis.moments import Moments
from analysis.plan import planned_units
from analysis.sources import COLUMNS, Arm, Asked, open_source
from analysis.trust import Check, multiple_exposure, sample_ratio
from analysis.verdict import Verdict, decide
from experiments.declaration import HOLDOUT, Experiment, Plan, declared_dict
from experiments.errors import AnalysisError
from experiments.holdout import holdout_experiment
from experiments.loading import load

MIN_ANYTIME_BUYERS = 30


@dataclass(frozen=True, slots=True)
class MetricResult:
    """
    One metric of every variant, and its lifts over the control.

    Attributes:
        moments: By variant, the control first; None where the metric cannot be had.
        lifts: By variant, without the control and without arms of weight 0.
        is_money: Whether values are in the shop's currency.
        reason: Why the metric cannot be had.
    """

    kind: Kind
    moments: Mapping[str, Moments | None]
    lifts: Mapping[str, Lift]
    is_money: bool = False
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        variants = {key: _arm_dict(arm, self.reason) for key, arm in self.moments.items()}
        shown: dict[str, Any] = {"kind": self.kind, "variants": variants}
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
        if self.verdict is not None:
            shown["guardrails"] = {name: dict(one) for name, one in (self.guardrails or {}).items()}
            shown["verdict"] = self.verdict.to_dict()
        return shown

    def to_json(self) -> str:
        """Give the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def report(
    key: str, store: str = "sqlite:///crosslift.db", configs: str | Path = "configs", as_of_ms: int | None = None
) -> Report:
    """
    Report on one experiment.

    Args:
        key: The experiment's key; `holdout` for what the whole programme brings.
        store: URL of the store that holds its events.
        configs: Folder of the declarations.
        as_of_ms: Read no later exposure or order; now unless given. Orders are in their newest state, refunds included.

    Raises:
        DeclarationError: The declarations are wrong.
        RequestError: There is no such experiment, or nobody is held out.
        StoreError: There is no store at the URL.
        AnalysisError: The store's orders are in several currencies.
    """
    loaded = load(configs)
    experiment = holdout_experiment(loaded.shop) if key == HOLDOUT else loaded.experiment(key)
    now_ms = time.time_ns() // 1_000_000 if as_of_ms is None else as_of_ms
    with open_source(store, loaded.shop) as source:
        foreign = source.foreign_currencies(now_ms)
        if foreign:
            raise AnalysisError(
                f"orders: found {', '.join(foreign)} beside {loaded.shop.currency}; wanted one currency"
            )
        epochs = source.epochs(key, now_ms)
        declared = epochs[-1].declared if epochs else declared_dict(experiment)
        arms_declared: Mapping[str, Any] = declared["variants"]
        since = epochs[0].number if epochs else 1
        asked = Asked(key, list(arms_declared), declared["unit"], experiment.plan.window, since, now_ms)
        arms, strays = source.arms(asked)
        repeated = source.repeated(key, since, now_ms)
        earlier = source.earlier(key, since, now_ms)
        simulated = source.is_simulated(key)
        fates = source.order_counts(declared["unit"], now_ms)
    weights = {variant: float(one["weight"]) for variant, one in arms_declared.items()}
    units = {variant: arm.units for variant, arm in arms.items()}
    checks = [sample_ratio(units, weights, strays), multiple_exposure(repeated, sum(units.values()))]
    metrics = _metrics(experiment, arms, weights)
    guardrails, verdict = decide(experiment, metrics, checks)
    return Report(
        experiment=key,
        title=experiment.title,
        as_of_ms=now_ms,
        epochs=[epoch.number for epoch in epochs],
        confidence=experiment.plan.confidence,
        window_days=experiment.plan.window,
        currency=loaded.shop.currency,
        simulated=simulated,
        checks=checks,
        variants=[
            VariantRow(name, one["placement"], units[name], weights[name]) for name, one in arms_declared.items()
        ],
        metrics=metrics,
        primary=experiment.metrics.primary,
        guardrails=guardrails,
        verdict=verdict,
        earlier_exposures=earlier,
        orders={"counted": sum(arm.orders for arm in arms.values()), **_fates(fates, arms)},
    )


def _fates(fates: Mapping[str, int], arms: Mapping[str, Arm]) -> dict[str, int]:
    counted = sum(arm.orders for arm in arms.values())
    return {"elsewhere": fates.get("known", 0) - counted, **{name: n for name, n in fates.items() if name != "known"}}


def _metrics(experiment: Experiment, arms: Mapping[str, Arm], weights: Mapping[str, float]) -> dict[str, MetricResult]:
    declared = experiment.metrics
    names = dict.fromkeys([declared.primary, *declared.secondary, *declared.guardrails])
    names |= dict.fromkeys(["conversion", "average_order_value", "revenue_per_visitor"])
    return {name: _metric(CATALOGUE[name], experiment.plan, arms, weights) for name in names}


def _metric(metric: Metric, plan: Plan, arms: Mapping[str, Arm], weights: Mapping[str, float]) -> MetricResult:
    """Compare the arms that take part; one that rests at weight 0 has its figures, and no lift."""
    uncosted = sum(arm.orders - arm.costed_orders for arm in arms.values())
    if "margin" in metric.columns and uncosted:
        orders = sum(arm.orders for arm in arms.values())
        reason = f"the cost of {uncosted:,} of {orders:,} orders is not known"
        return MetricResult(metric.kind, dict.fromkeys(arms), {}, metric.is_money, reason)
    at = [COLUMNS.index(name) for name in metric.columns]
    moments = {key: arm.moments.pick(at) for key, arm in arms.items()}
    control, *others = arms
    active = [key for key in others if weights[key] > 0]
    few = min(arms[key].buyers for key in (control, *active)) < MIN_ANYTIME_BUYERS
    lifts = compare(
        metric.kind,
        moments[control],
        {key: moments[key] for key in active},
        plan.confidence,
        planned_units(plan),
        f"fewer than {MIN_ANYTIME_BUYERS} buyers in a variant" if few else None,
    )
    return MetricResult(metric.kind, moments, lifts, metric.is_money)


def _arm_dict(arm: Moments | None, reason: str | None) -> dict[str, Any]:
    if arm is None:
        empty = dict.fromkeys(("value", "std_error", "units", "numerator", "denominator"))
        return empty | {"reason": reason}
    shown: dict[str, Any] = {
        "value": arm.value,
        "std_error": arm.std_error,
        "units": arm.n,
        "numerator": float(f"{arm.numerator:.15g}"),  # beyond that stands only what adding up leaves
        "denominator": float(f"{arm.denominator:.15g}"),
    }
    if arm.value is None:
        shown["reason"] = "no units" if arm.n == 0 else "the denominator is 0"
    elif arm.std_error is None:
        shown["reason"] = "a single unit has no standard error"
    return shown
