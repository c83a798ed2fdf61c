"""
The lake: Parquet files by day, for engines that read files.

`DIR/TABLE/day=2026-05-01/data.parquet`, and `DIR/TABLE/data.parquet` for tables without days. A day is written again when the
hash of its rows has changed; `DIR/manifest.json` holds the hashes. Days of interactions that were pruned from the store stay,
with the columns that they were written with.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from events.clock import DAY_MS
from events.stores.protocol import Fetch, Store
from events.stores.sql_store import scrubbed
from events.stores.tables import (
    ALIASES,
    EPOCHS,
    EXPOSURES,
    IDENTITIES,
    INTERACTIONS,
    ORDER_LINES,
    ORDERS,
    REFUNDS,
    Column,
    Table,
)
from experiments.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 50_000
MANIFEST = "manifest.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class LakeTable:
    """
    One table of the lake.

    Attributes:
        columns: The columns of its files.
        source: What the rows are selected from.
        time: The column whose day a row belongs to; empty where all rows are one file.
        sort: What the rows of a file are sorted by.
        person: The columns that hold a person's ids.
        is_archive: Whether days that the store no longer has stay.
    """

    columns: tuple[Column, ...]
    source: str
    time: str
    sort: str
    person: tuple[str, ...] = ()
    is_archive: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return tuple(column.name for column in self.columns)


def _of_store(table: Table, time: str = "", source: str = "", is_archive: bool = False) -> LakeTable:
    """Return a table of the store as one of the lake."""
    columns = tuple(column for column in table.columns if column.exported)
    sort = ", ".join(f"t.{name}" for name in table.key)
    return LakeTable(columns, source or f"{table.name} t", time, sort, table.person, is_archive)


# Readers need this query too, for lakes from before there was such a table.
REPEATS = "SELECT experiment, unit_id FROM exposures GROUP BY experiment, unit_id HAVING COUNT(*) > 1"
_LINES_AND_ORDERS = "order_lines t JOIN orders o ON o.shop = t.shop AND o.order_id = t.order_id"
TABLES = {
    "exposures": _of_store(EXPOSURES, "t.exposed_at_ms"),
    "interactions": _of_store(INTERACTIONS, "t.occurred_at_ms", is_archive=True),
    "orders": _of_store(ORDERS, "t.ordered_at_ms"),
    "order_lines": _of_store(ORDER_LINES, "o.ordered_at_ms", _LINES_AND_ORDERS),
    "refunds": _of_store(REFUNDS, "t.refunded_at_ms"),
    "aliases": _of_store(ALIASES),
    "identities": _of_store(IDENTITIES),
    "epochs": _of_store(EPOCHS),
    # The units that saw several variants: the store finds them by an index, readers of files would have to group all rows.
    "repeats": LakeTable(
        tuple(column for column in EXPOSURES.columns if column.name in ("experiment", "unit_id")),
        f"({REPEATS}) t",
        "",
        "t.experiment, t.unit_id",
        person=("unit_id",),
    ),
}

Hashes = dict[str, list[int]]


@dataclass
class Exported:
    """
    The result of an export.

    Attributes:
        written, unchanged, removed: Files.
        rows: Rows of the written files.
    """

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    rows: int = 0


def export(store: Store, folder: Path, progress: Callable[[int, int], object] = lambda *_: None) -> Exported:
    """
    Bring a lake up to date with the store.

    Every file is replaced whole; an export that was interrupted is simply run again. All files show one moment of the store.

    Args:
        store: What is exported.
        folder: The lake; created where there is none.
        progress: Called with the number of files written, and of files to write.

    Raises:
        StoreError: The store cannot be read, or the folder cannot be written, or another export is writing it.
    """
    exported = Exported()
    with _locked(folder) as lake, store.snapshot() as fetch:
        store.remember_lake(str(lake))
        manifest = _manifest(lake)
        pruned = _part(store.pruned_before_ms() // DAY_MS)
        changed: dict[str, list[str]] = {}
        for name, table in TABLES.items():
            hashes, previous = _hashes(fetch, table), manifest.get(name, {})
            parts = {_part_of(path) for path in (lake / name).rglob("data.parquet")}
            # Of a pruned day the lake has more than the store, whatever came late for it.
            archived = {part for part in parts if table.is_archive and part < pruned}
            hashes = {part: sums for part, sums in hashes.items() if part not in archived}
            for part in parts - archived - hashes.keys():
                _path(lake, name, part).unlink()
                exported.removed += 1
            changed[name] = [part for part in hashes if hashes[part] != previous.get(part) or part not in parts]
            exported.unchanged += len(hashes) - len(changed[name])
            manifest[name] = hashes
        total = sum(map(len, changed.values()))
        for name, parts_to_write in changed.items():
            for rows in _write_parts(fetch, lake, name, parts_to_write):
                exported.written += 1
                exported.rows += rows
                progress(exported.written, total)
        _put_manifest(lake, manifest)
    return exported


def rename(folder: Path, pseudonyms: Mapping[str, str]) -> int:
    """Replace ids by pseudonyms in every file of a lake that holds them; return how many files were rewritten."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pa.array(list(pseudonyms), pa.string())
    rewritten = 0
    with _locked(folder) as lake:
        manifest = _manifest(lake)
        for name, lake_table in TABLES.items():
            for path in sorted((lake / name).rglob("data.parquet")) if lake_table.person else ():
                try:
                    names = pq.read_schema(path).names
                    columns = [column for column in lake_table.person if column in names]  # a file may be older
                    persons = pq.read_table(path, columns=columns, partitioning=None)
                except (OSError, pa.ArrowInvalid) as error:
                    raise StoreError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
                if any(pc.any(pc.is_in(persons[column], ids)).as_py() for column in columns):
                    table = pq.read_table(path, partitioning=None)
                    _put(path, partial(pq.write_table, _renamed(table, columns, pseudonyms), compression="zstd"))
                    manifest.get(name, {}).pop(_part_of(path), None)  # the next export compares it again
                    rewritten += 1
        if rewritten:
            _put_manifest(lake, manifest)
    return rewritten


