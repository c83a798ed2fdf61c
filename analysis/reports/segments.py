"""The primary metric broken down: by segments, and by the variants of other experiments."""

from collections.abc import Mapping

from analysis.queries.study import Study
from analysis.reports.model import CrossEffects, Kind, SegmentResult
from analysis.stats.heterogeneity import break_down, correct_interactions, cross_effects, split


def segment_results(study: Study, kind: Kind) -> dict[str, SegmentResult]:
    """Compare the variants within each segment, and test whether the effect differs between segments."""
    confidence = study.experiment.plan.confidence
    breakdowns, reasons = {}, {}
    for segment in study.segments:
        if segment.reason is not None:
            reasons[segment.name] = segment.reason
            continue
        moments = {value: {key: cell.moments for key, cell in cells.items()} for value, cells in segment.cells.items()}
        breakdowns[segment.name] = break_down(split(moments, study.variants), kind, study.active, confidence)
    corrected = correct_interactions(breakdowns)
    return {
        segment.name: SegmentResult(study.primary.name, corrected.get(segment.name), reasons.get(segment.name))
        for segment in study.segments
    }


def interactions(study: Study) -> Mapping[str, CrossEffects]:
    """Test whether other experiments change the effect of this one on revenue per visitor."""
    return {
        other.key: cross_effects(
            {(pair.variant, pair.other): cell.moments for pair, cell in other.cells.items()},
            [study.control, *study.active],
            list(other.variants),
            study.experiment.plan.confidence,
        )
        for other in study.others
    }
