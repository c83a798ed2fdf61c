"""The primary metric broken down: does the effect differ between segments, or with another experiment?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from analysis.stats.boundaries.corrections import corrected
from analysis.stats.comparisons import Kind
from analysis.stats.covariates import stratified
from analysis.stats.distributions import chi_square_tail, normal_quantile
from analysis.stats.lift import Lift, compare
from analysis.stats.moments import Moments

MAX_SEGMENTS = 12
MIN_UNITS = 2
OTHERS, UNKNOWN = "(others)", "(not given)"

Split = Mapping[str, Mapping[str, Moments]]  # by value of the attribute, then by variant


@dataclass(frozen=True, slots=True)
class SegmentLift:
    """The lift of a variant within a segment; `corrected_p_value` is corrected over segments and variants (Holm)."""

    lift: Lift
    corrected_p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        lift = self.lift
        values = {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}
        values["corrected_p_value"] = self.corrected_p_value
        return values if lift.reason is None else values | {"reason": lift.reason}


@dataclass(frozen=True, slots=True)
class SegmentValue:
    """One segment: units and values by variant, the control first, and the lifts of the others."""

    units: Mapping[str, int]
    values: Mapping[str, float | None]
    lifts: Mapping[str, SegmentLift]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        lifts = {key: lift.to_dict() for key, lift in self.lifts.items()}
        return {"units": dict(self.units), "value": dict(self.values), "lifts": lifts}


@dataclass(frozen=True, slots=True)
class InteractionTest:
    """Whether the effect of a variant differs between segments; None with a reason where that cannot be tested."""

    p_value: float | None
    reason: str | None = None
    corrected_p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"p_value": self.p_value, **reason, "corrected_p_value": self.corrected_p_value}


@dataclass(frozen=True, slots=True)
class PostStratifiedLift:
    """A lift with the sizes of the segments evened out, and the share of the variance that this saves."""

    lift: Lift
    variance_saved: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        lift = self.lift
        values = {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}
        reason = {} if lift.reason is None else {"reason": lift.reason}
        return {**values, **reason, "variance_saved": self.variance_saved}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """
    A metric broken down by one attribute.

    Attributes:
        values: The segments by value, the largest first.
        interaction: By variant, whether its effect differs between the segments.
        post_stratified: By variant; empty with fewer than two usable segments.
    """

    values: Mapping[str, SegmentValue]
    interaction: Mapping[str, InteractionTest]
    post_stratified: Mapping[str, PostStratifiedLift]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        return {
            "values": {value: segment.to_dict() for value, segment in self.values.items()},
            "interaction": {key: test.to_dict() for key, test in self.interaction.items()},
            "post_stratified": {key: lift.to_dict() for key, lift in self.post_stratified.items()},
        }


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference of differences with its interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CrossEffects:
    """
    Whether two experiments change the effects of each other.

    Attributes:
        units: Those that met both.
        p_value: Of all effects together (Wald's chi-square); None with a reason.
        effects: By variant, then by variant of the other experiment, without the controls.
    """

    units: int
    p_value: float | None
    effects: Mapping[str, Mapping[str, Effect]]
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        effects = {key: {other: asdict(effect) for other, effect in row.items()} for key, row in self.effects.items()}
        values = {"units": self.units, "p_value": self.p_value, "effects": effects}
        return values if self.reason is None else values | {"reason": self.reason}


def split(cells: Mapping[str | None, Mapping[str, Moments]], variants: Sequence[str]) -> dict[str, dict[str, Moments]]:
    """Order segments by size, the largest first; the smallest of many are merged."""
    columns = next((len(arm.means) for arms in cells.values() for arm in arms.values()), 1)
    empty = Moments.zeros(0, columns)
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
    Compare the variants within every segment, and test whether the effects differ.

    Args:
        by: Moments of the metric, by segment and variant, the control first.
        kind: Of the metric.
        active: The variants that are compared with the control.
        confidence: Coverage of each interval; p-values are corrected over segments and variants (Holm).
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
            {key: SegmentLift(lift, next(p_values)) for key, lift in segment.items()},
        )
        for value, segment in lifts.items()
    }
    tests = {key: _test_interaction([(arms[control], arms[key]) for arms in by.values()]) for key in active}
    return Breakdown(values, tests, _post_stratify(by, control, active, confidence))


def _test_interaction(pairs: Sequence[tuple[Moments, Moments]]) -> InteractionTest:
    """Test whether the difference is the same in all segments: Cochran's Q (Cochran 1954, Biometrics 10, 101-129)."""
    effects = [
        (after.value - before.value, after.variance + before.variance)
        for before, after in pairs
        if before.value is not None and after.value is not None and before.variance and after.variance
    ]
    if len(effects) < 2:
        return InteractionTest(None, "fewer than two segments have a standard error")
    values, weights = np.array([effect for effect, _ in effects]), np.array([1 / variance for _, variance in effects])
    statistic = weights @ (values - weights @ values / weights.sum()) ** 2
    return InteractionTest(chi_square_tail(statistic, len(effects) - 1))


def _post_stratify(by: Split, control: str, active: Sequence[str], confidence: float) -> dict[str, PostStratifiedLift]:
    arms_of = [{key: arms[key] for key in (control, *active)} for arms in by.values()]
    usable = [arms for arms in arms_of if all(arm.n >= MIN_UNITS for arm in arms.values())]
    if len(usable) < 2:
        return {}
    arms = stratified(usable)
    whole = usable[0]
    for other in usable[1:]:
        whole = {key: whole[key] + other[key] for key in whole}
    lifts = compare("mean", arms[control], {key: arms[key] for key in active}, confidence)
    results = {}
    for key, lift in lifts.items():
        before = (whole[control].variance or 0.0) + (whole[key].variance or 0.0)
        after = (arms[control].variance or 0.0) + (arms[key].variance or 0.0)
        results[key] = PostStratifiedLift(lift, 1 - after / before if before else None)
    return results


def correct_interactions(breakdowns: Mapping[str, Breakdown]) -> dict[str, Breakdown]:
    """Correct the p-values of all interactions of a report for their number (Holm)."""
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


def cross_effects(
    cells: Mapping[tuple[str, str], Moments], mine: Sequence[str], theirs: Sequence[str], confidence: float
) -> CrossEffects:
    """
    Test whether two experiments change the effects of each other.

    Args:
        cells: Moments by the variants of both experiments.
        mine, theirs: Their variants, each control first.
        confidence: Coverage of each interval.

    Returns:
        For every pair of treatments the difference of differences with its interval, and one p for all (Wald's chi-square).
    """
    units = sum(moments.n for moments in cells.values())
    pairs = [(key, other) for key in mine for other in theirs]
    if any(pair not in cells or cells[pair].n < MIN_UNITS for pair in pairs):
        return CrossEffects(units, None, {}, "not enough units met both experiments")
    treated = [(key, other) for key in mine[1:] for other in theirs[1:]]
    values = np.array([cells[pair].means[0] for pair in pairs])
    variances = np.array([cells[pair].variance or 0.0 for pair in pairs])
    contrasts = np.array([_contrast(pairs, pair, (mine[0], theirs[0])) for pair in treated])
    differences, covariance = contrasts @ values, contrasts @ np.diag(variances) @ contrasts.T
    errors = np.sqrt(np.diag(covariance))
    if not errors.all():
        return CrossEffects(units, None, {}, "no orders of units that met both experiments")
    statistic = float(differences @ np.linalg.pinv(covariance) @ differences)
    z = normal_quantile((1 - confidence) / 2)
    effects: dict[str, dict[str, Effect]] = {key: {} for key in mine[1:]}
    for (key, other), difference, error in zip(treated, differences, errors, strict=True):
        effects[key][other] = Effect(float(difference), float(difference - z * error), float(difference + z * error))
    return CrossEffects(units, chi_square_tail(statistic, len(treated)), effects)


def _contrast(pairs: Sequence[tuple[str, str]], treated: tuple[str, str], controls: tuple[str, str]) -> list[float]:
    """Return the coefficients of a difference of differences over the cells of two experiments."""
    signs = {treated: 1.0, (treated[0], controls[1]): -1.0, (controls[0], treated[1]): -1.0, controls: 1.0}
    return [signs.get(pair, 0.0) for pair in pairs]
