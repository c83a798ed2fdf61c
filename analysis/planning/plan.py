"""How many units an experiment needs to detect its planned effect, and how many days a shop's traffic takes to bring them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.metrics import columns_of, metrics_of
from analysis.queries.aggregates import Cell, merge_by_variant
from analysis.queries.breakdowns import cells_by_place
from analysis.queries.exposure_counts import units_by_place
from analysis.queries.source import Source
from analysis.queries.unit_facts import Scope
from analysis.stats.power import detectable_effect, imbalance, total_units, units_per_arm
from events.clock import DAY_MS
from experiments.declarations.metrics import CATALOGUE, Column, Metric
from experiments.declarations.model import HOLDOUT, Experiment, Plan
from experiments.errors import AnalysisError

# A product page where 20% of visitors buy, and the standard deviation of order values is their mean: CV^2 = (1 + 1) / .2 - 1.
TYPICAL_VARIATION = 3.0
WEEKS = (1, 2, 4, 8)
TOO_LONG_DAYS = 84  # twelve weeks: after that, seasons, cookies and the shop itself have changed


def planned_units(plan: Plan) -> float:
    """
    Compute the units of control and one treatment together at which always-valid intervals are narrowest.

    That size must not depend on the data of the experiment, so it is the size for a typical page. It is rather low than high:
    a size ten times too small widens intervals by 7%, one ten times too large by 27% (at 95% confidence).
    """
    return max(2.0, 2 * units_per_arm(plan.minimum_effect, TYPICAL_VARIATION, plan.confidence, plan.power))


@dataclass(frozen=True, slots=True)
class Baseline:
    """
    What a shop's visitors do without the experiment.

    Attributes:
        units_per_day: Units that reach the trigger, before `traffic` and `layer` take their share.
        variation: Standard deviation over mean per unit, by metric; metrics without data are missing.
        origin: Where the figures come from, in words.
    """

    units_per_day: float
    variation: Mapping[str, float]
    origin: str


@dataclass(frozen=True, slots=True)
class Need:
    """
    The size that one metric needs.

    Attributes:
        effect: The relative effect to detect, or the loss to rule out; a share above 0.
        units: Units per variant; None with a reason.
        days: Until the smallest variant has them.
        seen: The smallest relative effect that can be detected, by weeks.
    """

    metric: str
    role: str
    effect: float
    units: int | None
    days: float | None
    seen: Mapping[int, float]
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {
            "metric": self.metric,
            "role": self.role,
            "effect": self.effect,
            "units_per_arm": self.units,
        }
        values |= {
            "days": self.days,
            "effect_seen_after_weeks": {str(weeks): effect for weeks, effect in self.seen.items()},
        }
        return values if self.reason is None else values | {"reason": self.reason}


def given_baseline(visitors_per_day: float, conversion: float, order_value_variation: float = 1.0) -> Baseline:
    """
    Compute a baseline from rates that a merchant knows.

    Args:
        visitors_per_day: Visitors who reach the trigger.
        conversion: Share of them who buy, in (0, 1).
        order_value_variation: Standard deviation of order values over their mean.

    Raises:
        AnalysisError: A rate is impossible.
    """
    if not 0 < visitors_per_day < 1e12:
        raise AnalysisError(f"--visitors-per-day: must be above 0, got {visitors_per_day:g}")
    if not 0 < conversion < 1:
        raise AnalysisError(f"--conversion: must be above 0% and below 100%, got {conversion * 100:g}%")
    if not 0 < order_value_variation < 1e6:
        raise AnalysisError(
            f"--order-value-variation: must be above 0 and below a million, got {order_value_variation:g}"
        )
    spread = order_value_variation**2
    variation = {
        "conversion": math.sqrt((1 - conversion) / conversion),
        "orders_per_visitor": math.sqrt((1 - conversion) / conversion),
        "revenue_per_visitor": math.sqrt((1 + spread) / conversion - 1),
        "margin_per_visitor": math.sqrt((1 + spread) / conversion - 1),
        "average_order_value": math.sqrt(spread / conversion),
    }
    return Baseline(visitors_per_day, variation, "the rates of the command line")


def stored_baseline(source: Source, experiment: Experiment, as_of_ms: int) -> Baseline | None:
    """Read the baseline of this experiment's control, or of the experiment with the most exposures; None without exposures."""
    history = {key: traffic for key, traffic in source.traffic(as_of_ms).items() if key != HOLDOUT}
    if not history:
        return None
    key = experiment.key if experiment.key in history else max(history, key=lambda key: history[key].exposures)
    traffic = history[key]
    epochs = source.epochs(key, as_of_ms)
    declared = epochs[-1].declared if epochs else {}
    variants = list(declared.get("variants", {})) or list(experiment.variants)
    scope = Scope(key, variants, declared.get("unit", experiment.unit), experiment.plan.window, 1, as_of_ms)
    own = metrics_of(experiment)
    metrics = [
        metric
        for metric in {**CATALOGUE, **own}.values()
        if metric.quantile is None and (metric.has_history or metric.name in own)
    ]
    columns = columns_of(metrics)
    cells = cells_by_place(source, scope, units_by_place(source.exposures(scope).counts, scope.since), columns)
    control = merge_by_variant(cells, variants, len(columns))[variants[0]]
    variation = {
        metric.name: spread for metric in metrics if (spread := variation_of(metric, control, columns)) is not None
    }
    days = max(1.0, (traffic.last_ms - traffic.first_ms) / DAY_MS)
    per_day = traffic.exposures / days / taking_part(declared)
    origin = f"{traffic.exposures:,} exposures of {key} over {days:.0f} days, and the orders of its control"
    return Baseline(per_day, variation, origin)


