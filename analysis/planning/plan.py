"""How many units an experiment needs to see what it was planned to see, and how long a shop's traffic takes to bring them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.metrics import columns_of, metrics_of
from analysis.queries.aggregates import Cell, merge_by_variant
from analysis.queries.breakdowns import cells_by_place
from analysis.queries.exposure_counts import units_by_place
from analysis.queries.source import Source
from analysis.queries.unit_facts import DAY_MS, Scope
from analysis.stats.power import detectable_effect, imbalance, total_units, units_per_arm
from experiments.declarations.metrics import CATALOGUE, Column, Metric
from experiments.declarations.model import HOLDOUT, Experiment, Plan
from experiments.errors import AnalysisError

# A product page where 20% of visitors buy, and order values spread as widely as their mean: CV^2 = (1 + 1) / .2 - 1.
TYPICAL_VARIATION = 3.0
WEEKS = (1, 2, 4, 8)
TOO_LONG_DAYS = 84  # twelve weeks: longer, and seasons, cookies and the shop itself have changed


def planned_units(plan: Plan) -> float:
    """
    Give the units of control and one treatment together that an always-valid reading is tightest at.

    Such a reading needs a size that does not depend on the data it is read with, so this is that of a typical page. It is on
    the low side: a size ten times too small widens intervals by 7%, one ten times too large by 27% (at 95% confidence).
    """
    return max(2.0, 2 * units_per_arm(plan.minimum_effect, TYPICAL_VARIATION, plan.confidence, plan.power))


@dataclass(frozen=True, slots=True)
class Baseline:
    """
    What a shop's visitors do before anything is tried.

    Attributes:
        units_per_day: Units that meet the trigger, before `traffic` and `layer` take their share.
        variation: Standard deviation over mean per unit, by metric; a metric that cannot be had is missing.
        origin: A sentence that says where the figures come from.
    """

    units_per_day: float
    variation: Mapping[str, float]
    origin: str


@dataclass(frozen=True, slots=True)
class Need:
    """
    What one metric asks of an experiment.

    Attributes:
        effect: The relative effect to be seen, or the loss to be ruled out; a share above 0.
        units: Units per arm; None with a reason.
        days: Until the slowest arm has them.
        seen: The smallest relative effect that is seen after so many weeks.
    """

    metric: str
    role: str
    effect: float
    units: int | None
    days: float | None
    seen: Mapping[int, float]
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        shown: dict[str, Any] = {
            "metric": self.metric,
            "role": self.role,
            "effect": self.effect,
            "units_per_arm": self.units,
        }
        shown |= {"days": self.days, "effect_seen_after_weeks": {str(week): seen for week, seen in self.seen.items()}}
        return shown if self.reason is None else shown | {"reason": self.reason}


def given_baseline(visitors_per_day: float, conversion: float, order_value_variation: float = 1.0) -> Baseline:
    """
    Give a baseline from rates that a merchant knows.

    Args:
        visitors_per_day: Visitors who meet the trigger.
        conversion: Share of them who buy, in (0, 1).
        order_value_variation: Standard deviation of order values over their mean.

    Raises:
        AnalysisError: A rate that cannot be.
    """
    if not (0 < visitors_per_day < 1e12 and 0 < conversion < 1 and 0 < order_value_variation < 1e6):
        found = f"{visitors_per_day} visitors a day, conversion {conversion}, variation {order_value_variation}"
        raise AnalysisError(f"found {found}; wanted numbers above 0, and a conversion below 100%")
    spread = order_value_variation**2
    variation = {
        "conversion": math.sqrt((1 - conversion) / conversion),
        "orders_per_visitor": math.sqrt((1 - conversion) / conversion),
        "revenue_per_visitor": math.sqrt((1 + spread) / conversion - 1),
        "margin_per_visitor": math.sqrt((1 + spread) / conversion - 1),
        "average_order_value": math.sqrt(spread / conversion),
    }
    return Baseline(visitors_per_day, variation, "the rates that were given")


def stored_baseline(source: Source, experiment: Experiment, as_of_ms: int) -> Baseline | None:
    """Give a baseline from the control of this experiment, or else of the one with the most exposures; None without any."""
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
    known = [
        metric
        for metric in {**CATALOGUE, **own}.values()
        if metric.quantile is None and (metric.has_history or metric.name in own)
    ]
    columns = columns_of(known)
    cells = cells_by_place(source, scope, units_by_place(source.exposures(scope).counts, scope.since), columns)
    control = merge_by_variant(cells, variants, len(columns))[variants[0]]
    variation = {
        metric.name: spread for metric in known if (spread := variation_of(metric, control, columns)) is not None
    }
    days = max(1.0, (traffic.last_ms - traffic.first_ms) / DAY_MS)
    per_day = traffic.exposures / days / taking_part(declared)
    origin = f"{traffic.exposures:,} exposures of {key} over {days:.0f} days, and the orders of its control"
    return Baseline(per_day, variation, origin)


def variation_of(metric: Metric, control: Cell, columns: Sequence[Column]) -> float | None:
    """Give the standard deviation over the mean of one metric per unit of an arm; None where it cannot be had."""
    if metric.quantile is not None or (metric.needs_costs and control.costed < control.orders):
        return None
    moments = control.moments.pick([columns.index(column) for column in metric.columns])
    if not moments.value or not moments.variance:
        return None
    return math.sqrt(moments.variance * moments.n) / abs(moments.value)


def needs(experiment: Experiment, baseline: Baseline) -> list[Need]:
    """Give what the primary metric and every guardrail ask; all treatments together are held at the plan's confidence."""
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
    asked = [(experiment.metrics.primary, "primary", experiment.plan.minimum_effect)]
    asked += [(name, "guardrail", -margin) for name, margin in experiment.metrics.guardrails.items()]
    found = []
    for metric, role, effect in asked:
        variation = baseline.variation.get(metric)
        if variation is None or not effect or math.isinf(load) or not per_day:
            reason = "the history does not hold it" if variation is None else "nothing smaller than 0 can be seen"
            if math.isinf(load) or not per_day:
                reason = "nobody takes part in one of its arms"
            found.append(Need(metric, role, effect, None, None, {}, reason))
            continue
        total = total_units(effect, variation, confidence, power, load)
        seen = {week: detectable_effect(per_day * 7 * week, variation, confidence, power, load) for week in WEEKS}
        units = math.ceil(total * min([share for share in shares if share > 0]))
        found.append(Need(metric, role, effect, units, total / per_day, seen))
    return found


