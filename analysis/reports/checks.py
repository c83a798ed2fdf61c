"""Every trust check of a report, from what was read of the experiment."""

import time
from collections.abc import Mapping

from analysis.queries import breakdowns
from analysis.queries.aggregates import Cell
from analysis.queries.exposure_counts import bots
from analysis.queries.source import Source
from analysis.queries.study import Study
from analysis.reports import trust_checks
from analysis.reports.curves import SinceExposure
from analysis.reports.model import MetricResult
from analysis.reports.segments import Segment
from analysis.stats.comparisons import Kind
from analysis.stats.lift import compare
from analysis.stats.sample_ratio import Counts, Weights


def check(
    source: Source,
    study: Study,
    arms: Mapping[str, Cell],
    metrics: Mapping[str, MetricResult],
    fates: Mapping[str, int],
    strays: int,
    split: Mapping[str, Segment],
    since: SinceExposure,
) -> list[trust_checks.Check]:
    """Give all checks, in the order in which they are shown."""
    asked, declared = study.asked, study.experiment.metrics
    units = {key: cell.moments.n for key, cell in arms.items()}
    total = sum(units.values())
    exposed = source.exposed(asked)
    repeated = exposed.left_out(asked.since)
    parts, days = _parts(study)
    parts |= {
        f"{name} {value}": (found, study.weights)
        for name, one in split.items()
        if name != "returning" and len(study.strata) == 1
        for value, found in one.units.items()
    }
    decisive = {declared.primary, *declared.guardrails}
    with_margin = {name for name, metric in study.metrics.items() if metric.needs_costs}
    return [
        trust_checks.sample_ratio(units, study.weights, strays, parts, days),
        trust_checks.multiple_exposure(repeated, total),
        trust_checks.unmatched_orders(
            fates.get("without_unit", 0), fates.get("known", 0), breakdowns.sold_without_unit(source, asked)
        ),
        _pre_period(study, arms),
        trust_checks.bots(bots(exposed.logged_tally, asked.since), study.weights, total),
        trust_checks.cost_coverage(
            sum(arm.costed for arm in arms.values()),
            sum(arm.orders for arm in arms.values()),
            decides=bool(decisive & with_margin),
            asked=bool(with_margin),
        ),
        trust_checks.too_good(declared.primary, metrics[declared.primary].lifts),
        trust_checks.novelty(since.logs),
    ]


Parts = dict[str, tuple[Counts, Weights]]


def _parts(study: Study) -> tuple[Parts, list[tuple[Counts, Weights]]]:
    """Give the units of every epoch and day, with the weights that were declared then."""
    by_epoch: dict[int, dict[str, int]] = {}
    by_day: dict[tuple[int, int], dict[str, int]] = {}
    for (key, epoch, day), cell in study.cells.items():
        for found in (by_epoch.setdefault(epoch, {}), by_day.setdefault((int(day), epoch), {})):
            found[key] = found.get(key, 0) + cell.moments.n
    declared = {one.number: one.weights for one in study.epochs}
    parts: Parts = {
        f"epoch {number}": (units, declared.get(number, study.weights))
        for number, units in by_epoch.items()
        if len(by_epoch) > 1
    }
    days = [(day, units, declared.get(epoch, study.weights)) for (day, epoch), units in sorted(by_day.items())]
    for day, units, weights in days:
        name = time.strftime("%Y-%m-%d", time.gmtime(day / 1000))
        parts[name if name not in parts else f"{name} (other weights)"] = (units, weights)
    return parts, [(units, weights) for _day, units, weights in days]


def _pre_period(study: Study, arms: Mapping[str, Cell]) -> trust_checks.Check:
    controls, treatments = study.paired((), ("buyer",))
    kind: Kind = "proportion" if len(study.strata) == 1 else "mean"
    lifts = compare(
        kind,
        {key: arm.pick([0]) for key, arm in controls.items()},
        {key: arm.pick([0]) for key, arm in treatments.items()},
    )
    had = [study.pick(cell.moments, (), ("buyer",)).pick([0]) for cell in arms.values()]
    return trust_checks.pre_period(lifts, round(sum(arm.numerator for arm in had)))
