"""Computes the report on an experiment from what was read of it, and from that alone."""

from collections.abc import Mapping
from dataclasses import replace

from analysis.planning.plan import planned_units
from analysis.queries.aggregates import Cell, Place
from analysis.queries.study import FACTORS, Study
from analysis.queries.unit_facts import HISTORY_DAYS
from analysis.reports import curves, messages
from analysis.reports.comparisons import (
    combined_arms,
    correct_metrics,
    interactions,
    paired_arms,
    segment_results,
    total_arms,
)
from analysis.reports.model import (
    CrossEffects,
    CumulativePoint,
    Curves,
    Decomposition,
    Kind,
    Lift,
    MetricResult,
    Moments,
    OrderTotals,
    Posteriors,
    Report,
    VariantRow,
)
from analysis.reports.trust_checks import Evidence, run_checks
from analysis.reports.verdict import decide, with_outlook
from analysis.stats.comparisons import Undefined
from analysis.stats.comparisons.readings import Capped
from analysis.stats.lift import MIN_ANYTIME_BUYERS, TOO_FEW_BUYERS, compare
from analysis.stats.orders.decomposition import decompose
from analysis.stats.orders.order_statistics import quantile
from analysis.stats.orders.order_values import describe
from analysis.stats.orders.quantiles import clustered, scaled
from analysis.stats.posterior import posteriors
from experiments.declarations.metrics import Metric
from experiments.money import exponent

COVARIATE = f"the same over the {HISTORY_DAYS} days before the exposure"


def compute(study: Study, *, bayesian: bool = False) -> Report:
    """Compute the report from what was read."""
    metrics = _metrics(study)
    segments = segment_results(study, study.primary.kind)
    since = _since_exposure(study)
    checks = run_checks(Evidence(study, metrics, segments, since))
    guardrails, verdict = decide(study.experiment, metrics, checks)
    if study.plan_changed:
        verdict = replace(verdict, reasons=[*verdict.reasons, messages.PLAN_CHANGED])
    column = None if study.splittable is None else study.splittable.daily_column
    return Report(
        experiment=study.scope.experiment,
        title=study.experiment.title,
        as_of_ms=study.scope.as_of_ms,
        epochs=[epoch.number for epoch in study.epochs],
        confidence=study.experiment.plan.confidence,
        window_days=study.experiment.plan.window,
        currency=study.currency,
        simulated=study.is_simulated,
        checks=checks,
        variants=[
            VariantRow(key, declared["placement"], study.arms[key].moments.n, study.weights[key])
            for key, declared in study.declared["variants"].items()
        ],
        metrics=metrics,
        primary=study.primary.name,
        guardrails=guardrails,
        verdict=with_outlook(study, metrics, verdict),
        earlier_exposures=study.exposures.earlier,
        orders=_order_totals(study),
        strata=len(study.strata),
        decomposition=_decomposition(study),
        order_values=describe(study.order_values, 10 ** exponent(study.currency)),
        funnel=_funnel(study),
        segments=segments,
        curves=Curves(_cumulative(study), since.points, None if column is None else column.label),
        interactions=_interactions(study),
        posteriors=_posteriors(study, metrics[study.primary.name]) if bayesian else None,
    )


def _metrics(study: Study) -> dict[str, MetricResult]:
    buyers = min(study.arms[key].buyers for key in (study.control, *study.active))
    not_anytime = TOO_FEW_BUYERS if buyers < MIN_ANYTIME_BUYERS else None
    results = {name: _metric(study, metric, not_anytime) for name, metric in study.metrics.items()}
    secondary = [name for name in results if name != study.primary.name]  # the primary decides alone
    return correct_metrics(results, secondary, study.experiment.metrics.correction)


def _metric(study: Study, metric: Metric, not_anytime: str | None) -> MetricResult:
    """Compare the variants that take part, plain and adjusted for what is known of the units before."""
    blank = MetricResult(metric.kind, dict.fromkeys(study.arms), {}, metric.is_money, None, metric.better)
    if metric.needs_costs and study.uncosted:
        orders = sum(arm.orders for arm in study.arms.values())
        return replace(blank, reason=messages.COSTS_UNKNOWN.format(n=study.uncosted, orders=orders))
    if metric.quantile is not None:
        return _quantile_metric(study, metric, metric.quantile, blank, not_anytime)
    arms = paired_arms(study, metric.columns, metric.columns if metric.has_history else ())
    kind = "mean" if len(study.strata) > 1 else metric.kind
    lifts = _compare(study, kind, arms.controls, arms.treatments, not_anytime)
    lifts = _with_capped(study, metric, lifts)
    return replace(
        blank,
        moments=combined_arms(study, metric.columns),
        lifts=lifts,
        totals=total_arms(study, metric.columns),
    )


