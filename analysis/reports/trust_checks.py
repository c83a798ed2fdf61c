"""
What must hold before a result may be believed: one registry of checks.

Each check has a name, a label, a line for docs/reading.md, and a function from the evidence to an outcome. A new one is added to
TRUST_CHECKS, and every form of the report shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.reports import messages
from analysis.reports.comparisons import Part, paired_arms, units_by_day, units_by_epoch
from analysis.reports.curves import LogPoint, SinceExposure
from analysis.reports.model import Check, Figures, Lift, MetricResult, SegmentResult
from analysis.stats.comparisons import Kind
from analysis.stats.heterogeneity import fit_line
from analysis.stats.lift import compare
from analysis.stats.sample_ratio import anytime_ratio_p, independence_p, ratio_p
from experiments.declarations.metrics import BUYER
from experiments.plurals import plural

if TYPE_CHECKING:
    from analysis.queries.breakdowns import SoldOrders
    from analysis.queries.study import Study

ALPHA = 0.001
REPEATED_SHARE = 0.01
UNMATCHED_SHARE = 0.5
TOO_GOOD = 2.0  # times the control, or as many times less
MIN_BUYERS = 5  # per variant and side of the pre-period comparison
MIN_NOVELTY_DAYS = 3

Units = Mapping[str, int]
Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What checks are made from: all that was read, the results, segments, and the curve by days since the exposure."""

    study: Study
    metrics: Mapping[str, MetricResult]
    segments: Mapping[str, SegmentResult]
    since: SinceExposure

    @property
    def units(self) -> dict[str, int]:
        """Units by variant."""
        return {key: cell.moments.n for key, cell in self.study.arms.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check; see `Check` for what its parts mean."""

    passed: bool | None
    detail: str
    p_value: float | None = None
    figures: Figures | None = None


@dataclass(frozen=True, slots=True)
class TrustCheck:
    """
    One check.

    Attributes:
        name: As JSON names it.
        label: What readers see.
        fails_when, likely_cause: Its row in docs/statistics.md.
        run: From the evidence to the outcome.
    """

    name: str
    label: str
    fails_when: str
    likely_cause: str
    run: Callable[[Evidence], Outcome]


def run_checks(evidence: Evidence) -> list[Check]:
    """Run all checks, in the order in which they are shown."""
    return [named(check.name, check.run(evidence)) for check in TRUST_CHECKS]


def named(name: str, outcome: Outcome) -> Check:
    """Return the outcome of a check with its name and label."""
    label = next(check.label for check in TRUST_CHECKS if check.name == name)
    return Check(name, label, outcome.passed, outcome.detail, outcome.p_value, outcome.figures)


def sample_ratio(
    units: Units, weights: Weights, undeclared: int = 0, parts: Sequence[Part] = (), days: Sequence[Part] = ()
) -> Outcome:
    """
    Check the units per variant against the declared weights.

    Args:
        units: Exposed units by variant.
        weights: Declared weights by variant; a variant of weight 0 takes no part, and leaves the degrees of freedom.
        undeclared: Exposures of variants that are not declared.
        parts: Epochs, days and segments; their p-values are corrected for their number.
        days: The days in order, for the form that may be read every day.

    Source: Fabijan et al. (2019), KDD, on sample ratio mismatch; Pearson's chi-square at .001.
    """
    resting = [key for key, count in units.items() if count and not weights.get(key)]
    if resting or undeclared:
        places = [messages.STRAYS_RESTING.format(variant=key) for key in resting]
        if undeclared:
            of = plural(undeclared, "exposure of", "exposures of")
            places.append(messages.STRAYS_UNDECLARED.format(n=undeclared, of=of))
        return Outcome(False, messages.STRAYS.format(places=", ".join(places)))
    taking_part = {key: weight / sum(weights.values()) for key, weight in weights.items() if weight > 0}
    total = sum(units[key] for key in taking_part)
    counts = ", ".join(f"{key} {units[key]:,}" for key in taking_part)
    p_value = ratio_p(units, weights)
    if p_value is None:
        return Outcome(None, messages.RATIO_TOO_FEW.format(counts=counts))
    anytime = anytime_ratio_p([(day.units, day.weights) for day in days] or [(units, weights)])
    if min(p_value, anytime) < ALPHA:
        lacking = min(taking_part, key=lambda key: units[key] / (taking_part[key] * total))
        detail = messages.RATIO_MISMATCH.format(counts=counts, variant=lacking)
        return Outcome(False, detail, p_value, {"anytime_p_value": anytime})
    failing = _failing_parts(parts)
    if failing:
        detail = messages.RATIO_MISMATCH_IN.format(counts=counts, parts=", ".join(failing))
        return Outcome(False, detail, p_value, {"anytime_p_value": anytime, "failing": failing})
    return Outcome(True, messages.RATIO_MATCHES.format(counts=counts), p_value, {"anytime_p_value": anytime})


def _failing_parts(parts: Sequence[Part]) -> dict[str, float]:
    """Return the parts whose units do not match the weights, with p-values corrected for their number (Bonferroni)."""
    p_values = {part.name: ratio_p(part.units, part.weights) for part in parts}
    known = {name: p_value for name, p_value in p_values.items() if p_value is not None}
    return {name: min(1.0, p_value * len(known)) for name, p_value in known.items() if p_value * len(known) < ALPHA}


def multiple_exposure(repeated: int, units: int) -> Outcome:
    """Count units that saw more than one variant; they are left out, and many of them mean that assignment is broken."""
    if not repeated:
        return Outcome(True, messages.ONE_VARIANT_EACH)
    share = repeated / (repeated + units)
    words = {"units": plural(repeated, "unit", "units"), "are": plural(repeated, "is", "are")}
    detail = messages.SEVERAL_VARIANTS.format(n=repeated, share=share, **words)
    if share <= REPEATED_SHARE:
        return Outcome(True, detail)
    return Outcome(False, messages.SEVERAL_VARIANTS_CAUSE.format(detail=detail))


def unmatched_orders(without_unit: int, known: int, sold: Mapping[str, SoldOrders]) -> Outcome:
    """
    Check how many orders have no unit, and whether offers of some variant lose them more often.

    Args:
        without_unit, known: Counted orders without and with a unit.
        sold: Orders that offers of the experiment sold, by variant.
    """
    total = without_unit + known
    if not total:
        return Outcome(None, messages.NO_ORDERS)
    share = without_unit / total
    detail = messages.WITHOUT_VISITOR.format(n=without_unit, total=total, share=share)
    rates = {key: orders.without_unit / orders.orders for key, orders in sold.items() if orders.orders}
    figures: Figures = {"share": share, "by_variant": rates}
    p_value = independence_p(
        [(orders.without_unit, orders.orders - orders.without_unit) for orders in sold.values() if orders.orders]
    )
    if p_value is not None and p_value < ALPHA:
        worst = max(rates, key=lambda key: rates[key])
        return Outcome(False, messages.WITHOUT_VISITOR_IN.format(detail=detail, variant=worst), p_value, figures)
    if share > UNMATCHED_SHARE:
        return Outcome(False, messages.WITHOUT_VISITOR_MOST.format(detail=detail), p_value, figures)
    return Outcome(True, detail, p_value, figures)


def pre_period(lifts: Mapping[str, Lift], buyers: int) -> Outcome:
    """
    Compare what the variants did before their exposure, when nothing could differ.

    Args:
        lifts: By variant, of the share of units that had bought before.
        buyers: Units that had.
    """
    p_values = {key: lift.p_value for key, lift in lifts.items() if lift.p_value is not None}
    if buyers < 2 * MIN_BUYERS * (len(lifts) + 1) or not p_values:
        return Outcome(None, messages.PRE_PERIOD_TOO_FEW.format(n=buyers, units=plural(buyers, "unit", "units")))
    worst = min(p_values, key=lambda key: p_values[key])
    p_value = min(1.0, p_values[worst] * len(p_values))
    if p_value >= ALPHA:
        return Outcome(True, messages.PRE_PERIOD_SIMILAR.format(n=buyers), p_value)
    return Outcome(False, messages.PRE_PERIOD_DIFFERS.format(variant=worst), p_value)


def bots(marked: Units, weights: Weights, units: int) -> Outcome:
    """Count exposures that are marked as bots; they are left out, and must match the weights."""
    n = sum(marked.values())
    if not n:
        return Outcome(True, messages.NO_BOTS)
    words = {"exposures": plural(n, "exposure", "exposures"), "are": plural(n, "is", "are")}
    detail = messages.BOTS.format(n=n, share=n / (n + units), **words)
    p_value = ratio_p(marked, weights)
    if p_value is None or p_value >= ALPHA:
        return Outcome(True, detail, p_value)
    return Outcome(False, messages.BOTS_UNEVEN.format(detail=detail), p_value)


def cost_coverage(costed: int, orders: int, *, decides: bool, is_used: bool) -> Outcome:
    """Check how many orders have a known cost; margin needs all of them."""
    if not orders:
        return Outcome(None, messages.NO_COUNTED_ORDERS)
    detail = messages.COSTS_KNOWN.format(costed=costed, orders=orders)
    figures: Figures = {"share": costed / orders}
    if costed == orders:
        return Outcome(True, detail, None, figures)
    if not is_used:
        return Outcome(None, detail, None, figures)
    return Outcome(False if decides else None, messages.COSTS_ADVICE.format(detail=detail), None, figures)


def too_good(metric: str, lifts: Mapping[str, Lift]) -> Outcome:
    """
    Check for an effect that is too large to be true: most often it is a fault of the measurement.

    Source: Twyman's law, as in Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments, chapter 3.
    """
    for key, lift in lifts.items():
        low, high = lift.anytime.relative.low, lift.anytime.relative.high
        if (low is not None and 1 + low > TOO_GOOD) or (high is not None and 1 + high < 1 / TOO_GOOD):
            change = "more than doubles" if (low or 0) > 0 else "more than halves"
            return Outcome(False, messages.TOO_GOOD.format(variant=key, change=change, metric=metric))
    return Outcome(True, messages.NOT_TOO_GOOD.format(metric=metric))


def novelty(logs: Mapping[str, Sequence[LogPoint]]) -> Outcome:
    """
    Check whether a gain fades with the days since the exposure.

    Args:
        logs: By variant, the logarithm of variant over control on each day.
    """
    lines = {
        key: fit_line([point.day for point in points], [point.value for point in points], [p.variance for p in points])
        for key, points in logs.items()
        if len(points) >= MIN_NOVELTY_DAYS
    }
    if not lines:
        return Outcome(None, messages.NOVELTY_TOO_FEW)
    p_value = min(1.0, min(line.p_value for line in lines.values()) * len(lines))
    fading = [
        key for key, line in lines.items() if line.slope < 0 < line.intercept and line.p_value * len(lines) < ALPHA
    ]
    if fading:
        return Outcome(False, messages.NOVELTY_FADES.format(variants=", ".join(fading)), p_value)
    return Outcome(True, messages.NO_NOVELTY, p_value)


def _sample_ratio(evidence: Evidence) -> Outcome:
    study = evidence.study
    days = units_by_day(study)
    parts = [*units_by_epoch(study), *days, *_segments(evidence)]
    return sample_ratio(evidence.units, study.weights, study.exposures.undeclared, parts, days)


def _segments(evidence: Evidence) -> list[Part]:
    """Return the segments by attributes of the exposure; with several sets of weights they have no weights of their own."""
    study = evidence.study
    derived = {segment.name for segment in study.segments if segment.is_derived}
    if len(study.strata) > 1:
        return []
    return [
        Part(f"{name} {value}", part.units, study.weights)
        for name, segment in evidence.segments.items()
        if name not in derived
        for value, part in segment.breakdown.values.items()
    ]


def _pre_period(evidence: Evidence) -> Outcome:
    study = evidence.study
    arms = paired_arms(study, (), (BUYER,))
    kind: Kind = "proportion" if len(study.strata) == 1 else "mean"
    controls = {key: arm.pick([0]) for key, arm in arms.controls.items()}
    lifts = compare(kind, controls, {key: arm.pick([0]) for key, arm in arms.treatments.items()})
    buyers = [study.pick(cell.moments, (), (BUYER,)).pick([0]).numerator for cell in study.arms.values()]
    return pre_period(lifts, round(sum(buyers)))


def _cost_coverage(evidence: Evidence) -> Outcome:
    study, declared = evidence.study, evidence.study.experiment.metrics
    with_costs = {name for name, metric in study.metrics.items() if metric.needs_costs}
    costed, orders = (sum(getattr(arm, name) for arm in study.arms.values()) for name in ("costed", "orders"))
    decides = bool({declared.primary, *declared.guardrails} & with_costs)
    return cost_coverage(costed, orders, decides=decides, is_used=bool(with_costs))


def _too_good(evidence: Evidence) -> Outcome:
    primary = evidence.study.experiment.metrics.primary
    return too_good(primary, evidence.metrics[primary].lifts)


TRUST_CHECKS = (
    TrustCheck(
        "sample_ratio",
        "Sample ratio matches the declared weights",
        "p below .001 of the units against the declared weights: overall, read on any day, or in an epoch, day or segment",
        "exposures lost in one variant: a slow or broken page, a redirect, a bot filter",
        _sample_ratio,
    ),
    TrustCheck(
        "multiple_exposure",
        "One variant for each unit",
        "more than 1% of the units saw several variants (they are left out in any case)",
        "a changed salt, or visitor ids that are not kept",
        lambda evidence: multiple_exposure(evidence.study.exposures.of_several_variants, sum(evidence.units.values())),
    ),
    TrustCheck(
        "unmatched_orders",
        "Orders have a visitor",
        "more than half of the orders have no visitor, or offers of one variant lose them more often (p below .001)",
        "the visitor id is not passed through the checkout",
        lambda evidence: unmatched_orders(
            evidence.study.orders.without_unit, evidence.study.orders.known, evidence.study.sold
        ),
    ),
    TrustCheck(
        "pre_period",
        "Variants were similar before the exposure",
        "the share of units that had bought before the exposure differs (p below .001)",
        "the population was chosen after the variant was known",
        _pre_period,
    ),
    TrustCheck(
        "bots",
        "Bots",
        "exposures marked as bots do not match the declared weights (p below .001); they are left out in any case",
        "a variant attracts or marks them",
        lambda evidence: bots(evidence.study.exposures.bots, evidence.study.weights, sum(evidence.units.values())),
    ),
    TrustCheck(
        "cost_coverage",
        "Costs are known",
        "margin decides, and the cost of an order is not known",
        "products without a cost in the catalogue",
        _cost_coverage,
    ),
    TrustCheck(
        "too_good",
        "No effect is too good to be true",
        "the always-valid interval lies beyond double, or half, of the control (Twyman's law)",
        "an event that is sent twice",
        _too_good,
    ),
    TrustCheck(
        "novelty",
        "Gains do not fade",
        "a gain shrinks with the days since the exposure (p below .001)",
        "curiosity, which does not last",
        lambda evidence: novelty(evidence.since.logs),
    ),
)


def documentation() -> str:
    """Return the table of checks in docs/statistics.md: `python -m analysis.reports.trust_checks` prints it."""
    lines = ["| check | fails when | likely cause |", "|---|---|---|"]
    lines += [f"| {check.name} | {check.fails_when} | {check.likely_cause} |" for check in TRUST_CHECKS]
    return "\n".join(lines)


if __name__ == "__main__":
    print(documentation())  # noqa: T201  written for docs/statistics.md
