"""How many exposures each arm had on each day of each epoch, in one pass over them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ibis
from ibis.expr.types import Table

from analysis.facts import DAY_MS


class Exposed(NamedTuple):
    """What exposures are counted by; `variant` is None where it is not declared, `day` the day's first millisecond."""

    variant: str | None
    epoch: int
    day: int
    bot: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """
    Numbers of exposures.

    Attributes:
        counts: By what they are counted by.
        attributed: How many carry attributes.
    """

    counts: Mapping[Exposed, int]
    attributed: int

    def __add__(self, other: "Tally") -> "Tally":
        """Put other exposures to these."""
        counts = Counter(self.counts)
        counts.update(other.counts)
        return Tally(counts, self.attributed + other.attributed)

    def __sub__(self, other: "Tally") -> "Tally":
        """Take some of these exposures away."""
        counts = Counter(self.counts)
        counts.subtract(other.counts)
        return Tally(counts, self.attributed - other.attributed)


def tallied(exposures: Table, variants: Sequence[str]) -> Table:
    """
    Count exposures as `read` can read them.

    What they are counted by is one whole number, since engines that group by sorting take half the time for one short column:
    the first millisecond of the day, and as milliseconds of the day the epoch, bot or not, and which arm.
    """
    arm = ibis.cases(*((exposures.variant == key, index) for index, key in enumerate(variants, 1)), else_=0)
    at, bot = exposures.exposed_at_ms, (exposures.bot != 0).ifelse(1, 0)
    place = at - at % DAY_MS + (exposures.epoch * 2 + bot) * (len(variants) + 1) + arm
    told = exposures.select(place=place, told=(exposures.attributes != "{}").ifelse(1, 0))
    return told.group_by("place").aggregate(n=told.count(), told=told.told.sum())


def read(rows: Iterable[Mapping[str, Any]], variants: Sequence[str]) -> Tally:
    """Read the rows of `tallied`."""
    counts: dict[Exposed, int] = {}
    attributed = 0
    for row in rows:
        day, rest = divmod(int(row["place"]), DAY_MS)
        rest, arm = divmod(rest, len(variants) + 1)
        epoch, bot = divmod(rest, 2)
        counts[Exposed(variants[arm - 1] if arm else None, epoch, day * DAY_MS, bool(bot))] = int(row["n"])
        attributed += int(row["told"])
    return Tally(counts, attributed)
