"""Whether the effect on the primary metric differs between segments, with another experiment, or over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from statsmodels.stats.meta_analysis import combine_effects

from analysis.stats.boundaries.multiplicity import corrected
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.readings import Interval, Lift
from analysis.stats.covariates import stratified
from analysis.stats.lift import compare
from analysis.stats.moments import Floats, Moments

MAX_SEGMENTS = 12
MIN_UNITS = 2
SMALLEST_VARIANCE = 1e-20  # of the largest
OTHERS, UNKNOWN = "(others)", "(not given)"

Split = Mapping[str, Mapping[str, Moments]]  # by value of the attribute, then by variant


@dataclass(frozen=True, slots=True)
class SegmentLift:
    """A variant's lift in one segment; `corrected_p_value` is corrected across segments and variants (Holm)."""

    absolute: Interval
    relative: Interval
    p_value: float | None
    corrected_p_value: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = _lift_dict(self) | {"corrected_p_value": self.corrected_p_value}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class PostStratifiedLift:
    """A variant's lift with the segments' sizes evened out; `variance_saved` is a share of the plain lift's variance."""

    absolute: Interval
    relative: Interval
    p_value: float | None
    variance_saved: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = _lift_dict(self) | ({} if self.reason is None else {"reason": self.reason})
        return values | {"variance_saved": self.variance_saved}


def _lift_dict(lift: SegmentLift | PostStratifiedLift) -> dict[str, Any]:
    return {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}


@dataclass(frozen=True, slots=True)
class SegmentValue:
    """One segment: units and the metric's value by variant, and the lifts of the variants."""

    units: Mapping[str, int]
    value: Mapping[str, float | None]
    lifts: Mapping[str, SegmentLift]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        lifts = {key: lift.to_dict() for key, lift in self.lifts.items()}
        return {"units": dict(self.units), "value": dict(self.value), "lifts": lifts}


@dataclass(frozen=True, slots=True)
class InteractionTest:
    """
    Whether a variant's effect is the same in all segments.

    Attributes:
        p_value: None with a reason.
        corrected_p_value: Corrected for all interactions of a report (Holm); None before `correct_interactions`.
    """

    p_value: float | None
    reason: str | None = None
    corrected_p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {"p_value": self.p_value}
        values |= {} if self.reason is None else {"reason": self.reason}
        return values | {"corrected_p_value": self.corrected_p_value}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """
    A metric by the values of one attribute.

    Attributes:
        values: By value of the attribute, the largest segment first.
        interaction, post_stratified: By variant.
        reason: Why there are no segments; then everything else is empty.
    """

    values: Mapping[str, SegmentValue]
    interaction: Mapping[str, InteractionTest]
    post_stratified: Mapping[str, PostStratifiedLift]
    reason: str | None = None

    @classmethod
    def without(cls, reason: str) -> "Breakdown":
        """Return a breakdown without segments."""
        return cls({}, {}, {}, reason)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {
            "values": {name: segment.to_dict() for name, segment in self.values.items()},
            "interaction": {key: test.to_dict() for key, test in self.interaction.items()},
        }
        if self.reason is not None:
            return values | {"reason": self.reason}
        return values | {"post_stratified": {key: lift.to_dict() for key, lift in self.post_stratified.items()}}


@dataclass(frozen=True, slots=True)
class CrossEffects:
    """
    Whether two experiments change each other's effects.

    Attributes:
        units: Units exposed to both.
        p_value: One for all pairs of treatments; None with a reason.
        effects: By this experiment's treatment and the other's: the difference of the differences.
    """

    units: int
    p_value: float | None
    effects: Mapping[str, Mapping[str, Interval]]
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        effects = {
            key: {other: effect.to_dict() for other, effect in pairs.items()} for key, pairs in self.effects.items()
        }
        values: dict[str, Any] = {"units": self.units, "p_value": self.p_value, "effects": effects}
        return values if self.reason is None else values | {"reason": self.reason}


