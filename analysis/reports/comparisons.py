"""The arms of a study as comparisons and checks need them: in pairs, over sets of weights, by segment, with other experiments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.reports.model import Breakdown, CrossEffects, Kind, MetricResult, SegmentResult
from analysis.stats.boundaries.multiplicity import corrected
from analysis.stats.comparisons.readings import CorrectedP, Method
from analysis.stats.covariates import paired, stratified
from analysis.stats.heterogeneity import break_down, correct_interactions, interact, split
from analysis.stats.moments import Moments
from experiments.declarations.metrics import Column

if TYPE_CHECKING:
    from analysis.queries.study import Study


@dataclass(frozen=True, slots=True)
class Arms:
    """The moments of each treatment, and of its control over the sets of weights in which both had units, by variant."""

    controls: Mapping[str, Moments]
    treatments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class Part:
    """The units of an epoch, day or segment by variant, with the weights that were declared for it."""

    name: str
    units: Mapping[str, int]
    weights: Mapping[str, float]


def paired_arms(study: Study, columns: Sequence[Column], before: Sequence[Column] = ()) -> Arms:
    """Return each treatment with its control; with one set of weights the control is the same for all."""
    strata = [
        {key: study.pick(cell.moments, columns, before) for key, cell in stratum.items()} for stratum in study.strata
    ]
    return Arms(*paired(strata, study.control, study.active))


def combined_arms(study: Study, columns: Sequence[Column]) -> dict[str, Moments]:
    """Return the moments of each variant, combined over the sets of weights in which it had units."""
    strata = study.strata
    if len(strata) == 1:
        return {key: study.pick(strata[0][key].moments, columns) for key in study.variants}
    sizes = [sum(cell.moments.n for cell in stratum.values()) for stratum in strata]
    return {
        key: stratified([{key: study.pick(stratum[key].moments, columns)} for stratum in strata], sizes)[key]
        for key in study.variants
    }


def total_arms(study: Study, columns: Sequence[Column]) -> dict[str, Moments]:
    """Return the moments of each variant over all of its units."""
    return {key: study.pick(cell.moments, columns) for key, cell in study.arms.items()}


def units_by_epoch(study: Study) -> list[Part]:
    """Return the units of every epoch, where there are several."""
    units: dict[int, dict[str, int]] = {}
    for place, cell in study.cells.items():
        of_epoch = units.setdefault(place.epoch, {})
        of_epoch[place.variant] = of_epoch.get(place.variant, 0) + cell.moments.n
    weights = _weights_by_epoch(study)
    if len(units) < 2:
        return []
    return [Part(f"epoch {number}", counts, weights.get(number, study.weights)) for number, counts in units.items()]


def units_by_day(study: Study) -> list[Part]:
    """Return the units of every day in order; a day on which an epoch began has a part for each."""
    units: dict[tuple[int, int], dict[str, int]] = {}
    for place, cell in study.cells.items():
        of_day = units.setdefault((place.day, place.epoch), {})
        of_day[place.variant] = of_day.get(place.variant, 0) + cell.moments.n
    weights = _weights_by_epoch(study)
    days: list[Part] = []
    for (day_ms, epoch), counts in sorted(units.items()):
        date = time.strftime("%Y-%m-%d", time.gmtime(day_ms / 1000))
        name = f"{date} (epoch {epoch})" if any(part.name == date for part in days) else date
        days.append(Part(name, counts, weights.get(epoch, study.weights)))
    return days


def _weights_by_epoch(study: Study) -> dict[int, dict[str, float]]:
    return {epoch.number: epoch.weights for epoch in study.epochs}


def correct_metrics(
    metrics: Mapping[str, MetricResult], names: Sequence[str], method: Method | None
) -> dict[str, MetricResult]:
    """Correct the p-values of the lifts in some metrics for their number; without a method nothing is corrected."""
    results = dict(metrics)
    if method is None:
        return results
    lifts = [(name, key, lift) for name in names for key, lift in metrics[name].lifts.items()]
    p_values = corrected([lift.simultaneous.p_value for _name, _key, lift in lifts], method)
    for (name, key, lift), p_value in zip(lifts, p_values, strict=True):
        changed = replace(lift, across_metrics=CorrectedP(method, p_value))
        results[name] = replace(results[name], lifts={**results[name].lifts, key: changed})
    return results


def segment_results(study: Study, kind: Kind) -> dict[str, SegmentResult]:
    """Compare the variants within each segment, and test whether the effect differs between segments."""
    confidence = study.experiment.plan.confidence
    breakdowns = {}
    for segment in study.segments:
        if segment.reason is not None:
            breakdowns[segment.name] = Breakdown.without(segment.reason)
            continue
        moments = {value: {key: cell.moments for key, cell in cells.items()} for value, cells in segment.cells.items()}
        breakdowns[segment.name] = break_down(split(moments, study.variants), kind, study.active, confidence)
    corrected = correct_interactions(breakdowns)
    return {name: SegmentResult(study.primary.name, breakdown) for name, breakdown in corrected.items()}


def interactions(study: Study) -> Mapping[str, CrossEffects]:
    """Test whether other experiments change the effect of this one on revenue per visitor."""
    return {
        other.key: interact(
            {(pair.variant, pair.other): cell.moments for pair, cell in other.cells.items()},
            [study.control, *study.active],
            list(other.variants),
            study.experiment.plan.confidence,
        )
        for other in study.others
    }
