"""
Who was exposed to which variant of an experiment.

Nearly every unit has one exposure, which is taken as it stands. Only the few that are devices of one customer, or saw several
variants, are looked at one by one: devices are put together, and who saw several variants is in no arm.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import ibis
from ibis.expr.types import Table

from analysis.queries.engines.session import Reader, union_of
from analysis.queries.exposure_cache import MAX_REPEATS, Due, Kept, content_of, find, worth_keeping
from analysis.queries.exposure_counts import Tally, add, read, tallied
from analysis.queries.unit_facts import DAY_MS

_COLUMNS = ("unit_id", "variant", "epoch", "exposed_at_ms", "attributes", "bot")


class Exposures:
    """
    An experiment's exposures by a time.

    Args:
        reader: The store.
        key: The experiment.
        variants: Its arms.
        as_of_ms: Later exposures do not exist yet.
    """

    def __init__(self, reader: Reader, key: str, variants: Sequence[str], as_of_ms: int) -> None:
        self._reader = reader
        self._key = key
        self._variants = variants
        self._as_of_ms = as_of_ms

    @cached_property
    def kept(self) -> Kept | None:
        """What earlier reports keep of it."""
        return find(self._reader, self._key, self._variants)

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

    def begin_to_count(self) -> None:
        """Begin to count the exposures, which `logged_tally` waits for."""
        _ = self._fresh_rows

    @cached_property
    def logged_tally(self) -> Tally:
        """How many were logged; those of days that are over as they were kept."""
        fresh = read(self._fresh_rows(), self._variants)
        if self.kept is None:
            return fresh
        before = add(self.kept.tally, self.kept.late)
        return add({group: n for group, n in before.items() if group.day < self._kept_until_ms}, fresh)

    @cached_property
    def _fresh_rows(self) -> Callable[[], list[dict[str, Any]]]:
        return self._reader.begin(tallied(self._since(self._kept_until_ms, self._as_of_ms), self._variants))

    @property
    def _kept_until_ms(self) -> int:
        """Until when to take what was kept; 0 where nothing was."""
        return 0 if self.kept is None else min(self.kept.until_ms, self._as_of_ms // DAY_MS * DAY_MS)

    @cached_property
    def tally(self) -> Tally:
        """How many units saw one variant."""
        return self._with(self._settled) if self._irregular is not None else self.logged_tally

    def earlier(self, since: int) -> int:
        """Count the exposures of the epochs before one, whatever else their units saw."""
        tally = self._with(self._resolved) if self._irregular is not None else self.logged_tally
        return sum(n for group, n in tally.items() if group.epoch < since and not group.bot)

    def due(self) -> Due | None:
        """Give what is worth keeping of it, in a store that can keep it."""
        if "kept_tallies" not in self._reader.tables:  # a lake, or a store that waits for its next migration
            return None
        until_ms = worth_keeping(self.logged_tally, self.kept)
        if until_ms is None:
            return None
        rows = self._reader.rows(self._several.limit(MAX_REPEATS + 1))
        if len(rows) > MAX_REPEATS:
            return None
        repeats = [str(row["unit_id"]) for row in rows]
        return Due(self._key, self.kept, until_ms, content_of(self.logged_tally, until_ms, self._variants, repeats))

    def left_out(self, since: int) -> int:
        """Count the units exposed since an epoch that are in no arm, since they saw several variants, in whichever epochs."""
        if self._irregular is None:
            return 0
        several = self._resolved.filter(self._resolved.unit_id.isin(self._repeated.unit_id))
        several = several.filter(several.epoch >= since)
        return int(self._reader.rows(several.aggregate(n=several.unit_id.nunique()))[0]["n"])

    def _with(self, irregular: Table) -> Tally:
        """Count what was logged of the regular units, and these exposures of the irregular ones."""
        return add(add(self.logged_tally, self._count(self._theirs), -1), self._count(irregular))

    def _count(self, exposures: Table) -> Tally:
        return read(self._reader.rows(tallied(exposures, self._variants)), self._variants)

    def _since(self, start_ms: int, end_ms: int | None = None) -> Table:
        """Give all exposures from a time on, and not after another, for a query that reads them all."""
        table = self._reader.table("exposures")
        found = table.filter(self._reader.equals(table, "experiment", self._key))
        found = found.filter(table.exposed_at_ms >= start_ms) if start_ms else found
        return found if end_ms is None else found.filter(self._reader.likely(table.exposed_at_ms <= end_ms))

    @cached_property
    def _irregular(self) -> Table | None:
        """The visitors of whom more than one exposure may have to be put together; None where there are none."""
        table = self._several
        if self._reader.holds("aliases"):
            aliases = self._reader.table("aliases")
            linked = [aliases.select(unit_id=aliases.visitor_id), aliases.select("unit_id")]
            table = self._reader.temporary(union_of([table, *linked]).distinct())
        return table if self._reader.rows(table.limit(1)) else None

    @cached_property
    def _several(self) -> Table:
        """The visitors with several exposures; a lake has a list of them."""
        if "repeats" in self._reader.tables:
            listed = self._reader.table("repeats")
            return listed.filter(listed.experiment == self._key).select("unit_id")
        seen = self._reader.table("exposures")
        seen = seen.filter(seen.experiment == self._key)
        if self.kept is None or not self.kept.until_ms:
            return self._reader.temporary(_twice(seen))
        late = self._reader.table("late_exposures")
        late = late.filter(late.experiment == self._key)
        fresh = self._reader.temporary(self._since(self.kept.until_ms).select("unit_id", "variant"))
        others = seen.select(other_id=seen.unit_id, other_variant=seen.variant)
        both = fresh.cross_join(others)  # in this order, see facts.placed
        found = [
            _twice(seen.filter(seen.unit_id.isin(late.unit_id))),
            both.filter(both.unit_id == both.other_id, both.variant != both.other_variant).select("unit_id"),
        ]
        if self.kept.repeats:
            found.append(seen.filter(seen.unit_id.isin(list(self.kept.repeats))).select("unit_id"))
        return self._reader.temporary(union_of(found).distinct())

    @cached_property
    def _theirs(self) -> Table:
        """The irregular units' exposures, as they were logged."""
        assert self._irregular is not None  # noqa: S101  every caller has looked
        return self.logged.filter(self.logged.unit_id.isin(self._irregular.unit_id), self.logged.bot == 0)

    @cached_property
    def _resolved(self) -> Table:
        """The irregular units' exposures: devices of one customer are one unit, and its earliest exposure counts."""
        one = self._reader.as_units(self._theirs.select(*_COLUMNS))
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


def _twice(exposures: Table) -> Table:
    counted = exposures.group_by("unit_id").aggregate(n=exposures.count())
    return counted.filter(counted.n > 1).select("unit_id")
