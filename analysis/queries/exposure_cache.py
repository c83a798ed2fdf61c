"""
Counts of exposures that reports of large experiments store, so that later ones need not read again the days that are over.

Numbers of exposures add up, so the counts of past days are kept in the store, with the units that saw several variants. From then
on the store logs every exposure that comes, changes or goes when it is more than a day old; a report adds the logged ones to the
stored counts, and reads only the days since. Orders are few beside exposures, and their quantiles do not add up: they are read
anew.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from analysis.queries.engines.session import Session
from analysis.queries.exposure_counts import ExposureCounts, ExposureGroup
from events import open_store
from events.clock import DAY_MS, now_ms
from experiments.errors import StoreError

MIN_EXPOSURES = 500_000  # fewer are counted in no time
MAX_REPEATED = 10_000  # units that saw several variants; an experiment with more is not to be trusted anyway
SETTLED_MS = 2 * DAY_MS  # a day after the log takes over, for clocks that differ and transactions that take long


@dataclass(frozen=True, slots=True)
class CachedCounts:
    """
    What the store keeps of an experiment.

    Attributes:
        logging_since_ms: When the store began to log late changes.
        stored_until_ms: Exposures before it are in the stored counts, of whichever variants.
        until_ms: Exposures before it are in `counts`; 0 where nothing is stored yet, or of other variants.
        counts: Of them.
        repeated: Units with several exposures among them.
        late: What was logged since: its exposures, with signs.
        late_ids: The ids of the logged changes.
    """

    logging_since_ms: int
    stored_until_ms: int
    until_ms: int
    counts: ExposureCounts
    repeated: Sequence[str]
    late: ExposureCounts
    late_ids: Sequence[int]


def read_cache(session: Session, key: str, variants: Sequence[str]) -> CachedCounts | None:
    """Return what the store keeps of an experiment; None where it does not log changes yet."""
    if "kept_tallies" not in session.tables:  # a lake, or a store of an earlier version
        return None
    table, late = session.table("kept_tallies"), session.table("late_exposures")
    rows = session.rows(table.filter(table.experiment == key))
    if not rows:
        return None
    logged = session.rows(late.filter(late.experiment == key))
    ids = [int(row["id"]) for row in logged]
    since_ms, until_ms = int(rows[0]["announced_at_ms"]), int(rows[0]["until_ms"])
    content = json.loads(rows[0]["content"] or "{}")
    if content.get("variants") != list(variants):
        return CachedCounts(since_ms, until_ms, 0, {}, [], {}, ids)
    counts = {ExposureGroup(*group): n for *group, n in content["counts"]}
    return CachedCounts(since_ms, until_ms, until_ms, counts, content["repeats"], _late(logged, variants), ids)


def _late(logged: Iterable[Mapping[str, Any]], variants: Sequence[str]) -> ExposureCounts:
    counts: dict[ExposureGroup, int] = {}
    for row in logged:
        variant, day = row["variant"], int(row["exposed_at_ms"]) // DAY_MS * DAY_MS
        key = variant if variant in variants else None
        group = ExposureGroup(key, int(row["epoch"]), day, bool(row["bot"]), row["attributes"] != "{}")
        counts[group] = counts.get(group, 0) + int(row["sign"])
    return counts


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """
    What a report would store of an experiment.

    Attributes:
        key: The experiment.
        cached: What the report began with; where there was nothing, the store is to log changes first.
        until_ms: Exposures before it are in the content.
        content: The counts, the variants that they are of, and the units with several exposures, as JSON text.
    """

    key: str
    cached: CachedCounts | None
    until_ms: int
    content: str


def worth_storing_until(counts: ExposureCounts, cached: CachedCounts | None) -> int | None:
    """Return the time until which counts are worth storing; None where they are small, or no day has ended since."""
    newest = max((group.day for group in counts), default=0)  # a report of the past saw nothing later
    until_ms = min(now_ms() // DAY_MS * DAY_MS - SETTLED_MS, newest)
    known_ms = 0 if cached is None else cached.until_ms
    return until_ms if until_ms > known_ms and sum(counts.values()) >= MIN_EXPOSURES else None


def content_of(counts: ExposureCounts, until_ms: int, variants: Sequence[str], repeated: Sequence[str]) -> str:
    """Write the counts of the exposures before a time as text."""
    rows = [
        [group.variant, group.epoch, group.day, group.is_bot, group.has_attributes, n]
        for group, n in counts.items()
        if group.day < until_ms
    ]
    return json.dumps({"variants": list(variants), "counts": rows, "repeats": list(repeated)})


def store_update(url: str, update: CacheUpdate) -> None:
    """Store what a report would keep; a store that cannot be written stays as it is."""
    with suppress(StoreError), closing(open_store(url)) as store:
        if update.cached is None:
            store.announce_tally(update.key, now_ms())
        else:
            version = update.cached.logging_since_ms, update.cached.stored_until_ms
            store.keep_tally(update.key, version, update.until_ms, update.content, update.cached.late_ids)
