"""How many exposures each variant had on each day of each epoch, counted in one pass over them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
from ibis.expr.types import Table

from analysis.queries.aggregates import Place
from events.clock import DAY_MS

_WITHIN_A_DAY = 2**32


@dataclass(frozen=True, slots=True)
class ExposureGroup:
    """
    What exposures are counted by.

    Attributes:
        variant: None where it is not declared.
        epoch: Of the declaration.
        day: Its first millisecond.
        is_bot: Whether they are marked as those of a bot.
        has_attributes: Whether they carry attributes.
    """

    variant: str | None
    epoch: int
    day: int
    is_bot: bool
    has_attributes: bool


ExposureCounts = Mapping[ExposureGroup, int]


def count_exposures(exposures: Table, variants: Sequence[str]) -> Table:
    """
    Count exposures as `read_counts` can read them.

    What they are counted by is one whole number: engines that group by sorting take half the time for it.
    """
    variant = ibis.cases(*((exposures.variant == key, index) for index, key in enumerate(variants, 1)), else_=0)
    is_bot, has_attributes = (exposures.bot != 0).ifelse(1, 0), (exposures.attributes != "{}").ifelse(1, 0)
    within = ((exposures.epoch * 2 + is_bot) * 2 + has_attributes) * (len(variants) + 1) + variant
    groups = exposures.select(number=exposures.exposed_at_ms // DAY_MS * _WITHIN_A_DAY + within)
    return groups.group_by("number").aggregate(n=groups.count())


def read_counts(rows: Iterable[Mapping[str, Any]], variants: Sequence[str]) -> ExposureCounts:
    """Read the rows of `count_exposures`."""
    counts = {}
    for row in rows:
        day, within = divmod(int(row["number"]), _WITHIN_A_DAY)
        within, variant = divmod(within, len(variants) + 1)
        within, has_attributes = divmod(within, 2)
        epoch, is_bot = divmod(within, 2)
        key = variants[variant - 1] if variant else None
        counts[ExposureGroup(key, epoch, day * DAY_MS, bool(is_bot), bool(has_attributes))] = int(row["n"])
    return counts


def add_counts(counts: ExposureCounts, others: ExposureCounts, sign: int = 1) -> ExposureCounts:
    """Add exposures to others, or take them away."""
    total = Counter(counts)
    total.update({group: sign * n for group, n in others.items()})
    return {group: n for group, n in total.items() if n}


def units_by_place(counts: ExposureCounts, since: int) -> dict[Place, int]:
    """Count people by variant, epoch and day, from an epoch on."""
    units: dict[Place, int] = {}
    for group, n in counts.items():
        if not group.is_bot and group.epoch >= since and group.variant is not None:
            place = Place(group.variant, group.epoch, group.day)
            units[place] = units.get(place, 0) + n
    return units


def undeclared(counts: ExposureCounts, since: int) -> int:
    """Count the people, from an epoch on, whose variant is not declared."""
    return sum(n for group, n in counts.items() if group.variant is None and not group.is_bot and group.epoch >= since)


def bots_by_variant(counts: ExposureCounts, since: int) -> dict[str, int]:
    """Count the exposures that are marked as those of bots, by variant, from an epoch on."""
    bots: dict[str, int] = {}
    for group, n in counts.items():
        if group.is_bot and group.epoch >= since and group.variant is not None:
            bots[group.variant] = bots.get(group.variant, 0) + n
    return bots
