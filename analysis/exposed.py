"""
Who was exposed to which variant of an experiment.

Nearly every unit has one exposure, which is taken as it stands. Only the few that are devices of one customer, or saw several
variants, are looked at one by one: devices are put together, and who saw several variants is in no arm.
"""

from collections.abc import Sequence
from functools import cached_property

import ibis
from ibis.expr.types import Table

from analysis.cells import Place
from analysis.reader import Reader, union_of
from analysis.tallies import Tally, read, tallied

_COLUMNS = ("unit_id", "variant", "epoch", "exposed_at_ms", "attributes", "bot")


class Exposures:
    """
    An experiment's exposures by a time.

    Args:
        reader: The store.
        key: The experiment.
        as_of_ms: Later exposures do not exist yet.
    """

    def __init__(self, reader: Reader, key: str, as_of_ms: int) -> None:
        self._reader = reader
        self._key = key
        self._as_of_ms = as_of_ms
        self._tallies: dict[tuple[str, ...], Tally] = {}

    @cached_property
    def logged(self) -> Table:
        """All exposures as they were logged, those of bots too."""
        table = self._reader.table("exposures")
        return table.filter(table.experiment == self._key, table.exposed_at_ms <= self._as_of_ms)

    def parts(self, since: int) -> list[Table]:
        """Give the exposures of units that saw one variant, from an epoch on: the regular units', and the others', if any."""
        people = self.logged.filter(self.logged.bot == 0).select(*_COLUMNS)
        found = [people]
        if self._irregular is not None:
            found = [people.filter(people.unit_id.notin(self._irregular.unit_id)), self._settled]
        return [one.filter(one.epoch >= since) if since > 1 else one for one in found]

    def units(self, since: int) -> Table:
        """Give the exposures of units that saw one variant, from an epoch on."""
        return union_of(self.parts(since))

    def logged_tally(self, variants: Sequence[str]) -> Tally:
        """Count what was logged."""
        asked = tuple(variants)
        if asked not in self._tallies:
            self._tallies[asked] = self._count(self.logged, asked)
        return self._tallies[asked]

    def tally(self, variants: Sequence[str]) -> Tally:
        """Count the units that saw one variant."""
        return self._with(variants, self._settled) if self._irregular is not None else self.logged_tally(variants)

    def earlier(self, variants: Sequence[str], since: int) -> int:
        """Count the exposures of the epochs before one, whatever else their units saw."""
        tally = self._with(variants, self._resolved) if self._irregular is not None else self.logged_tally(variants)
        return sum(n for at, n in tally.counts.items() if at.epoch < since and not at.bot)

    def left_out(self, since: int) -> int:
        """Count the units exposed since an epoch that are in no arm, since they saw several variants, in whichever epochs."""
        if self._irregular is None:
            return 0
        several = self._resolved.filter(self._resolved.unit_id.isin(self._repeated.unit_id))
        several = several.filter(several.epoch >= since)
        return int(self._reader.rows(several.aggregate(n=several.unit_id.nunique()))[0]["n"])

    def _with(self, variants: Sequence[str], irregular: Table) -> Tally:
        """Count what was logged of the regular units, and these exposures of the irregular ones."""
        assert self._irregular is not None  # noqa: S101  both callers have looked
        theirs = self.logged.filter(self.logged.unit_id.isin(self._irregular.unit_id), self.logged.bot == 0)
        asked = tuple(variants)
        return self.logged_tally(asked) - self._count(theirs, asked) + self._count(irregular, asked)

    def _count(self, exposures: Table, variants: tuple[str, ...]) -> Tally:
        return read(self._reader.rows(tallied(exposures, variants)), variants)

    @cached_property
    def _irregular(self) -> Table | None:
        """The visitors of whom more than one exposure may have to be put together; None where there are none."""
        seen = self._reader.table("exposures")
        seen = seen.filter(seen.experiment == self._key)
        counted = seen.group_by("unit_id").aggregate(n=seen.count())
        found = [counted.filter(counted.n > 1).select("unit_id")]
        if self._reader.holds("aliases"):
            aliases = self._reader.table("aliases")
            found += [aliases.select(unit_id=aliases.visitor_id), aliases.select("unit_id")]
        table = self._reader.temporary(union_of(found).distinct())
        return table if self._reader.rows(table.limit(1)) else None

    @cached_property
    def _resolved(self) -> Table:
        """The irregular units' exposures: devices of one customer are one unit, and its earliest exposure counts."""
        assert self._irregular is not None  # noqa: S101  every caller has looked
        theirs = self.logged.filter(self.logged.unit_id.isin(self._irregular.unit_id), self.logged.bot == 0)
        one = self._reader.as_units(theirs.select(*_COLUMNS))
        # The row itself: what SQLite gives beside several minima may be of any row.
        first = ibis.window(
            group_by=[one.unit_id, one.variant], order_by=[one.exposed_at_ms, one.epoch, one.attributes]
        )
        ranked = one.mutate(rank=ibis.row_number().over(first))
        return self._reader.temporary(ranked.filter(ranked["rank"] == 0).select(*_COLUMNS))

    @cached_property
    def _repeated(self) -> Table:
        """The units that saw more than one variant."""
        grouped = self._resolved.group_by("unit_id").aggregate(variants=self._resolved.count())
        return grouped.filter(grouped.variants > 1).select("unit_id")

    @cached_property
    def _settled(self) -> Table:
        """The irregular units' exposures, of those who saw one variant."""
        return self._resolved.filter(self._resolved.unit_id.notin(self._repeated.unit_id))


def units_by_day(tally: Tally, since: int) -> tuple[dict[Place, int], int]:
    """Give the units by variant, epoch and day, from an epoch on, and how many name a variant that is not declared."""
    people = {at: n for at, n in tally.counts.items() if n and not at.bot and at.epoch >= since}
    named: dict[Place, int] = {(at.variant, at.epoch, at.day): n for at, n in people.items() if at.variant is not None}
    return named, sum(people.values()) - sum(named.values())


def bots(tally: Tally, since: int) -> dict[str, int]:
    """Give the exposures that are marked as bots, by variant, from an epoch on."""
    found: dict[str, int] = {}
    for at, n in tally.counts.items():
        if n and at.bot and at.epoch >= since and at.variant is not None:
            found[at.variant] = found.get(at.variant, 0) + n
    return found
