"""The primary metric over time: as it was known on each day, and by the days since the exposure of each unit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.reports.details import CumulativePoint, DayPoint
from analysis.stats.comparisons import Kind
from analysis.stats.covariates import paired
from analysis.stats.lift import MIN_ANYTIME_BUYERS, TOO_FEW_BUYERS, compare
from analysis.stats.moments import Moments
from events.clock import DAY_MS

if TYPE_CHECKING:
    from analysis.queries.breakdowns import DaySums

MAX_POINTS = 90
MIN_ORDERS = 10  # of each variant on a day since the exposure, before its logarithm means anything


@dataclass(frozen=True, slots=True)
class Family:
    """How the lifts over time are compared: as those of the report."""

    kind: Kind
    control: str
    active: Sequence[str]
    confidence: float
    planned_units: float

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that take part, the control first."""
        return (self.control, *self.active)


@dataclass(frozen=True, slots=True)
class Day:
    """
    The sums of the units exposed on one day, under one set of weights.

    Attributes:
        day_ms: Its first millisecond.
        stratum: The set of weights; variants of several are compared within each.
        moments, buyers: By variant.
    """

    day_ms: int
    stratum: int
    moments: Mapping[str, Moments]
    buyers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LogPoint:
    """The logarithm of variant over control on one day after the exposure, and its variance."""

    day: int
    value: float
    variance: float


def cumulative(days: Sequence[Day], family: Family) -> list[CumulativePoint]:
    """
    Compute the lift over all units exposed up to each day, with the interval that holds on all days.

    Args:
        days: In order.
        family: How to compare.

    Orders are in their newest state: an order of a unit that was exposed on a day counts from that day on.
    """
    dates = sorted({day.day_ms for day in days}, reverse=True)
    drawn = set(dates[:: max(1, math.ceil(len(dates) / MAX_POINTS))])
    strata: dict[int, dict[str, Moments]] = {}
    buyers: dict[str, int] = {}
    points = []
    for index, day in enumerate(days):
        before = strata.get(day.stratum)
        moments = day.moments
        strata[day.stratum] = dict(moments) if before is None else {key: before[key] + moments[key] for key in moments}
        buyers = {key: buyers.get(key, 0) + count for key, count in day.buyers.items()}
        is_last_of_day = index + 1 == len(days) or days[index + 1].day_ms != day.day_ms
        if is_last_of_day and day.day_ms in drawn:
            few = min(buyers[key] for key in family.variants) < MIN_ANYTIME_BUYERS
            points.append(_point(day.day_ms, list(strata.values()), family, TOO_FEW_BUYERS if few else None))
    return points


def _point(day_ms: int, strata: list[dict[str, Moments]], family: Family, not_anytime: str | None) -> CumulativePoint:
    controls, treatments = paired(strata, family.control, family.active)
    kind: Kind = family.kind if len(strata) == 1 else "mean"
    lifts = compare(kind, controls, treatments, family.confidence, family.planned_units, not_anytime)
    units = sum(arm.n for stratum in strata for arm in stratum.values())
    date = time.strftime("%Y-%m-%d", time.gmtime(day_ms / 1000))
    return CumulativePoint(date, units, {key: lift.anytime for key, lift in lifts.items()})


@dataclass(frozen=True, slots=True)
class SinceExposure:
    """
    The lift on each day after the exposure.

    Attributes:
        points: As the report shows them.
        logs: By variant, for the novelty check.
    """

    points: Sequence[DayPoint]
    logs: Mapping[str, Sequence[LogPoint]]


def since_exposure(
    sums: Sequence[DaySums],
    units: Mapping[str, Mapping[int, int]],
    as_of_ms: int,
    window_days: int,
    family: Family,
) -> SinceExposure:
    """
    Compare the variants on each day since the exposure, among the units that have been followed that long.

    Args:
        sums: By variant, day of the exposure and days since.
        units: Units by variant, then by day of the exposure.
        as_of_ms: When the report is read.
        window_days: How far the curve goes.
        family: How to compare; always as a mean per unit.
    """
    points: list[DayPoint] = []
    logs: dict[str, list[LogPoint]] = {key: [] for key in family.active}
    for offset in range(window_days):
        followed = {day for days in units.values() for day in days if day + (offset + 2) * DAY_MS <= as_of_ms}
        today = [part for part in sums if part.offset == offset and part.exposed_on in followed]
        arms, buyers = {}, {}
        for key in family.variants:
            own = [part for part in today if part.variant == key]
            arms[key] = _day_moments(own, sum(n for day, n in units.get(key, {}).items() if day in followed))
            buyers[key] = sum(part.units for part in own)
        if min(arm.n for arm in arms.values()) < 2:
            break
        lifts = compare("mean", arms[family.control], {key: arms[key] for key in family.active}, family.confidence)
        points.append(DayPoint(offset, sum(arm.n for arm in arms.values()), lifts))
        for key in family.active:
            if min(buyers[family.control], buyers[key]) >= MIN_ORDERS:
                logs[key] += _log_point(offset, arms[family.control], arms[key])
    return SinceExposure(points, logs)


def _day_moments(parts: Sequence[DaySums], units: int) -> Moments:
    """Return the moments over all units of what some of them had on one day; the others had nothing."""
    sums = np.array([sum(part.total for part in parts)])
    squares = np.array([[sum(part.squares for part in parts)]])
    return Moments.from_centred_sums(units, sums, squares, [0.0])


def _log_point(day: int, control: Moments, treatment: Moments) -> list[LogPoint]:
    """Return the logarithm of treatment over control, or nothing where there is none."""
    before, after = control.value or 0.0, treatment.value or 0.0
    if before <= 0 or after <= 0 or not control.variance or not treatment.variance:
        return []
    variance = control.variance / before**2 + treatment.variance / after**2
    return [LogPoint(day, math.log(after / before), variance)]