def advice(experiment: Experiment, found: list[Need]) -> list[str]:
    """Say plainly what is out of reach, and what would bring it within."""
    arms = [weight for weight in experiment.weights.values() if weight > 0]
    sentences = []
    for need in found:
        if need.days is None or need.days <= TOO_LONG_DAYS:
            continue
        sentence = f"{need.metric}: {need.days:,.0f} days are too long; this shop has too little traffic"
        sentence += f" for {need.effect * 100:g}% in {len(arms)} arms."
        if len(arms) > 2:
            sentence += f" Two arms would take {need.days * _two_arms(experiment, arms):,.0f} days."
        sentences.append(sentence + f" In eight weeks an effect of {_percent(need.seen[8])} can be seen.")
    return sentences


def _two_arms(experiment: Experiment, weights: list[float]) -> float:
    """Return how long two equal arms take, as a share of what all arms take."""
    plan, treatments = experiment.plan, max(1, len(weights) - 1)
    family = total_units(1.0, 1.0, 1 - (1 - plan.confidence) / treatments, plan.power, imbalance(weights))
    return 2 * units_per_arm(1.0, 1.0, plan.confidence, plan.power) / family


def _shares(experiment: Experiment) -> list[float]:
    """Give the shares of the arms that take part, the control first."""
    weights = [weight for key, weight in experiment.weights.items() if weight > 0 or key == experiment.control]
    return [weight / sum(weights) for weight in weights]


def taking_part(declared: Mapping[str, Any]) -> float:
    """Give the share of the eligible units that a stored declaration let in."""
    layer = declared.get("layer") or {"from": "0%", "to": "100%"}
    span = float(layer["to"].rstrip("%")) - float(layer["from"].rstrip("%"))
    return max(1e-6, float(declared.get("traffic", "100%").rstrip("%")) / 100 * span / 100)


def _percent(share: float) -> str:
    return f"{share * 100:.2g}%" if share < 1 else f"{share:.0%}"
