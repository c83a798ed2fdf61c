"""
The lake: Parquet files by day, for engines that read files.

`DIR/TABLE/day=2026-05-01/data.parquet`, and `DIR/TABLE/data.parquet` for what has no day. A day is written again when the hash of
its rows has changed since; `DIR/manifest.json` keeps the hashes. Days of interactions that were pruned from the store stay.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from events.stores.protocol import Fetch, Store
from events.stores.sql_store import EXPOSURE, IDENTIFYING, INTERACTION, LINE, REFUND, is_integer, scrubbed
from experiments.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

DAY_MS = 86_400_000
ROWS_AT_ONCE = 50_000
MANIFEST = "manifest.json"
VERSION = 1

_ORDER = ("shop", "order_id", "unit_id", "customer_id", "company_id", "ordered_at_ms", "updated_at_ms", "currency",
          "gross_minor", "discount_minor", "shipping_minor", "tax_minor", "refunded_minor", "cost_minor", "units", "source",
          "verified", "excluded")  # fmt: skip


@dataclass(frozen=True)
class _Table:
    """
    One table of the lake.

    Attributes:
        columns: As in the store.
        source: What the rows are selected from.
        at: The column whose day a row belongs to; empty where all rows are one file.
        key: What the rows of a file are sorted by.
        archived: Whether days that the store no longer has stay.
    """

    columns: tuple[str, ...]
    source: str
    at: str
    key: str
    archived: bool = False


# Also for readers of lakes of before there was such a table.
REPEATS = "SELECT experiment, unit_id FROM exposures GROUP BY experiment, unit_id HAVING COUNT(*) > 1"
TABLES = {
    "exposures": _Table(EXPOSURE, "exposures t", "t.exposed_at_ms", "t.experiment, t.unit_id, t.variant"),
    "interactions": _Table(INTERACTION, "interactions t", "t.occurred_at_ms", "t.event_id", archived=True),
    "orders": _Table(_ORDER, "orders t", "t.ordered_at_ms", "t.shop, t.order_id"),
    "order_lines": _Table(
        LINE,
        "order_lines t JOIN orders o ON o.shop = t.shop AND o.order_id = t.order_id",
        "o.ordered_at_ms",
        "t.shop, t.order_id, t.line_id",
    ),
    "refunds": _Table(REFUND, "refunds t", "t.refunded_at_ms", "t.shop, t.order_id, t.refund_id"),
    "aliases": _Table(("visitor_id", "unit_id", "linked_at_ms"), "aliases t", "", "t.visitor_id"),
    "identities": _Table(("customer_id", "unit_id", "company_id", "linked_at_ms"), "identities t", "", "t.customer_id"),
    "epochs": _Table(("experiment", "epoch", "declared_at_ms", "declaration"), "epochs t", "", "t.experiment, t.epoch"),
    # The units that saw several variants: the store has an index that tells, readers of files would have to group all.
    "repeats": _Table(
        ("experiment", "unit_id"),
        f"({REPEATS}) t",
        "",
        "t.experiment, t.unit_id",
    ),
}
_IDENTIFYING = {**IDENTIFYING, "repeats": ("unit_id",)}

Hashes = dict[str, list[int]]


@dataclass
class Exported:
    """
    What an export did.

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

    Every file is replaced whole; a run that was cut off is simply run again. All files show one moment of the store.

    Args:
        store: What is exported.
        folder: The lake; made where there is none.
        progress: Called with the files done, and how many there are to write.

    Raises:
        StoreError: The store cannot be read, or the folder not be written, or is another export's just now.
    """
    exported = Exported()
    with _held(folder) as lake, store.snapshot() as fetch:
        store.remember_lake(str(lake))
        manifest = _manifest(lake)
        pruned = _part(store.pruned_before_ms() // DAY_MS)
        due = []
        for name, table in TABLES.items():
            found, before = _hashes(fetch, table), manifest.get(name, {})
            there = {_part_of(path) for path in (lake / name).rglob("data.parquet")}
            # Of a pruned day the lake has more than the store, whatever came late for it.
            kept = {part for part in there if table.archived and part < pruned}
            found = {part: one for part, one in found.items() if part not in kept}
            for part in there - kept - found.keys():
                _path(lake, name, part).unlink()
                exported.removed += 1
            changed = [part for part in found if found[part] != before.get(part) or part not in there]
            exported.unchanged += len(found) - len(changed)
            due.append((name, changed))
            manifest[name] = found
        total = sum(len(changed) for _, changed in due)
        for name, changed in due:
            for rows in _write_parts(fetch, lake, name, changed):
                exported.written += 1
                exported.rows += rows
                progress(exported.written, total)
        _put_manifest(lake, manifest)
    return exported


def rename(folder: Path, pseudonyms: Mapping[str, str]) -> int:
    """Put pseudonyms in the place of ids in every file of a lake that holds them; give how many files were rewritten."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pa.array(list(pseudonyms), pa.string())
    rewritten = 0
    with _held(folder) as lake:
        manifest = _manifest(lake)
        for name, columns in _IDENTIFYING.items():
            for path in sorted((lake / name).rglob("data.parquet")):
                try:
                    held = pq.read_table(path, columns=list(columns), partitioning=None)
                except (OSError, pa.ArrowInvalid) as error:
                    raise StoreError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
                if any(pc.any(pc.is_in(held[column], ids)).as_py() for column in columns):
                    table = pq.read_table(path, partitioning=None)
                    _put(path, partial(pq.write_table, _renamed(table, columns, pseudonyms), compression="zstd"))
                    manifest.get(name, {}).pop(_part_of(path), None)  # the next export compares it anew
                    rewritten += 1
        if rewritten:
            _put_manifest(lake, manifest)
    return rewritten


