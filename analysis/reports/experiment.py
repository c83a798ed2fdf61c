"""The report: what an experiment's store has to say, put together from one query a question."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.metrics import Metric, columns_of
from analysis.planning.plan import planned_units
from analysis.queries import breakdowns
from analysis.queries.aggregates import Cell, Place
from analysis.queries.exposure_cache import keep
from analysis.queries.source import Source, open_source
from analysis.queries.study import FACTORS, Study, asked_of, read_study
from analysis.queries.unit_facts import HISTORY_DAYS
from analysis.reports import curves
from analysis.reports.checks import check
from analysis.reports.model import MetricResult, Report, VariantRow, across
from analysis.reports.outlook import outlook
from analysis.reports.segments import funnel, interactions, quantile_arms, segments
from analysis.reports.verdict import decide
from analysis.stats.comparisons.readings import Capped, Lift
from analysis.stats.lift import MIN_ANYTIME_BUYERS, TOO_FEW_BUYERS, compare
from analysis.stats.moments import Moments
from analysis.stats.orders.decomposition import decompose
from analysis.stats.orders.order_values import Values, describe
from analysis.stats.posterior import posteriors
from experiments.assignment.holdout import holdout_experiment
from experiments.declarations.loading import Configs, load
from experiments.declarations.model import HOLDOUT, Experiment, declared_dict
from experiments.errors import AnalysisError
from experiments.money import exponent

Caps = tuple[Sequence[str], Mapping[str, Moments], Mapping[str, tuple[float, float]]]  # columns, arms, caps by column
COVARIATE = f"the same over the {HISTORY_DAYS} days before the exposure"


def report(
    key: str,
    store: str = "sqlite:///crosslift.db",
    configs: str | Path = "configs",
    as_of_ms: int | None = None,
    beside: Iterable[str] = (),
    *,
    bayesian: bool = False,
) -> Report:
    """
    Report on one experiment.

    Args:
        key: The experiment's key; `holdout` for what the whole programme brings.
        store: URL of the store that holds its events.
        configs: Folder of the declarations.
        as_of_ms: Read no later exposure or order; now unless given. Orders are in their newest state, refunds included.
        beside: Other experiments: do they change this one's effect?
        bayesian: Give chances to be best and expected losses too.

    Raises:
        DeclarationError: The declarations are wrong.
        RequestError: There is no such experiment, or nobody is held out.
        StoreError: There is no store at the URL.
        AnalysisError: The store's orders are in several currencies.

    >>> import pathlib, tempfile
    >>> from events import open_store
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "experiments").mkdir()
    >>> _ = (folder / "experiments" / "ab.yaml").write_text(
    ...     "{key: ab, title: Ab, status: running, variants: {a: {placement: none}, b: {placement: none}}}"
    ... )
    >>> store = open_store(f"sqlite:///{folder / 'shop.db'}")
    >>> found = report("ab", store.url, folder)
    >>> found.verdict.decision, found.metrics["conversion"].to_dict()["variants"]["a"]["reason"]
    ('keep_running', 'no units')
    >>> store.close()
    """
    loaded = load(configs)
    experiment = _experiment(loaded, key)
    now_ms = time.time_ns() // 1_000_000 if as_of_ms is None else as_of_ms
    with open_source(store, loaded.shop) as source:
        foreign = source.foreign_currencies(now_ms)
        if foreign:
            raise AnalysisError(
                f"orders: found {', '.join(foreign)} beside {loaded.shop.currency}; wanted one currency"
            )
        study, strays = read_study(source, loaded, experiment, now_ms)
        found = _report(source, loaded, study, strays, beside, bayesian=bayesian)
        due = source.exposed(study.asked).due()
    if due is not None:
        keep(store, due)
    return found


def _experiment(loaded: Configs, key: str) -> Experiment:
    return holdout_experiment(loaded.shop) if key == HOLDOUT else loaded.experiment(key)


def _report(
    source: Source, loaded: Configs, study: Study, strays: int, beside: Iterable[str], *, bayesian: bool
) -> Report:
    asked, experiment = study.asked, study.experiment
    arms = study.arms
    values = breakdowns.order_values(source, study.newest)
    fates = source.order_counts(asked.unit, asked.as_of_ms)
    metrics = _metrics(source, study, values)
    primary = experiment.metrics.primary
    split = segments(source, study, metrics[primary].kind)
    since = _since(source, study)
    checks = check(source, study, arms, metrics, fates, strays, split, since)
    guardrails, verdict = decide(experiment, metrics, checks)
    if study.plan_changed:
        told = "The plan, the primary metric or a guardrail was changed after the start: readings on any day hold for the first."
        verdict = replace(verdict, reasons=[*verdict.reasons, told])
    counted = sum(arm.orders for arm in arms.values())
    details: dict[str, Any] = {
        "decomposition": _decomposition(study),
        "order_values": {key: arm.to_dict() for key, arm in describe(values, 10 ** exponent(source.currency)).items()},
        "funnel": funnel(source, study),
        "segments": {name: one.to_dict() for name, one in split.items()},
        "curves": {
            "cumulative": _cumulative(study),
            "since_exposure": since.points,
            "since_exposure_of": None if _primary(study) is None else study.metrics[primary].by_day,
        },
    }
    others = {other: asked_of(source, loaded, _experiment(loaded, other), asked.as_of_ms)[0] for other in beside}
    if others:
        details["interactions"] = interactions(source, study, others)
    if bayesian:
        moments = {
            key: arm for key, arm in metrics[primary].moments.items() if arm is not None and study.weights[key] > 0
        }
        details["bayesian"] = {
            "metric": primary,
            "variants": {key: one.to_dict() for key, one in posteriors(moments, metrics[primary].better).items()},
        }
    return Report(
        experiment=asked.experiment,
        title=experiment.title,
        as_of_ms=asked.as_of_ms,
        epochs=[epoch.number for epoch in study.epochs],
        confidence=experiment.plan.confidence,
        window_days=experiment.plan.window,
        currency=loaded.shop.currency,
        simulated=source.is_simulated(asked.experiment),
        checks=checks,
        variants=[
            VariantRow(name, one["placement"], arms[name].moments.n, study.weights[name])
            for name, one in _declared(study).items()
        ],
        metrics=metrics,
        primary=primary,
        guardrails=guardrails,
        verdict=outlook(study, metrics, verdict),
        earlier_exposures=source.exposed(asked).earlier(asked.since),
        orders={
            "counted": counted,
            "elsewhere": fates.get("known", 0) - counted,
            **{name: n for name, n in fates.items() if name != "known"},
        },
        strata=len(study.strata),
        details=details,
    )


def _declared(study: Study) -> Mapping[str, Any]:
    declared = study.epochs[-1].declared if study.epochs else declared_dict(study.experiment)
    variants: Mapping[str, Any] = declared["variants"]
    return variants


def _metrics(source: Source, study: Study, values: Mapping[str, Values]) -> dict[str, MetricResult]:
    arms = study.arms
    few = min(arms[key].buyers for key in (study.control, *study.active)) < MIN_ANYTIME_BUYERS
    not_anytime = TOO_FEW_BUYERS if few else None
    capped = _capped(source, study)
    found = {
        name: _metric(source, study, metric, values, not_anytime, capped) for name, metric in study.metrics.items()
    }
    secondary = [name for name in found if name != study.experiment.metrics.primary]  # the primary decides alone
    return dict(across(found, secondary, study.experiment.metrics.correction))


def _metric(
    source: Source,
    study: Study,
    metric: Metric,
    values: Mapping[str, Values],
    not_anytime: str | None,
    capped: Caps,
) -> MetricResult:
    """Compare the arms that take part, on their own and with what is known of the units before."""
    arms = study.arms
    blank = MetricResult(metric.kind, dict.fromkeys(arms), {}, metric.is_money, None, metric.better)
    if metric.needs_costs and study.uncosted:
        orders = sum(arm.orders for arm in arms.values())
        return replace(blank, reason=f"the cost of {study.uncosted:,} of {orders:,} orders is not known")
    controls: Moments | Mapping[str, Moments]
    if metric.quantile is not None:  # quantiles cannot be combined over sets of weights: the newest is read
        shown, reason = quantile_arms(source, study.newest, values, metric.quantile)
        if reason:
            return replace(blank, moments=shown or blank.moments, reason=reason)
        totals, controls, treatments = shown, shown[study.control], {key: shown[key] for key in study.active}
    else:
        controls, treatments = study.paired(metric.columns, metric.columns if metric.by_history else ())
        totals = {key: study.pick(cell.moments, metric.columns) for key, cell in arms.items()}
        shown = study.shown(metric.columns)
    plan = study.experiment.plan
    lifts = compare(
        "mean" if len(study.strata) > 1 and metric.quantile is None else metric.kind,
        controls,
        treatments,
        plan.confidence,
        planned_units(plan),
        not_anytime,
        plan.looks,
        COVARIATE,
    )
    lifts = _with_capped(study, metric, lifts, capped)
    return MetricResult(metric.kind, shown, lifts, metric.is_money, None, metric.better, totals)


def _capped(source: Source, study: Study) -> Caps:
    """Give the arms' moments over capped money, and the caps; none where nothing is to be capped."""
    named = [one for one in study.metrics.values() if one.is_money and one.quantile is None]
    share = study.experiment.plan.cap
    if share is None or not named or len(study.strata) > 1:
        return [], {}, {}
    columns, money = columns_of(named), list(dict.fromkeys(one.numerator for one in named))
    sizes = {key: cell.moments.n for key, cell in study.arms.items()}
    return columns, *breakdowns.capped(source, study.asked, columns, money, share, sizes)