def _renamed(table: "pa.Table", columns: Sequence[str], pseudonyms: Mapping[str, str]) -> "pa.Table":
    """Rename whole columns; only the person's own attributes and event ids are changed value by value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def put(column: str, mask: Any, values: Any) -> None:
        nonlocal table
        replaced = pc.replace_with_mask(table[column], mask, pa.array(values, pa.string()))
        table = table.set_column(table.schema.get_field_index(column), column, replaced)

    for column in columns:
        mask = pc.fill_null(pc.is_in(table[column], pa.array(list(pseudonyms), pa.string())), False).combine_chunks()
        rows = table.filter(mask)
        owners = rows[column].to_pylist()
        if "attributes" in table.column_names:
            put("attributes", mask, [scrubbed(attributes, pseudonyms) for attributes in rows["attributes"].to_pylist()])
        if "event_id" in table.column_names:
            ids = zip(rows["event_id"].to_pylist(), owners, strict=True)
            put("event_id", mask, [event_id.replace(owner, pseudonyms[owner]) for event_id, owner in ids])
        put(column, mask, [pseudonyms[owner] for owner in owners])
    return table


def _hashes(fetch: Fetch, table: LakeTable) -> Hashes:
    """Return the number of rows and the sum of their hashes, by part: a day, or `all`."""
    hashed = ", ".join(f"CAST(t.{column} AS TEXT)" for column in table.names)
    sums = f"COUNT(*), COALESCE(SUM(content_hash({hashed})), 0)"
    if not table.time:
        ((rows, total),) = fetch(f"SELECT {sums} FROM {table.source}")  # noqa: S608
        return {"all": [int(rows), int(total)]}
    day = f"{table.time} / {DAY_MS}"
    query = f"SELECT {day}, {sums} FROM {table.source} GROUP BY {day} ORDER BY 1"  # noqa: S608
    return {_part(int(row[0])): [int(row[1]), int(row[2])] for row in fetch(query)}


def _part(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _day(part: str) -> int:
    return int(datetime.fromisoformat(part).replace(tzinfo=UTC).timestamp()) // 86_400


def _write_parts(fetch: Fetch, lake: Path, name: str, parts: list[str]) -> Iterator[int]:
    """Write the parts that changed, in one pass over the rows between the first and the last of them; yield rows of each."""
    table = TABLES[name]
    if not parts:
        return
    columns = ", ".join(f"t.{column}" for column in table.names)
    if not table.time:
        rows = fetch(f"SELECT {columns} FROM {table.source} ORDER BY {table.sort}")  # noqa: S608
        yield _write(_path(lake, name, "all"), table.columns, rows)
        return
    days = {_day(part) for part in parts}
    query = (
        f"SELECT {columns}, {table.time} / {DAY_MS} FROM {table.source}"  # noqa: S608
        f" WHERE {table.time} >= ? AND {table.time} < ? ORDER BY {table.time} / {DAY_MS}, {table.sort}"
    )
    fetched = fetch(query, min(days) * DAY_MS, (max(days) + 1) * DAY_MS)
    for day, rows in groupby(fetched, key=lambda row: int(row[-1])):
        if day in days:
            yield _write(_path(lake, name, _part(day)), table.columns, (row[:-1] for row in rows))


def _write(path: Path, columns: Sequence[Column], rows: Iterator[tuple[Any, ...]]) -> int:
    """Write one file, a few rows at a time; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"integer": pa.int64(), "text": pa.string()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    written = 0

    def fill(unfinished: Path) -> None:
        nonlocal written
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                values = zip(*batch, strict=True)
                arrays = [pa.array(list(column), field.type) for column, field in zip(values, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                written += len(batch)

    _put(path, fill)
    return written


def _put(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a file under another name, wait for the disk, and rename it: readers see the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def _path(lake: Path, name: str, part: str) -> Path:
    return lake / name / "data.parquet" if part == "all" else lake / name / f"day={part}" / "data.parquet"


def _part_of(path: Path) -> str:
    return path.parent.name.removeprefix("day=") if path.parent.name.startswith("day=") else "all"


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Lock a lake, so that no other process writes it."""
    lake = folder.resolve()
    try:
        lake.mkdir(parents=True, exist_ok=True)
        file = (lake / ".lock").open("ab")
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{folder}: another export is writing this lake; try again when it has finished") from None
        for leftover in lake.rglob(".*.unfinished"):  # of an export that was interrupted
            leftover.unlink(missing_ok=True)
        yield lake


def _put_manifest(lake: Path, manifest: Mapping[str, Hashes]) -> None:
    content = json.dumps({"version": VERSION, "tables": manifest}, indent=1)
    _put(lake / MANIFEST, lambda unfinished: unfinished.write_text(content, encoding="utf-8"))


def _manifest(lake: Path) -> dict[str, Hashes]:
    """Read the hashes of the last export; a manifest that cannot be read costs a whole export, nothing else."""
    try:
        manifest = json.loads((lake / MANIFEST).read_text(encoding="utf-8"))
        return dict(manifest["tables"]) if manifest["version"] == VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