def variation_of(metric: Metric, control: Cell, columns: Sequence[Column]) -> float | None:
    """Compute the standard deviation over the mean of a metric per unit of a variant; None where it is undefined."""
    if metric.quantile is not None or (metric.needs_costs and control.costed < control.orders):
        return None
    moments = control.moments.pick([columns.index(column) for column in metric.columns])
    if not moments.value or not moments.variance:
        return None
    return math.sqrt(moments.variance * moments.n) / abs(moments.value)


def needs(experiment: Experiment, baseline: Baseline) -> list[Need]:
    """Compute what the primary metric and every guardrail need; the plan's confidence holds for all variants together."""
    shares = _shares(experiment)
    treatments = max(1, len(shares) - 1)
    confidence = 1 - (1 - experiment.plan.confidence) / treatments  # Bonferroni, a little above Dunnett's
    power = experiment.plan.power
    load = imbalance(shares) if len(shares) > 1 else math.inf
    per_day = (
        baseline.units_per_day
        * experiment.traffic
        * (experiment.layer.end - experiment.layer.start if experiment.layer else 1.0)
    )
    goals = [(experiment.metrics.primary, "primary", experiment.plan.minimum_effect)]
    goals += [(name, "guardrail", -margin) for name, margin in experiment.metrics.guardrails.items()]
    results = []
    for metric, role, effect in goals:
        variation = baseline.variation.get(metric)
        if variation is None or not effect or math.isinf(load) or not per_day:
            reason = "the history has no data of it" if variation is None else "an effect of 0 cannot be detected"
            if math.isinf(load) or not per_day:
                reason = "no visitor takes part in one of its variants"
            results.append(Need(metric, role, effect, None, None, {}, reason))
            continue
        total = total_units(effect, variation, confidence, power, load)
        seen = {week: detectable_effect(per_day * 7 * week, variation, confidence, power, load) for week in WEEKS}
        units = math.ceil(total * min([share for share in shares if share > 0]))
        results.append(Need(metric, role, effect, units, total / per_day, seen))
    return results


def advice(experiment: Experiment, results: Sequence[Need]) -> list[str]:
    """Return a sentence for each metric that needs too long: how long, and what can be done."""
    weights = [weight for weight in experiment.weights.values() if weight > 0]
    sentences = []
    for need in results:
        if need.days is None or need.days <= TOO_LONG_DAYS:
            continue
        sentence = (
            f"{need.metric}: too little traffic. To detect {need.effect * 100:g}% with {len(weights)} variants takes"
        )
        sentence += f" {need.days:,.0f} days, which is too long."
        if len(weights) > 2:
            sentence += f" With two variants it takes {need.days * _two_arms(experiment, weights):,.0f} days."
        sentences.append(sentence + f" Eight weeks can detect an effect of {_percent(need.seen[8])}.")
    return sentences


def _two_arms(experiment: Experiment, weights: list[float]) -> float:
    """Return how long two equal arms take, as a share of what all arms take."""
    plan, treatments = experiment.plan, max(1, len(weights) - 1)
    family = total_units(1.0, 1.0, 1 - (1 - plan.confidence) / treatments, plan.power, imbalance(weights))
    return 2 * units_per_arm(1.0, 1.0, plan.confidence, plan.power) / family


def _shares(experiment: Experiment) -> list[float]:
    """Return the shares of the variants that take part, the control first."""
    weights = [weight for key, weight in experiment.weights.items() if weight > 0 or key == experiment.control]
    return [weight / sum(weights) for weight in weights]


def taking_part(declared: Mapping[str, Any]) -> float:
    """Return the share of the eligible units that a stored declaration let in."""
    layer = declared.get("layer") or {"from": "0%", "to": "100%"}
    span = float(layer["to"].rstrip("%")) - float(layer["from"].rstrip("%"))
    return max(1e-6, float(declared.get("traffic", "100%").rstrip("%")) / 100 * span / 100)


def _percent(share: float) -> str:
    return f"{share * 100:.2g}%" if share < 1 else f"{share:.0%}"
