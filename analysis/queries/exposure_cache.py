"""
What reports of large experiments keep, so that later ones need not read again the exposures of days that are over.

Numbers of exposures add up, so a tally of past days is kept in the store, with the units that saw several variants. From then on
the store logs every exposure that comes, changes or goes when it is more than a day old; a report adds the logged ones to what
was kept, and reads only the days since. Orders are few beside exposures, and their quantiles do not add up: they are read anew.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from analysis.queries.engines.session import Reader
from analysis.queries.exposure_counts import Group, Tally
from analysis.queries.unit_facts import DAY_MS
from events import open_store
from events.clock import now_ms
from experiments.errors import StoreError

WORTH = 500_000  # exposures; fewer are counted in no time
MAX_REPEATS = 10_000  # units that saw several variants; an experiment with more is not to be trusted anyway
SETTLED_MS = 2 * DAY_MS  # a day after the log takes over, for clocks that differ and transactions that take long


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What the store keeps of an experiment.

    Attributes:
        version: When changes began to be logged, and until when the stored tally goes: what `Store.keep_tally` compares.
        until_ms: Exposures before it are in the tally; 0 where nothing is kept yet, or of other variants.
        tally: Of them.
        repeats: Units with several exposures among them.
        late: What was logged since: its exposures, with signs, and their ids.
    """

    version: tuple[int, int]
    until_ms: int
    tally: Tally
    repeats: Sequence[str]
    late: Tally
    late_ids: Sequence[int]


def find(reader: Reader, key: str, variants: Sequence[str]) -> Kept | None:
    """Give what the store keeps of an experiment; None where it does not log changes yet."""
    if "kept_tallies" not in reader.tables:  # a lake, or a store of an earlier version
        return None
    table, late = reader.table("kept_tallies"), reader.table("late_exposures")
    rows = reader.rows(table.filter(table.experiment == key))
    if not rows:
        return None
    logged = reader.rows(late.filter(late.experiment == key))
    ids = [int(row["id"]) for row in logged]
    version = int(rows[0]["announced_at_ms"]), int(rows[0]["until_ms"])
    told = json.loads(rows[0]["content"] or "{}")
    if told.get("variants") != list(variants):
        return Kept(version, 0, {}, [], {}, ids)
    tally = {Group(*group): n for *group, n in told["counts"]}
    return Kept(version, version[1], tally, told["repeats"], _added_up(logged, variants), ids)


def _added_up(logged: Iterable[Mapping[str, Any]], variants: Sequence[str]) -> Tally:
    counts: dict[Group, int] = {}
    for row in logged:
        variant, day = row["variant"], int(row["exposed_at_ms"]) // DAY_MS * DAY_MS
        told = row["attributes"] != "{}"
        group = Group(variant if variant in variants else None, int(row["epoch"]), day, bool(row["bot"]), told)
        counts[group] = counts.get(group, 0) + int(row["sign"])
    return counts


@dataclass(frozen=True, slots=True)
class Due:
    """
    What a report would have kept of an experiment.

    Attributes:
        key: The experiment.
        kept: What the report began with; where nothing was, the store is to log changes first.
        until_ms: Exposures before it are in the content.
        content: The tally, the variants that it counts, and the units with several exposures.
    """

    key: str
    kept: Kept | None
    until_ms: int
    content: str


def worth_keeping(tally: Tally, kept: Kept | None) -> int | None:
    """Give the time until which a tally is worth keeping; None where it is small, or no day has ended since."""
    newest = max((group.day for group in tally), default=0)  # a report of the past saw nothing later
    until_ms = min(now_ms() // DAY_MS * DAY_MS - SETTLED_MS, newest)
    known_ms = 0 if kept is None else kept.until_ms
    return until_ms if until_ms > known_ms and sum(tally.values()) >= WORTH else None


def content_of(tally: Tally, until_ms: int, variants: Sequence[str], repeats: Sequence[str]) -> str:
    """Give a tally of the exposures before a time as text."""
    counts = [[*group, n] for group, n in tally.items() if group.day < until_ms]
    return json.dumps({"variants": list(variants), "counts": counts, "repeats": list(repeats)})


def keep(url: str, due: Due) -> None:
    """Keep what is due; a store that cannot be written stays as it is."""
    with suppress(StoreError), closing(open_store(url)) as store:
        if due.kept is None:
            store.announce_tally(due.key, now_ms())
        else:
            store.keep_tally(due.key, due.kept.version, due.until_ms, due.content, due.kept.late_ids)
