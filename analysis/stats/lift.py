"""What a treatment brings over its control: three readings of the same comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from analysis.stats.boundaries import confidence_sequences, multiplicity
from analysis.stats.boundaries.group_sequential import group_sequential_bounds, repeated_p
from analysis.stats.comparisons import Kind, Undefined
from analysis.stats.comparisons.means import Means
from analysis.stats.comparisons.proportions import Proportions
from analysis.stats.comparisons.quantiles import Quantiles
from analysis.stats.comparisons.readings import Adjusted, Interval, Lift, Look, Reading
from analysis.stats.covariates import adjusted
from analysis.stats.moments import Moments
from experiments.errors import AnalysisError

MIN_ANYTIME_UNITS = 100
MIN_ANYTIME_BUYERS = 30
TOO_FEW_BUYERS = f"fewer than {MIN_ANYTIME_BUYERS} buyers in a variant"

Comparison = Means | Proportions | Quantiles


def lift(control: Moments, treatment: Moments, confidence: float = 0.95, planned_units: float | None = None) -> Lift:
    """
    Compare one treatment with its control.

    Args:
        control, treatment: Moments over units, not orders; n >= 2 each.
        confidence: Coverage of the intervals, in (0, 1).
        planned_units: Units of both arms together that were planned before the start; without it nothing is always valid.

    Returns:
        The lift, adjusted where the moments carry covariates; what cannot be had is None with a reason.

    Raises:
        AnalysisError: The confidence is no share, planned_units not above 0, or the two arms are not of one kind.

    >>> a = Moments.from_sums(3407, 1396.87, 52377.9767)
    >>> b = Moments.from_sums(3461, 2422.7, 134698.29)
    >>> result = lift(a, b)
    >>> round(result.p_value, 5), round(result.relative.low, 5), round(result.relative.high, 5)
    (0.02016, 0.09406, 1.70869)
    >>> list(result.to_frame().index)
    ['alone', 'simultaneous', 'anytime']
    """
    kind: Kind = "ratio" if control.is_ratio else "mean"
    return compare(kind, control, {"treatment": treatment}, confidence, planned_units)["treatment"]


def compare(
    kind: Kind,
    control: Moments | Mapping[str, Moments],
    treatments: Mapping[str, Moments],
    confidence: float = 0.95,
    planned_units: float | None = None,
    not_anytime: str | None = None,
    looks: int | None = None,
    covariate: str = "before the exposure",
) -> dict[str, Lift]:
    """
    Compare several treatments with one control, as a family.

    Args:
        kind: `proportion` takes the score test of shares, the others Welch and Fieller.
        control, treatments: Moments over units; one control for all, or each treatment's own, over the strata that they share.
        confidence: Coverage of the intervals, in (0, 1); of the whole family in `simultaneous` and `anytime`.
        planned_units: Units of control and one treatment together that were planned before the start.
        not_anytime: Why an always-valid reading cannot be had yet, where the caller knows.
        looks: How many equally spaced readings were planned, for group-sequential bounds.
        covariate: What the moments' covariates are called.

    Raises:
        AnalysisError: The confidence is no share, or the arms are not of one kind.
    """
    if not 0 < confidence < 1:
        raise AnalysisError(f"confidence == {confidence}, must be in (0, 1)")
    controls = {key: control if isinstance(control, Moments) else control[key] for key in treatments}
    shapes = {(arm.is_ratio, arm.covariates) for arm in (*controls.values(), *treatments.values())}
    if len(shapes) > 1:
        raise AnalysisError("found a ratio compared with a mean; wanted arms of one kind, with the same covariates")
    if planned_units is not None and not 0 < planned_units < math.inf:
        raise AnalysisError(f"planned_units == {planned_units}, must be above 0")
    plain = {key: arm.without_covariates() for key, arm in treatments.items()}
    terms = _Terms(confidence, planned_units, not_anytime, looks, len(treatments))
    before = {key: arm.without_covariates() for key, arm in controls.items()}
    lifts = _compare(kind, before, plain, terms)
    if not any(has_covariates for _is_ratio, has_covariates in shapes):
        return lifts
    try:
        after, arms = _adjusted(controls, treatments)
    except Undefined as undefined:
        blank = {key: _undefined(before[key], plain[key], undefined.reason) for key in lifts}
        return {key: replace(one, adjusted=Adjusted(covariate, None, blank[key])) for key, one in lifts.items()}
    again = _compare("mean", after, arms, terms)
    return {
        key: replace(
            one, adjusted=Adjusted(covariate, _saved(before[key], plain[key], after[key], arms[key]), again[key])
        )
        for key, one in lifts.items()
    }


def _adjusted(
    controls: Mapping[str, Moments], treatments: Mapping[str, Moments]
) -> tuple[dict[str, Moments], dict[str, Moments]]:
    """Adjust all arms together; where each treatment has a control of its own, each pair."""
    first, *others = controls.values()
    if all(other is first for other in others):
        arms = adjusted({"": first, **treatments})
        return dict.fromkeys(treatments, arms[""]), {key: arms[key] for key in treatments}
    pairs = {key: adjusted({"": controls[key], key: treatments[key]}) for key in treatments}
    return {key: pair[""] for key, pair in pairs.items()}, {key: pair[key] for key, pair in pairs.items()}


@dataclass(frozen=True, slots=True)
class _Terms:
    """How a family is read."""

    confidence: float
    planned_units: float | None
    not_anytime: str | None
    looks: int | None
    comparisons: int

    @property
    def alpha(self) -> float:
        """Each comparison's part of the family's error."""
        return (1 - self.confidence) / self.comparisons


def _compare(
    kind: Kind, controls: Mapping[str, Moments], treatments: Mapping[str, Moments], terms: _Terms
) -> dict[str, Lift]:
    compared: dict[str, Comparison | Undefined] = {}
    for key, arm in treatments.items():
        try:
            compared[key] = _comparison(kind, controls[key], arm)
        except Undefined as undefined:
            compared[key] = undefined
    sound = [key for key, one in compared.items() if not isinstance(one, Undefined)]
    loadings = [multiplicity.loading(controls[key].variance or 0.0, treatments[key].variance or 0.0) for key in sound]
    together = multiplicity.dunnett_normal(terms.confidence, loadings) if sound else 0.0
    lifts = {}
    for key, one in compared.items():
        if isinstance(one, Undefined):
            lifts[key] = _undefined(controls[key], treatments[key], one.reason)
            continue
        own = _reading(one, multiplicity.own_multiple(one.degrees_of_freedom, terms.confidence), _own_p(one))
        simultaneous = _simultaneous(one, together, loadings)
        anytime = _anytime(one, controls[key], treatments[key], terms)
        look = _look(one, controls[key].n + treatments[key].n, terms)
        lifts[key] = replace(_lift(own, simultaneous, anytime), group_sequential=look)
    return lifts


def _comparison(kind: Kind, control: Moments, treatment: Moments) -> Comparison:
    if kind == "proportion":
        return Proportions(control, treatment)
    if control.ranked is not None and treatment.ranked is not None:
        return Quantiles(control.ranked, treatment.ranked)
    return Means(control, treatment)


def _saved(control: Moments, treatment: Moments, control_after: Moments, treatment_after: Moments) -> float | None:
    before = (control.variance or 0.0) + (treatment.variance or 0.0)
    after = (control_after.variance or 0.0) + (treatment_after.variance or 0.0)
    return 1 - after / before if before else None


def _lift(own: Reading, simultaneous: Reading, anytime: Reading) -> Lift:
    return Lift(own.absolute, own.relative, own.p_value, own.reason, simultaneous=simultaneous, anytime=anytime)


def _own_p(one: Comparison) -> float:
    return multiplicity.own_p(one.statistic, one.degrees_of_freedom)


def _simultaneous(one: Comparison, together: float, loadings: list[float]) -> Reading:
    normal = multiplicity.as_normal(one.statistic, one.degrees_of_freedom)
    p_value = multiplicity.dunnett_p(normal, _own_p(one), loadings)
    return _reading(one, multiplicity.from_normal(together, one.degrees_of_freedom), p_value)


def _anytime(one: Comparison, control: Moments, treatment: Moments, terms: _Terms) -> Reading:
    if terms.planned_units is None:
        return _blank(one, "no number of units was planned before the start")
    if terms.not_anytime:
        return _blank(one, terms.not_anytime)
    if min(control.n, treatment.n) < MIN_ANYTIME_UNITS:
        return _blank(one, f"fewer than {MIN_ANYTIME_UNITS} units in an arm")
    units = control.n + treatment.n
    scale = confidence_sequences.anytime_scale(terms.alpha, terms.planned_units)
    p_value = min(1.0, terms.comparisons * confidence_sequences.anytime_p(one.statistic, units, scale))
    return _reading(one, confidence_sequences.anytime_multiple(units, terms.alpha, scale), p_value)


def _look(one: Comparison, units: int, terms: _Terms) -> Look | None:
    """Read at the newest planned look that the units have reached; later ones spend more of the error."""
    if terms.looks is None or terms.planned_units is None:
        return None
    number = min(terms.looks, math.floor(units / terms.planned_units * terms.looks))
    if not number:
        return Look(0, terms.looks, None, _blank(one, "the first planned look has not been reached"))
    fractions = [look / terms.looks for look in range(1, number + 1)]
    bound = group_sequential_bounds(fractions, terms.alpha)[-1]
    normal = multiplicity.as_normal(one.statistic, one.degrees_of_freedom)
    p_value = min(1.0, terms.comparisons * repeated_p(normal, fractions))
    return Look(
        number, terms.looks, bound, _reading(one, multiplicity.from_normal(bound, one.degrees_of_freedom), p_value)
    )


def _reading(one: Comparison, multiple: float, p_value: float) -> Reading:
    try:
        return Reading(Interval(one.estimate, *one.absolute(multiple)), _relative(one, multiple), p_value)
    except Undefined as undefined:
        return _blank(one, undefined.reason)


def _relative(one: Comparison, multiple: float) -> Interval:
    try:
        estimate = one.relative_estimate()
    except Undefined as undefined:
        return Interval(None, None, None, undefined.reason)
    try:
        return Interval(estimate, *one.relative(multiple))
    except Undefined as undefined:
        return Interval(estimate, None, None, undefined.reason)


def _blank(one: Comparison, reason: str) -> Reading:
    return Reading(Interval(one.estimate, None, None, reason), _relative_blank(one, reason), None, reason)


def _relative_blank(one: Comparison, reason: str) -> Interval:
    try:
        return Interval(one.relative_estimate(), None, None, reason)
    except Undefined as undefined:
        return Interval(None, None, None, undefined.reason)


def _undefined(control: Moments, treatment: Moments, reason: str) -> Lift:
    """Keep the difference itself where there is one, with nothing about its uncertainty."""
    before, after = control.value, treatment.value
    difference = None if before is None or after is None else after - before
    share = None if difference is None or not before else difference / abs(before)
    blank = Reading(Interval(difference, None, None, reason), Interval(share, None, None, reason), None, reason)
    return _lift(blank, blank, blank)
