"""What a treatment brings over its control: three readings of the same comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from analysis import families
from analysis.comparison import Comparison, Means, Proportions, Undefined
from analysis.moments import Moments
from experiments.errors import AnalysisError

Kind = Literal["mean", "proportion", "ratio"]

MIN_ANYTIME_UNITS = 100


@dataclass(frozen=True, slots=True)
class Interval:
    """
    An estimate with its interval.

    Attributes:
        estimate, low, high: None where it cannot be had.
        reason: Why something is None.
    """

    estimate: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        shown: dict[str, Any] = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return shown if self.reason is None else shown | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One way to read a comparison; p and both intervals always agree.

    Attributes:
        absolute: Treatment - control, in the metric's unit.
        relative: (treatment - control) / |control|, a share.
        p_value: Two-sided, of no difference.
        reason: Why p_value is None.
    """

    absolute: Interval
    relative: Interval
    p_value: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        shown = {"absolute": self.absolute.to_dict(), "relative": self.relative.to_dict(), "p_value": self.p_value}
        return shown if self.reason is None else shown | {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift(Reading):
    """
    A comparison read in three ways; its own fields are the comparison's alone, at a fixed horizon.

    Attributes:
        simultaneous: All variants of the family at once (Dunnett); with one variant the same.
        anytime: Holds on every day it is read, all variants of the family together.
    """

    simultaneous: Reading
    anytime: Reading

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        own = Reading.to_dict(self)
        return own | {"simultaneous": self.simultaneous.to_dict(), "anytime": self.anytime.to_dict()}


def lift(control: Moments, treatment: Moments, confidence: float = 0.95, planned_units: float | None = None) -> Lift:
    """
    Compare one treatment with its control.

    Args:
        control, treatment: Moments over units, not orders; n >= 2 each.
        confidence: Coverage of the intervals, in (0, 1).
        planned_units: Units of both arms together that were planned before the start; without it nothing is always valid.

    Returns:
        The lift; what cannot be had is None with a reason.

    Raises:
        AnalysisError: The confidence is no share, planned_units not above 0, or the two arms are not of one kind.

    >>> a = Moments.from_sums(3407, 1396.87, 52377.9767)
    >>> b = Moments.from_sums(3461, 2422.7, 134698.29)
    >>> found = lift(a, b)
    >>> round(found.p_value, 5), round(found.relative.low, 5), round(found.relative.high, 5)
    (0.02016, 0.09406, 1.70869)
    """
    kind: Kind = "ratio" if control.is_ratio else "mean"
    return compare(kind, control, {"treatment": treatment}, confidence, planned_units)["treatment"]


def compare(
    kind: Kind,
    control: Moments,
    treatments: Mapping[str, Moments],
    confidence: float = 0.95,
    planned_units: float | None = None,
    not_anytime: str | None = None,
) -> dict[str, Lift]:
    """
    Compare several treatments with one control, as a family.

    Args:
        kind: `proportion` takes the score test of shares, the others Welch and Fieller.
        control, treatments: Moments over units.
        confidence: Coverage of the intervals, in (0, 1); of the whole family in `simultaneous` and `anytime`.
        planned_units: Units of control and one treatment together that were planned before the start.
        not_anytime: Why an always-valid reading cannot be had yet, where the caller knows.

    Raises:
        AnalysisError: The confidence is no share, or the arms are not of one kind.
    """
    if not 0 < confidence < 1:
        raise AnalysisError(f"confidence == {confidence}, must be in (0, 1)")
    if any(arm.is_ratio != control.is_ratio for arm in treatments.values()):
        raise AnalysisError("found a ratio compared with a mean; wanted arms of one kind")
    if planned_units is not None and not 0 < planned_units < math.inf:
        raise AnalysisError(f"planned_units == {planned_units}, must be above 0")
    compared: dict[str, Comparison | Undefined] = {}
    for key, arm in treatments.items():
        try:
            compared[key] = Proportions(control, arm) if kind == "proportion" else Means(control, arm)
        except Undefined as undefined:
            compared[key] = undefined
    sound = [key for key, one in compared.items() if not isinstance(one, Undefined)]
    loadings = [families.loading(control.variance or 0.0, treatments[key].variance or 0.0) for key in sound]
    together = families.dunnett_normal(confidence, loadings) if sound else 0.0
    lifts = {}
    for key, one in compared.items():
        if isinstance(one, Undefined):
            lifts[key] = _undefined(control, treatments[key], one.reason)
            continue
        own = _reading(one, families.own_multiple(one.degrees_of_freedom, confidence), _own_p(one))
        simultaneous = _simultaneous(one, together, loadings)
        unready = not_anytime or _unready(control, treatments[key], planned_units)
        if unready or planned_units is None:
            anytime = _blank(one, unready or "")
        else:
            anytime = _anytime(one, control.n + treatments[key].n, (1 - confidence) / len(treatments), planned_units)
            anytime = replace(anytime, p_value=min(1.0, len(treatments) * (anytime.p_value or 0.0)))
        lifts[key] = _lift(own, simultaneous, anytime)
    return lifts


def _lift(own: Reading, simultaneous: Reading, anytime: Reading) -> Lift:
    return Lift(own.absolute, own.relative, own.p_value, own.reason, simultaneous=simultaneous, anytime=anytime)


def _own_p(one: Comparison) -> float:
    return families.own_p(one.statistic, one.degrees_of_freedom)


def _simultaneous(one: Comparison, together: float, loadings: list[float]) -> Reading:
    normal = families.as_normal(one.statistic, one.degrees_of_freedom)
    p_value = families.dunnett_p(normal, _own_p(one), loadings)
    return _reading(one, families.from_normal(together, one.degrees_of_freedom), p_value)


def _anytime(one: Comparison, units: int, alpha: float, planned_units: float) -> Reading:
    scale = families.anytime_scale(alpha, planned_units)
    p_value = families.anytime_p(one.statistic, units, scale)
    return _reading(one, families.anytime_multiple(units, alpha, scale), p_value)


def _unready(control: Moments, treatment: Moments, planned_units: float | None) -> str | None:
    if planned_units is None:
        return "no number of units was planned before the start"
    if min(control.n, treatment.n) < MIN_ANYTIME_UNITS:
        return f"fewer than {MIN_ANYTIME_UNITS} units in an arm"
    return None


def _reading(one: Comparison, multiple: float, p_value: float) -> Reading:
    return Reading(Interval(one.estimate, *one.absolute(multiple)), _relative(one, multiple), p_value)


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