def split(cells: Mapping[str | None, Mapping[str, Moments]], variants: Sequence[str]) -> dict[str, dict[str, Moments]]:
    """Order the values of an attribute by their units, the largest first; the smallest of many are merged."""
    empty = Moments.zeros(0, next((len(arm.means) for arms in cells.values() for arm in arms.values()), 1))
    whole = {
        UNKNOWN if value is None else value: {key: arms.get(key, empty) for key in variants}
        for value, arms in cells.items()
    }
    by_size = sorted(whole, key=lambda value: -sum(arm.n for arm in whole[value].values()))
    segments = {value: whole[value] for value in by_size[:MAX_SEGMENTS]}
    for value in by_size[MAX_SEGMENTS:]:
        others = segments.setdefault(OTHERS, dict.fromkeys(variants, empty))
        segments[OTHERS] = {key: others[key] + whole[value][key] for key in variants}
    return segments


def break_down(by: Split, kind: Kind, active: Sequence[str], confidence: float) -> Breakdown:
    """
    Compute every segment's lifts, whether they differ, and the lift with the segments' sizes evened out.

    Args:
        by: Moments of the metric, by segment and variant, the control first.
        kind: The metric's.
        active: The variants that are compared with the control.
        confidence: Coverage of each interval, in (0, 1).
    """
    control = next(iter(next(iter(by.values()))))
    lifts = {
        value: compare(kind, arms[control], {key: arms[key] for key in active}, confidence)
        for value, arms in by.items()
    }
    p_values = iter(corrected([lift.p_value for segment in lifts.values() for lift in segment.values()], "holm"))
    values = {
        value: SegmentValue(
            {key: arm.n for key, arm in by[value].items()},
            {key: arm.value for key, arm in by[value].items()},
            {key: _segment_lift(lift, next(p_values)) for key, lift in segment.items()},
        )
        for value, segment in lifts.items()
    }
    interaction = {key: _interaction([(arms[control], arms[key]) for arms in by.values()]) for key in active}
    return Breakdown(values, interaction, _post_stratified(by, control, active, confidence))


def _segment_lift(lift: Lift, corrected_p_value: float | None) -> SegmentLift:
    return SegmentLift(lift.absolute, lift.relative, lift.p_value, corrected_p_value, lift.reason)


def _interaction(pairs: Sequence[tuple[Moments, Moments]]) -> InteractionTest:
    """Test whether the difference is the same in all segments: Cochran's Q (Cochran 1954, Biometrics 10, 101-129)."""
    estimates = [
        (after.value - before.value, after.variance + before.variance)
        for before, after in pairs
        if before.value is not None and after.value is not None and before.variance and after.variance
    ]
    if len(estimates) < 2:
        return InteractionTest(None, "fewer than two segments have a standard error")
    effects, variances = np.array(estimates).T
    centred = effects - effects.mean()  # Q does not change, and statsmodels' sum of squares cancels less
    return InteractionTest(float(combine_effects(centred, variances).test_homogeneity().pvalue))


def _post_stratified(
    by: Split, control: str, active: Sequence[str], confidence: float
) -> dict[str, PostStratifiedLift]:
    compared = [{key: arms[key] for key in (control, *active)} for arms in by.values()]
    usable = [arms for arms in compared if all(arm.n >= MIN_UNITS for arm in arms.values())]
    if len(usable) < 2:
        return {}
    arms = stratified(usable)
    whole = usable[0]
    for segment in usable[1:]:
        whole = {key: whole[key] + segment[key] for key in whole}
    lifts = compare("mean", arms[control], {key: arms[key] for key in active}, confidence)
    evened = {}
    for key, lift in lifts.items():
        before = (whole[control].variance or 0.0) + (whole[key].variance or 0.0)
        after = (arms[control].variance or 0.0) + (arms[key].variance or 0.0)
        saved = 1 - after / before if before else None
        evened[key] = PostStratifiedLift(lift.absolute, lift.relative, lift.p_value, saved, lift.reason)
    return evened