def _with_capped(study: Study, metric: Metric, lifts: Mapping[str, Lift], capped: Caps) -> dict[str, Lift]:
    """Put beside each lift the one over capped values: no single order may carry a result."""
    columns, arms, caps = capped
    if metric.numerator not in caps:
        return dict(lifts)
    at = [columns.index(name) for name in metric.columns]
    treatments = {key: arms[key].pick(at) for key in study.active}
    again = compare(metric.kind, arms[study.control].pick(at), treatments, study.experiment.plan.confidence)
    return {key: replace(lift, capped=Capped(*caps[metric.numerator], again[key])) for key, lift in lifts.items()}


def _decomposition(study: Study) -> dict[str, Any]:
    controls, treatments = study.paired(FACTORS)
    confidence = study.experiment.plan.confidence
    return {key: decompose(controls[key], arm, confidence).to_dict() for key, arm in treatments.items()}


def _family(study: Study) -> curves.Family:
    plan = study.experiment.plan
    kind = study.metrics[study.experiment.metrics.primary].kind
    return curves.Family(kind, study.control, study.active, plan.confidence, planned_units(plan))


def _primary(study: Study) -> Metric | None:
    """Give the metric that curves are of; quantiles do not add up, and margins want every cost."""
    metric = study.metrics[study.experiment.metrics.primary]
    return None if metric.quantile is not None or (metric.needs_costs and study.uncosted) else metric


def _cumulative(study: Study) -> list[dict[str, Any]]:
    metric = _primary(study)
    if metric is None:
        return []
    days: dict[tuple[int, int], dict[Place, Cell]] = {}
    for place, cell in study.cells.items():
        days.setdefault((int(place[2]), study.stratum(place[1])), {})[place] = cell
    told = []
    for (day, stratum), cells in sorted(days.items()):
        arms = study.merge(cells)
        moments = {key: study.pick(cell.moments, metric.columns) for key, cell in arms.items()}
        told.append(curves.Day(day, stratum, moments, {key: cell.buyers for key, cell in arms.items()}))
    return curves.cumulative(told, _family(study))


def _since(source: Source, study: Study) -> curves.SinceExposure:
    metric = _primary(study)
    column = None if metric is None else metric.by_day
    if column is None:
        return curves.SinceExposure([], {})
    units: dict[tuple[str, int], int] = {}
    newest = study.newest
    for place, cell in study.newest_cells.items():
        at = (str(place[0]), int(place[2]))
        units[at] = units.get(at, 0) + cell.moments.n
    parts = breakdowns.by_days_since(source, newest, column)
    return curves.since_exposure(parts, units, newest.as_of_ms, newest.window_days, _family(study))
