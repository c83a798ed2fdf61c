"""The primary metric over time: as it was known on each day, and by the days since each unit's exposure."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.queries.breakdowns import Since, daily
from analysis.queries.unit_facts import DAY_MS
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.readings import Lift
from analysis.stats.covariates import paired
from analysis.stats.lift import MIN_ANYTIME_BUYERS, TOO_FEW_BUYERS, compare
from analysis.stats.moments import Moments

MAX_POINTS = 90
MIN_ORDERS = 10  # of each arm on a day since the exposure, before its logarithm means anything


@dataclass(frozen=True, slots=True)
class Family:
    """How lifts over time are read: as the report's own."""

    kind: Kind
    control: str
    active: Sequence[str]
    confidence: float
    planned_units: float


@dataclass(frozen=True, slots=True)
class Day:
    """
    What the units exposed on one day, under one set of weights, add up to.

    Attributes:
        day: In ms.
        stratum: The set of weights; arms of several are compared within each.
        moments, buyers: By variant.
    """

    day: int
    stratum: int
    moments: Mapping[str, Moments]
    buyers: Mapping[str, int]


def cumulative(days: Sequence[Day], family: Family) -> list[dict[str, Any]]:
    """
    Give the lift over all units exposed up to each day, with the interval that holds on all days.

    Args:
        days: In order.
        family: How to read them.

    Orders are in their newest state: an order of a unit that was exposed on a day counts from that day on.
    """
    kept = sorted({one.day for one in days}, reverse=True)
    step = max(1, math.ceil(len(kept) / MAX_POINTS))
    shown = set(kept[::step])
    strata: dict[int, dict[str, Moments]] = {}
    buyers: dict[str, int] = {}
    points = []
    for index, one in enumerate(days):
        known = strata.get(one.stratum)
        arms = one.moments
        strata[one.stratum] = dict(arms) if known is None else {key: known[key] + arms[key] for key in arms}
        buyers = {key: buyers.get(key, 0) + count for key, count in one.buyers.items()}
        last_of_day = index + 1 == len(days) or days[index + 1].day != one.day
        if last_of_day and one.day in shown:
            few = min(buyers[key] for key in (family.control, *family.active)) < MIN_ANYTIME_BUYERS
            points.append(_point(one.day, list(strata.values()), family, TOO_FEW_BUYERS if few else None))
    return points


def _point(day: int, strata: list[dict[str, Moments]], family: Family, not_anytime: str | None) -> dict[str, Any]:
    controls, treatments = paired(strata, family.control, family.active)
    kind: Kind = family.kind if len(strata) == 1 else "mean"
    lifts = compare(kind, controls, treatments, family.confidence, family.planned_units, not_anytime)
    return {
        "day": _date(day),
        "units": sum(arm.n for one in strata for arm in one.values()),
        "lifts": {
            key: {"absolute": lift.anytime.absolute.to_dict(), "relative": lift.anytime.relative.to_dict()}
            for key, lift in lifts.items()
        },
    }


@dataclass(frozen=True, slots=True)
class SinceExposure:
    """
    The lift on each day after the exposure.

    Attributes:
        points: As the report shows them.
        logs: By variant: days since, logarithm of variant over control, its variance; for the novelty check.
    """

    points: list[dict[str, Any]]
    logs: dict[str, list[tuple[int, float, float]]]


def since_exposure(
    parts: Sequence[Since], units: Mapping[tuple[str, int], int], as_of_ms: int, window_days: int, family: Family
) -> SinceExposure:
    """
    Compare the arms on each day since the exposure, among the units that have been followed that long.

    Args:
        parts: Sums by variant, day of the exposure and days since.
        units: Units by variant and day of the exposure.
        as_of_ms: When the report is read.
        window_days: How far the curve goes.
        family: How to read it; always as a mean per unit.
    """
    found = SinceExposure([], {key: [] for key in family.active})
    for offset in range(window_days):
        followed = {day for _key, day in units if day + (offset + 2) * DAY_MS <= as_of_ms}
        here = [part for part in parts if part.offset == offset and part.day in followed]
        arms = {}
        active: dict[str, int] = {}
        for key in (family.control, *family.active):
            n = sum(count for (variant, day), count in units.items() if variant == key and day in followed)
            own = [part for part in here if part.variant == key]
            arms[key] = daily(own, n)
            active[key] = sum(part.n for part in own)
        if min(arm.n for arm in arms.values()) < 2:
            break
        lifts = compare("mean", arms[family.control], {key: arms[key] for key in family.active}, family.confidence)
        found.points.append(
            {
                "day": offset,
                "units": sum(arm.n for arm in arms.values()),
                "lifts": {k: _own(v) for k, v in lifts.items()},
            }
        )
        for key in family.active:
            if min(active[family.control], active[key]) >= MIN_ORDERS:
                point = _logarithm(arms[family.control], arms[key])
                if point is not None:
                    found.logs[key].append((offset, *point))
    return found


def _logarithm(control: Moments, treatment: Moments) -> tuple[float, float] | None:
    before, after = control.value or 0.0, treatment.value or 0.0
    if before <= 0 or after <= 0 or not control.variance or not treatment.variance:
        return None
    return math.log(after / before), control.variance / before**2 + treatment.variance / after**2


def _own(lift: Lift) -> dict[str, Any]:
    return {"absolute": lift.absolute.to_dict(), "relative": lift.relative.to_dict(), "p_value": lift.p_value}


def _date(day_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day_ms / 1000))