def correct_interactions(breakdowns: Mapping[str, Breakdown]) -> dict[str, Breakdown]:
    """Return the breakdowns of a report with the p-values of all their interactions corrected together (Holm)."""
    tests = [test for breakdown in breakdowns.values() for test in breakdown.interaction.values()]
    p_values = iter(corrected([test.p_value for test in tests], "holm"))
    return {
        name: replace(
            breakdown,
            interaction={
                key: replace(test, corrected_p_value=next(p_values)) for key, test in breakdown.interaction.items()
            },
        )
        for name, breakdown in breakdowns.items()
    }


def interact(
    cells: Mapping[tuple[str, str], Moments], own: Sequence[str], other: Sequence[str], confidence: float
) -> CrossEffects:
    """
    Test whether two experiments change each other's effects, by Wald's chi-square over all pairs of treatments.

    Args:
        cells: Moments by both experiments' variants.
        own, other: Their variants, each control first.
        confidence: Coverage of each interval, in (0, 1).
    """
    units = sum(moments.n for moments in cells.values())
    if any((key, key_2) not in cells or cells[key, key_2].n < MIN_UNITS for key in own for key_2 in other):
        return CrossEffects(units, None, {}, "not enough units met both experiments")
    contrasts = _contrasts(list(cells), own, other)
    values = np.array([moments.means[0] for moments in cells.values()])
    variances = np.array([moments.variance or 0.0 for moments in cells.values()])
    if not (np.abs(contrasts) @ variances).all():
        return CrossEffects(units, None, {}, "no orders of units that met both experiments")
    # A cell in which nobody bought does not vary, and a weight must be finite.
    weights = 1 / np.maximum(variances, SMALLEST_VARIANCE * variances.max())
    fit = _weighted_fit(values, np.eye(len(values)), weights)
    tests = fit.t_test(contrasts)
    ends = zip(np.atleast_1d(tests.effect), tests.conf_int(alpha=1 - confidence), strict=True)
    intervals = iter([Interval(float(effect), float(low), float(high)) for effect, (low, high) in ends])
    effects = {key: {key_2: next(intervals) for key_2 in other[1:]} for key in own[1:]}
    p_value = float(fit.wald_test(contrasts, use_f=False, scalar=True).pvalue)
    return CrossEffects(units, p_value, effects)


def _contrasts(pairs: list[tuple[str, str]], own: Sequence[str], other: Sequence[str]) -> Floats:
    """Return the differences of differences as weights of the cells: one row for each pair of treatments, shape (rows, cells)."""
    rows = []
    for key in own[1:]:
        for key_2 in other[1:]:
            row = np.zeros(len(pairs))
            row[[pairs.index((key, key_2)), pairs.index((own[0], other[0]))]] += 1
            row[[pairs.index((key, other[0])), pairs.index((own[0], key_2))]] -= 1
            rows.append(row)
    return np.array(rows)


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through estimates; `p_value` is that of a slope of 0."""

    slope: float
    intercept: float
    p_value: float


def fit_line(x: Sequence[float], estimates: Sequence[float], variances: Sequence[float]) -> Line:
    """
    Fit a line through estimates whose variances are known, by weighted least squares.

    Args:
        x, estimates, variances: Shape (n,), n >= 2; variances above 0.
    """
    design = np.column_stack([np.ones(len(x)), x])
    fit = _weighted_fit(estimates, design, 1 / np.asarray(variances))
    return Line(float(fit.params[1]), float(fit.params[0]), float(fit.pvalues[1]))


def _weighted_fit(values: Sequence[float] | Floats, design: Floats, weights: Floats) -> Any:
    """Fit a regression whose weights are inverse variances, by statsmodels; imported here, since few reports come to it."""
    from statsmodels.regression.linear_model import WLS

    return WLS(values, design, weights=weights).fit(cov_type="fixed scale")