def _compare(
    study: Study,
    kind: Kind,
    controls: Moments | Mapping[str, Moments],
    treatments: Mapping[str, Moments],
    not_anytime: str | None,
) -> dict[str, Lift]:
    plan = study.experiment.plan
    return compare(kind, controls, treatments, plan.confidence, planned_units(plan), not_anytime, plan.looks, COVARIATE)


def _quantile_metric(
    study: Study, metric: Metric, share: float, blank: MetricResult, not_anytime: str | None
) -> MetricResult:
    """Compare a quantile; it cannot be combined over sets of weights, so the newest set is read."""
    try:
        known = {key: quantile(values, share) for key, values in study.order_values.items()}
    except Undefined as undefined:
        return replace(blank, reason=undefined.reason)
    unit = 10.0 ** exponent(study.currency)
    arms, reason = {}, None
    for key, values in study.order_values.items():
        try:
            minor = clustered(values, share, study.orders_up_to[share].get(key))
        except Undefined as undefined:  # the value is known, its error not
            reason = f"{key}: {undefined.reason}"
            minor = Moments.of_estimate(sum(values.values()), known[key], 0.0)
        arms[key] = scaled(minor, unit)
    if reason:
        return replace(blank, moments=arms, reason=reason)
    treatments = {key: arms[key] for key in study.active}
    lifts = _compare(study, metric.kind, arms[study.control], treatments, not_anytime)
    return replace(blank, moments=arms, lifts=lifts, totals=arms)


def _with_capped(study: Study, metric: Metric, lifts: Mapping[str, Lift]) -> dict[str, Lift]:
    """Add to each lift the one over capped values: no single order may carry a result."""
    capped = study.capped
    if capped is None or metric.numerator not in capped.caps:
        return dict(lifts)
    at = [capped.columns.index(column) for column in metric.columns]
    arms = {key: capped.moments[key].pick(at) for key in (study.control, *study.active)}
    control = arms.pop(study.control)
    caps = capped.caps[metric.numerator]
    again = compare(metric.kind, control, arms, study.experiment.plan.confidence)
    return {key: replace(lift, capped=Capped(caps.low, caps.high, again[key])) for key, lift in lifts.items()}


def _decomposition(study: Study) -> dict[str, Decomposition]:
    arms = paired_arms(study, FACTORS)
    confidence = study.experiment.plan.confidence
    return {key: decompose(arms.controls[key], arm, confidence) for key, arm in arms.treatments.items()}


def _family(study: Study) -> curves.Family:
    plan = study.experiment.plan
    return curves.Family(study.primary.kind, study.control, study.active, plan.confidence, planned_units(plan))


def _cumulative(study: Study) -> list[CumulativePoint]:
    metric = study.splittable
    if metric is None:
        return []
    cells: dict[tuple[int, int], dict[Place, Cell]] = {}
    for place, cell in study.cells.items():
        cells.setdefault((place.day, study.stratum(place.epoch)), {})[place] = cell
    days = []
    for (day_ms, stratum), of_day in sorted(cells.items()):
        arms = study.merge(of_day)
        moments = {key: study.pick(cell.moments, metric.columns) for key, cell in arms.items()}
        days.append(curves.Day(day_ms, stratum, moments, {key: cell.buyers for key, cell in arms.items()}))
    return curves.cumulative(days, _family(study))


def _since_exposure(study: Study) -> curves.SinceExposure:
    metric = study.splittable
    if metric is None or metric.daily_column is None:
        return curves.SinceExposure([], {})
    units: dict[str, dict[int, int]] = {}
    for place, cell in study.newest_cells.items():
        days = units.setdefault(place.variant, {})
        days[place.day] = days.get(place.day, 0) + cell.moments.n
    scope = study.newest
    return curves.since_exposure(study.daily_sums, units, scope.as_of_ms, scope.window_days, _family(study))


def _funnel(study: Study) -> dict[str, dict[str, int]]:
    return {key: {"exposed": cell.moments.n, **study.funnel[key]} for key, cell in study.arms.items()}


def _interactions(study: Study) -> Mapping[str, CrossEffects] | None:
    return interactions(study) if study.others else None


def _posteriors(study: Study, primary: MetricResult) -> Posteriors:
    arms = {key: arm for key, arm in primary.moments.items() if arm is not None and study.weights[key] > 0}
    return Posteriors(study.primary.name, posteriors(arms, primary.better))


def _order_totals(study: Study) -> OrderTotals:
    counted, orders = sum(arm.orders for arm in study.arms.values()), study.orders
    return OrderTotals(
        counted, orders.known - counted, orders.without_unit, orders.unverified, orders.excluded, orders.from_sources
    )