def _renamed(table: "pa.Table", columns: tuple[str, ...], pseudonyms: Mapping[str, str]) -> "pa.Table":
    """Rename in whole columns; only the person's own attributes and event ids are looked at one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def put(column: str, mask: Any, replaced: Any) -> None:
        nonlocal table
        values = pc.replace_with_mask(table[column], mask, pa.array(replaced, pa.string()))
        table = table.set_column(table.schema.get_field_index(column), column, values)

    for column in columns:
        mask = pc.fill_null(pc.is_in(table[column], pa.array(list(pseudonyms), pa.string())), False).combine_chunks()
        mine = table.filter(mask)
        owners = mine[column].to_pylist()
        if "attributes" in table.column_names:
            put("attributes", mask, [scrubbed(one, pseudonyms) for one in mine["attributes"].to_pylist()])
        if "event_id" in table.column_names:
            ids = zip(mine["event_id"].to_pylist(), owners, strict=True)
            put("event_id", mask, [event_id.replace(owner, pseudonyms[owner]) for event_id, owner in ids])
        put(column, mask, [pseudonyms[owner] for owner in owners])
    return table


def _hashes(fetch: Fetch, table: _Table) -> Hashes:
    """Give the number of rows and the sum of their hashes, by part: a day's number, or `all`."""
    hashed = ", ".join(f"CAST(t.{column} AS TEXT)" for column in table.columns)
    sums = f"COUNT(*), COALESCE(SUM(content_hash({hashed})), 0)"
    if not table.at:
        ((rows, total),) = fetch(f"SELECT {sums} FROM {table.source}")  # noqa: S608
        return {"all": [int(rows), int(total)]}
    day = f"{table.at} / {DAY_MS}"
    query = f"SELECT {day}, {sums} FROM {table.source} GROUP BY {day} ORDER BY 1"  # noqa: S608
    return {_part(int(row[0])): [int(row[1]), int(row[2])] for row in fetch(query)}


def _part(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _day(part: str) -> int:
    return int(datetime.fromisoformat(part).replace(tzinfo=UTC).timestamp()) // 86_400


def _write_parts(fetch: Fetch, lake: Path, name: str, parts: list[str]) -> Iterator[int]:
    """Write the parts that changed, from one pass over the rows between the first and the last of them; give rows."""
    table = TABLES[name]
    if not parts:
        return
    columns = ", ".join(f"t.{column}" for column in table.columns)
    if not table.at:
        rows = fetch(f"SELECT {columns} FROM {table.source} ORDER BY {table.key}")  # noqa: S608
        yield _write(_path(lake, name, "all"), table.columns, rows)
        return
    days = [_day(part) for part in parts]
    wanted = set(days)
    query = (
        f"SELECT {columns}, {table.at} / {DAY_MS} FROM {table.source}"  # noqa: S608
        f" WHERE {table.at} >= ? AND {table.at} < ? ORDER BY {table.at} / {DAY_MS}, {table.key}"
    )
    found = fetch(query, min(days) * DAY_MS, (max(days) + 1) * DAY_MS)
    for day, rows in groupby(found, key=lambda row: int(row[-1])):
        if day in wanted:
            yield _write(_path(lake, name, _part(day)), table.columns, (row[:-1] for row in rows))


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> int:
    """Write one file, a few rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column, pa.int64() if is_integer(column) else pa.string()) for column in columns])
    written = 0

    def fill(unfinished: Path) -> None:
        nonlocal written
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                values = zip(*batch, strict=True)
                arrays = [pa.array(list(one), field.type) for one, field in zip(values, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                written += len(batch)

    _put(path, fill)
    return written


def _put(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a file beside its place, wait for the disk, and put it there: readers see the old one or the new one."""
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
def _held(folder: Path) -> Iterator[Path]:
    """Keep others from writing the same lake."""
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
            raise StoreError(f"{folder}: another export writes it just now; wanted to be alone") from None
        for leftover in lake.rglob(".*.unfinished"):  # of a run that was cut off
            leftover.unlink(missing_ok=True)
        yield lake


def _put_manifest(lake: Path, manifest: Mapping[str, Hashes]) -> None:
    content = json.dumps({"version": VERSION, "tables": manifest}, indent=1)
    _put(lake / MANIFEST, lambda unfinished: unfinished.write_text(content, encoding="utf-8"))


def _manifest(lake: Path) -> dict[str, Hashes]:
    """Read what was written before; a manifest that cannot be read costs a whole export, nothing else."""
    try:
        told = json.loads((lake / MANIFEST).read_text(encoding="utf-8"))
        return dict(told["tables"]) if told["version"] == VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
