"""
Who was exposed to which variant of an experiment.

Nearly every unit has one exposure, which counts as it stands. Only the few that are devices of one customer, or saw several
variants, are resolved one by one: devices are joined into one unit, and a unit that saw several variants counts in none.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import ibis
from ibis.expr.types import Table

from analysis.queries.engines.session import Session, union_of
from analysis.queries.exposure_cache import (
    MAX_REPEATED,
    CachedCounts,
    CacheUpdate,
    content_of,
    read_cache,
    worth_storing_until,
)
from analysis.queries.exposure_counts import ExposureCounts, add_counts, count_exposures, read_counts
from events.clock import DAY_MS

_COLUMNS = ("unit_id", "variant", "epoch", "exposed_at_ms", "attributes", "bot")


class Exposures:
    """
    The exposures of an experiment up to a time.

    Args:
        session: The store.
        key: The experiment.
        variants: Its variants.
        as_of_ms: Later exposures are not read.
    """

    def __init__(self, session: Session, key: str, variants: Sequence[str], as_of_ms: int) -> None:
        self._session = session
        self._key = key
        self._variants = variants
        self._as_of_ms = as_of_ms

    @cached_property
    def cached(self) -> CachedCounts | None:
        """The counts that earlier reports stored."""
        return read_cache(self._session, self._key, self._variants)

    @cached_property
    def logged(self) -> Table:
        """All exposures as they were logged, those of bots included."""
        table = self._session.table("exposures")
        return table.filter(table.experiment == self._key, table.exposed_at_ms <= self._as_of_ms)

    def parts(self, since: int) -> list[Table]:
        """Return the exposures of units that saw one variant, from an epoch on: of regular units, and of others if any."""
        people = self.logged.filter(self.logged.bot == 0).select(*_COLUMNS)
        parts = [people]
        if self._irregular is not None:
            parts = [people.filter(people.unit_id.notin(self._irregular.unit_id)), self._settled]
        return [part.filter(part.epoch >= since) if since > 1 else part for part in parts]

    def units(self, since: int) -> Table:
        """Return the exposures of units that saw one variant, from an epoch on."""
        return union_of(self.parts(since))

    def begin_to_count(self) -> None:
        """Begin to count the exposures; `logged_counts` waits for the result."""
        _ = self._fresh_rows

    @cached_property
    def logged_counts(self) -> ExposureCounts:
        """How many were logged; those of past days as they were stored."""
        fresh = read_counts(self._fresh_rows(), self._variants)
        if self.cached is None:
            return fresh
        before = add_counts(self.cached.counts, self.cached.late)
        return add_counts({group: n for group, n in before.items() if group.day < self._cached_until_ms}, fresh)

    @cached_property
    def _fresh_rows(self) -> Callable[[], list[dict[str, Any]]]:
        return self._session.begin(count_exposures(self._since(self._cached_until_ms, self._as_of_ms), self._variants))

    @property
    def _cached_until_ms(self) -> int:
        """Until when the stored counts are used; 0 where there are none."""
        return 0 if self.cached is None else min(self.cached.until_ms, self._as_of_ms // DAY_MS * DAY_MS)

    @cached_property
    def counts(self) -> ExposureCounts:
        """How many units saw one variant."""
        return self._with(self._settled) if self._irregular is not None else self.logged_counts

    def earlier(self, since: int) -> int:
        """Count the exposures of the epochs before one, whatever else their units saw."""
        counts = self._with(self._resolved) if self._irregular is not None else self.logged_counts
        return sum(n for group, n in counts.items() if group.epoch < since and not group.is_bot)

    def cache_update(self) -> CacheUpdate | None:
        """Return what is worth storing, for a store that can keep it."""
        if "kept_tallies" not in self._session.tables:  # a lake, or a store that waits for its next migration
            return None
        until_ms = worth_storing_until(self.logged_counts, self.cached)
        if until_ms is None:
            return None
        rows = self._session.rows(self._with_several.limit(MAX_REPEATED + 1))
        if len(rows) > MAX_REPEATED:
            return None
        repeats = [str(row["unit_id"]) for row in rows]
        return CacheUpdate(
            self._key, self.cached, until_ms, content_of(self.logged_counts, until_ms, self._variants, repeats)
        )

    def units_of_several_variants(self, since: int) -> int:
        """Count the units exposed since an epoch that count in no variant, since they saw several, in whichever epochs."""
        if self._irregular is None:
            return 0
        several = self._resolved.filter(self._resolved.unit_id.isin(self._repeated.unit_id))
        several = several.filter(several.epoch >= since)
        return int(self._session.rows(several.aggregate(n=several.unit_id.nunique()))[0]["n"])

    def _with(self, irregular: Table) -> ExposureCounts:
        """Count what was logged of regular units, and these exposures of irregular ones."""
        return add_counts(
            add_counts(self.logged_counts, self._count(self._irregular_logged), -1), self._count(irregular)
        )

    def _count(self, exposures: Table) -> ExposureCounts:
        return read_counts(self._session.rows(count_exposures(exposures, self._variants)), self._variants)

    def _since(self, start_ms: int, end_ms: int | None = None) -> Table:
        """Return all exposures from a time on, up to another, for a query that reads them all."""
        table = self._session.table("exposures")
        rows = table.filter(self._session.equals(table, "experiment", self._key))
        rows = rows.filter(table.exposed_at_ms >= start_ms) if start_ms else rows
        return rows if end_ms is None else rows.filter(self._session.likely(table.exposed_at_ms <= end_ms))

    @cached_property
    def _irregular(self) -> Table | None:
        """The visitors who may have several exposures to resolve; None where there are none."""
        table = self._with_several
        if self._session.has_rows("aliases"):
            aliases = self._session.table("aliases")
            linked = [aliases.select(unit_id=aliases.visitor_id), aliases.select("unit_id")]
            table = self._session.temporary(union_of([table, *linked]).distinct())
        return table if self._session.rows(table.limit(1)) else None

    @cached_property
    def _with_several(self) -> Table:
        """The visitors with several exposures; a lake has a list of them."""
        if "repeats" in self._session.tables:
            listed = self._session.table("repeats")
            return listed.filter(listed.experiment == self._key).select("unit_id")
        seen = self._session.table("exposures")
        seen = seen.filter(seen.experiment == self._key)
        if self.cached is None or not self.cached.until_ms:
            return self._session.temporary(_twice(seen))
        late = self._session.table("late_exposures")
        late = late.filter(late.experiment == self._key)
        fresh = self._session.temporary(self._since(self.cached.until_ms).select("unit_id", "variant"))
        others = seen.select(other_id=seen.unit_id, other_variant=seen.variant)
        both = fresh.cross_join(others)  # in this order, see unit_facts.join_exposures
        parts = [
            _twice(seen.filter(seen.unit_id.isin(late.unit_id))),
            both.filter(both.unit_id == both.other_id, both.variant != both.other_variant).select("unit_id"),
        ]
        if self.cached.repeated:
            parts.append(seen.filter(seen.unit_id.isin(list(self.cached.repeated))).select("unit_id"))
        return self._session.temporary(union_of(parts).distinct())

    @cached_property
    def _irregular_logged(self) -> Table:
        """The exposures of irregular units, as they were logged."""
        assert self._irregular is not None  # noqa: S101  every caller has checked
        return self.logged.filter(self.logged.unit_id.isin(self._irregular.unit_id), self.logged.bot == 0)

    @cached_property
    def _resolved(self) -> Table:
        """The exposures of irregular units: devices of one customer are one unit, and its earliest exposure counts."""
        units = self._session.as_units(self._irregular_logged.select(*_COLUMNS))
        # The row itself: what SQLite returns beside several minima may be of any row.
        first = ibis.window(
            group_by=[units.unit_id, units.variant], order_by=[units.exposed_at_ms, units.epoch, units.attributes]
        )
        ranked = units.mutate(rank=ibis.row_number().over(first))
        return self._session.temporary(ranked.filter(ranked["rank"] == 0).select(*_COLUMNS))

    @cached_property
    def _repeated(self) -> Table:
        """The units that saw more than one variant."""
        grouped = self._resolved.group_by("unit_id").aggregate(variants=self._resolved.count())
        return grouped.filter(grouped.variants > 1).select("unit_id")

    @cached_property
    def _settled(self) -> Table:
        """The exposures of irregular units who saw one variant."""
        return self._resolved.filter(self._resolved.unit_id.notin(self._repeated.unit_id))


def _twice(exposures: Table) -> Table:
    counted = exposures.group_by("unit_id").aggregate(n=exposures.count())
    return counted.filter(counted.n > 1).select("unit_id")
