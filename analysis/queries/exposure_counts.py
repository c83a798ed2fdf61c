"""How many exposures each arm had on each day of each epoch, in one pass over them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ibis
from ibis.expr.types import Table

from analysis.queries.unit_facts import DAY_MS

_WITHIN_A_DAY = 2**32


class Group(NamedTuple):
    """
    What exposures are counted by.

    Attributes:
        variant: None where it is not declared.
        epoch: Of the declaration.
        day: Its first millisecond.
        bot: Whether they are marked as a bot's.
        told: Whether they carry attributes.
    """

    variant: str | None
    epoch: int
    day: int
    bot: bool
    told: bool


Tally = Mapping[Group, int]


def tallied(exposures: Table, variants: Sequence[str]) -> Table:
    """
    Count exposures as `read` can read them.

    What they are counted by is one whole number: engines that group by sorting take half the time for it.
    """
    arm = ibis.cases(*((exposures.variant == key, index) for index, key in enumerate(variants, 1)), else_=0)
    bot, told = (exposures.bot != 0).ifelse(1, 0), (exposures.attributes != "{}").ifelse(1, 0)
    within = ((exposures.epoch * 2 + bot) * 2 + told) * (len(variants) + 1) + arm
    groups = exposures.select(number=exposures.exposed_at_ms // DAY_MS * _WITHIN_A_DAY + within)
    return groups.group_by("number").aggregate(n=groups.count())


def read(rows: Iterable[Mapping[str, Any]], variants: Sequence[str]) -> Tally:
    """Read the rows of `tallied`."""
    counts = {}
    for row in rows:
        day, within = divmod(int(row["number"]), _WITHIN_A_DAY)
        within, arm = divmod(within, len(variants) + 1)
        within, told = divmod(within, 2)
        epoch, bot = divmod(within, 2)
        counts[Group(variants[arm - 1] if arm else None, epoch, day * DAY_MS, bool(bot), bool(told))] = int(row["n"])
    return counts


def add(one: Tally, other: Tally, sign: int = 1) -> Tally:
    """Put exposures to others, or take them away."""
    counts = Counter(one)
    counts.update({group: sign * n for group, n in other.items()})
    return {group: n for group, n in counts.items() if n}


def units_by_day(tally: Tally, since: int) -> tuple[dict[tuple[Any, ...], int], int]:
    """Give the people by variant, epoch and day, from an epoch on, and how many name a variant that is not declared."""
    found: dict[tuple[Any, ...], int] = {}
    strays = 0
    for group, n in tally.items():
        if group.bot or group.epoch < since:
            continue
        if group.variant is None:
            strays += n
        else:
            place = (group.variant, group.epoch, group.day)
            found[place] = found.get(place, 0) + n
    return found, strays


def bots(tally: Tally, since: int) -> dict[str, int]:
    """Give the exposures that are marked as bots', by variant, from an epoch on."""
    found: dict[str, int] = {}
    for group, n in tally.items():
        if group.bot and group.epoch >= since and group.variant is not None:
            found[group.variant] = found.get(group.variant, 0) + n
    return found
