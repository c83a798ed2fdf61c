"""The primary metric broken down: does the effect differ between segments, or with another experiment?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.metrics import Kind
from analysis.stats.boundaries.corrections import corrected
from analysis.stats.covariates import stratified
from analysis.stats.distributions import chi_square_tail, normal_quantile
from analysis.stats.lift import Lift, compare
from analysis.stats.moments import Moments

MAX_SEGMENTS = 12
MIN_UNITS = 2
OTHERS, UNKNOWN = "(others)", "(not given)"

Split = Mapping[str, Mapping[str, Moments]]  # by value of the attribute, then by variant


def split(cells: Mapping[tuple[str, str | None], Moments], variants: Sequence[str]) -> dict[str, dict[str, Moments]]:
    """Arrange cells by value, the largest first; the smallest of many values are put together."""
    found: dict[str, dict[str, Moments]] = {}
    for (key, value), moments in cells.items():
        found.setdefault(UNKNOWN if value is None else value, {})[key] = moments
    empty = Moments.zeros(0, len(next(iter(cells.values())).means)) if cells else Moments.zeros(0, 1)
    whole = {value: {key: arms.get(key, empty) for key in variants} for value, arms in found.items()}
    by_size = sorted(whole, key=lambda value: -sum(arm.n for arm in whole[value].values()))
    kept = {value: whole[value] for value in by_size[:MAX_SEGMENTS]}
    for value in by_size[MAX_SEGMENTS:]:
        held = kept.setdefault(OTHERS, dict.fromkeys(variants, empty))
        kept[OTHERS] = {key: held[key] + whole[value][key] for key in variants}
    return kept


def break_down(by: Split, kind: Kind, active: Sequence[str], confidence: float) -> dict[str, Any]:
    """
    Give every segment's lifts, whether they differ, and the lift with the segments' sizes evened out.

    Args:
        by: Moments of the metric, by segment and variant, the control first.
        kind: The metric's.
        active: The variants that are compared with the control.
        confidence: Coverage of each interval; p are corrected across segments and variants (Holm).
    """
    control = next(iter(next(iter(by.values()))))
    lifts = {
        value: compare(kind, arms[control], {key: arms[key] for key in active}, confidence)
        for value, arms in by.items()
    }
    together = iter(corrected([lift.p_value for one in lifts.values() for lift in one.values()], "holm"))
    values = {
        value: {
            "units": {key: arm.n for key, arm in by[value].items()},
            "value": {key: arm.value for key, arm in by[value].items()},
            "lifts": {key: _lift(lift, next(together)) for key, lift in one.items()},
        }
        for value, one in lifts.items()
    }
    return {
        "values": values,
        "interaction": {key: _interaction([(arms[control], arms[key]) for arms in by.values()]) for key in active},
        "post_stratified": _post_stratified(by, control, active, confidence),
    }


def _lift(lift: Lift, corrected_p: float | None) -> dict[str, Any]:
    shown = {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}
    shown["corrected_p_value"] = corrected_p
    return shown if lift.reason is None else shown | {"reason": lift.reason}


def _interaction(pairs: Sequence[tuple[Moments, Moments]]) -> dict[str, Any]:
    """Test whether the difference is the same in all segments: Cochran's Q (Cochran 1954, Biometrics 10, 101-129)."""
    told = [
        (after.value - before.value, after.variance + before.variance)
        for before, after in pairs
        if before.value is not None and after.value is not None and before.variance and after.variance
    ]
    if len(told) < 2:
        return {"p_value": None, "reason": "fewer than two segments have a standard error"}
    effects, weights = np.array([effect for effect, _ in told]), np.array([1 / variance for _, variance in told])
    statistic = weights @ (effects - weights @ effects / weights.sum()) ** 2
    return {"p_value": chi_square_tail(statistic, len(told) - 1)}


def _post_stratified(by: Split, control: str, active: Sequence[str], confidence: float) -> dict[str, Any]:
    told = {value: {key: arms[key] for key in (control, *active)} for value, arms in by.items()}
    usable = [arms for arms in told.values() if all(arm.n >= MIN_UNITS for arm in arms.values())]
    if len(usable) < 2:
        return {}
    arms = stratified(usable)
    whole = usable[0]
    for one in usable[1:]:
        whole = {key: whole[key] + one[key] for key in whole}
    lifts = compare("mean", arms[control], {key: arms[key] for key in active}, confidence)
    found = {}
    for key, lift in lifts.items():
        before = (whole[control].variance or 0.0) + (whole[key].variance or 0.0)
        after = (arms[control].variance or 0.0) + (arms[key].variance or 0.0)
        found[key] = _lift(lift, None) | {"variance_saved": 1 - after / before if before else None}
        del found[key]["corrected_p_value"]
    return found


def correct_interactions(segments: Mapping[str, dict[str, Any]]) -> None:
    """Hold the p of all interactions of a report together (Holm), in place."""
    told = [one for segment in segments.values() for one in segment.get("interaction", {}).values()]
    for one, p_value in zip(told, corrected([one["p_value"] for one in told], "holm"), strict=True):
        one["corrected_p_value"] = p_value


def interact(
    cells: Mapping[tuple[str, str], Moments], mine: Sequence[str], theirs: Sequence[str], confidence: float
) -> dict[str, Any]:
    """
    Ask whether two experiments change each other's effects.

    Args:
        cells: Moments by both experiments' variants.
        mine, theirs: Their variants, each control first.

    Returns:
        For every pair of treatments the difference of differences with its interval, and one p for all (Wald's chi-square).
    """
    units = sum(moments.n for moments in cells.values())
    if any((one, other) not in cells or cells[one, other].n < MIN_UNITS for one in mine for other in theirs):
        return {"units": units, "p_value": None, "effects": {}, "reason": "too few units met both experiments"}
    at = {pair: index for index, pair in enumerate(cells)}
    values = np.array([moments.means[0] for moments in cells.values()])
    variances = np.array([moments.variance or 0.0 for moments in cells.values()])
    rows = []
    for one in mine[1:]:
        for other in theirs[1:]:
            row = np.zeros(len(cells))
            for pair, sign in (
                ((one, other), 1),
                ((one, theirs[0]), -1),
                ((mine[0], other), -1),
                ((mine[0], theirs[0]), 1),
            ):
                row[at[pair]] += sign
            rows.append(row)
    contrasts = np.array(rows)
    differences, covariance = contrasts @ values, contrasts @ np.diag(variances) @ contrasts.T
    errors = np.sqrt(np.diag(covariance))
    if not errors.all():
        return {
            "units": units,
            "p_value": None,
            "effects": {},
            "reason": "no orders of units that met both experiments",
        }
    statistic = float(differences @ np.linalg.pinv(covariance) @ differences)
    z = normal_quantile((1 - confidence) / 2)
    told = iter(zip(differences, errors, strict=True))
    effects: dict[str, dict[str, Any]] = {one: {} for one in mine[1:]}
    for one in mine[1:]:
        for other in theirs[1:]:
            estimate, error = next(told)
            effects[one][other] = {
                "estimate": float(estimate), "low": float(estimate - z * error), "high": float(estimate + z * error)
            }  # fmt: skip
    return {"units": units, "p_value": chi_square_tail(statistic, len(rows)), "effects": effects}
