"""CSV files in: exposures, interactions and orders, a row each."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

import orjson

from events.records import KINDS, AnyRecord, Exposure, Interaction, Order, Reader
from events.store import Store
from experiments.declaration import declared_dict
from experiments.errors import RequestError
from experiments.loading import Configs
from experiments.refusals import describe

RowReader = Callable[[Mapping[str, Any]], AnyRecord]
Logged = TypeVar("Logged", Exposure, Interaction)

ROWS_A_COMMIT = 5_000
REPORTED_ROWS = 20


@dataclass
class Imported:
    """
    What an import did.

    Attributes:
        accepted: Rows that were new.
        duplicates: Rows that were there already, or older than what was there.
        rejected: (line, reason) of the first bad rows.
        rejected_count: How many rows were bad.
        ignored: Columns that mean nothing to crosslift.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    rejected_count: int = 0
    ignored: list[str] = field(default_factory=list)


class BadRows(RequestError):
    """A file that was not imported, because rows of it are bad."""

    def __init__(self, path: Path, imported: Imported) -> None:
        self.imported = imported
        super().__init__("\n".join(f"{path}:{line}: {reason}" for line, reason in imported.rejected))


def refuse_unreadable(path: Path) -> None:
    """
    Refuse what cannot be imported whatever it holds.

    Raises:
        RequestError: No file, an empty one, or one that cannot be read twice.
    """
    if not path.exists():
        raise RequestError(f"{path}: found no such file; wanted a CSV file")
    if not path.is_file():
        raise RequestError(f"{path}: found no file that can be read twice; wanted a CSV file")
    if not path.stat().st_size:
        raise RequestError(f"{path}: found an empty file; wanted a header and rows")


def import_csv(
    path: Path,
    kind: str,
    store: Store,
    configs: Configs,
    *,
    skip_bad_rows: bool = False,
    now_ms: int,
    progress: Callable[[int], object] | None = None,
) -> Imported:
    """
    Import a CSV file; importing it again changes nothing.

    Args:
        path: UTF-8, comma-separated, with a header; docs/importing.md lists the columns.
        kind: `exposures`, `interactions` or `orders`.
        store: Where the rows go.
        configs: Whose experiments, currency and time zone the rows are held against.
        skip_bad_rows: Import the good rows of a file that has bad ones.
        now_ms: The time at which epochs are opened for experiments that have none.
        progress: Called with the number of rows done.

    Raises:
        BadRows: A row is bad; nothing was imported.
        RequestError: The file cannot be read as CSV with the columns that are needed; nothing was imported.
    """
    refuse_unreadable(path)
    read = _row_reader(kind, configs)
    checked = Imported(ignored=_ignored_columns(path, kind))
    for _ in _records(
        path, read, checked
    ):  # the whole file first: what is wrong with it is known before anything is written
        pass
    if checked.rejected_count and not skip_bad_rows:
        raise BadRows(path, checked)
    imported = Imported(ignored=checked.ignored)
    numbered = _with_epochs(_records(path, read, imported), store, configs, now_ms)
    for records in _batches(numbered, ROWS_A_COMMIT):
        fresh = store.write(records)
        imported.accepted += sum(fresh)
        imported.duplicates += len(fresh) - sum(fresh)
        if progress:
            progress(len(records))
    return imported


def _batches(records: Iterator[AnyRecord], size: int) -> Iterator[list[AnyRecord]]:
    batch: list[AnyRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(path: Path, read: RowReader, imported: Imported) -> Iterator[AnyRecord]:
    """
    Read the rows, noting the bad ones.

    Raises:
        RequestError: From some line on the file is no CSV in UTF-8.
    """
    with _opened(path) as file:
        rows = csv.reader(file, strict=True)
        header = [name.strip() for name in next(rows)]
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                raise RequestError(
                    f"{path}:{line}: found a row that is no CSV ({error}); wanted its quotes mended"
                ) from None
            except UnicodeDecodeError:
                raise _not_utf8(path) from None
            if cells is None:
                return
            try:
                if cells:
                    yield read(_named(header, cells))
            except RequestError as error:
                imported.rejected_count += 1
                if len(imported.rejected) < REPORTED_ROWS:
                    imported.rejected.append((line, str(error)))


def _opened(path: Path) -> TextIO:
    try:
        return path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None


def _not_utf8(path: Path) -> RequestError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return RequestError(f"{path}:{number}: found the byte {line[error.start]:#04x}; wanted UTF-8 text")
    return RequestError(f"{path}: found bytes that are not UTF-8; wanted UTF-8 text")


def _named(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise RequestError(f"found {len(cells)} cells; wanted {len(header)}, as many as the header has")
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip() != ""}


def _ignored_columns(path: Path, kind: str) -> list[str]:
    """
    Give the columns that no field is read from.

    Raises:
        RequestError: The file has no header, or lacks a column that is needed.
    """
    with _opened(path) as file:
        try:
            header = [name.strip() for name in next(csv.reader(file), [])]
        except UnicodeDecodeError:
            raise _not_utf8(path) from None
        except csv.Error as error:
            raise RequestError(f"{path}:1: found no readable header ({error}); wanted column names") from None
    needed = {
        "exposures": ["experiment", "unit_id", "variant", "exposed_at"],
        "orders": ["order_id", "ordered_at", "gross"],
    }
    needed["interactions"] = ["event_id", "kind", "experiment", "variant", "unit_id", "occurred_at"]
    spellings = _spellings(kind)
    present = {spellings[name] for name in header if name in spellings}
    missing = [name for name in needed[kind] if name not in present]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise RequestError(f"{path}:1: found the columns {', '.join(map(repr, twice))} twice; wanted each once")
    if missing and len(header) == 1 and ";" in header[0]:
        raise RequestError(f"{path}:1: found columns parted by semicolons; wanted commas")
    if missing:
        raise RequestError(
            f"{path}:1: found the columns {', '.join(header) or 'none'}; wanted {', '.join(missing)} too"
        )
    return [name for name in header if name not in spellings and not name.startswith("attributes.")]


def _spellings(kind: str) -> dict[str, str]:
    """Map every accepted column name to the name that stands for it in messages."""
    spellings = {"visitor_id": "unit_id"}
    for column in KINDS[kind].model_fields:
        plain = column.removesuffix("_minor").removesuffix("_ms")
        spellings |= {column: plain, plain: plain}
    left_out = (
        "lines",
        "epoch",
    )  # rows have no lines, and belong to the epoch of the declaration they are held against
    return {name: plain for name, plain in spellings.items() if plain not in left_out}


def _row_reader(kind: str, configs: Configs) -> RowReader:
    known = _spellings(kind)
    reader = Reader(configs.shop.currency, configs.shop.time_zone)

    def order(row: Mapping[str, Any]) -> Order:
        return reader.order({"source": "csv", **{name: value for name, value in row.items() if name in known}})

    def interaction(row: Mapping[str, Any]) -> Interaction:
        return _declared(reader.interaction({name: value for name, value in row.items() if name in known}), configs)

    def exposure(row: Mapping[str, Any]) -> Exposure:
        fields = {name: value for name, value in row.items() if name in known and name != "attributes"}
        return _declared(reader.exposure({**fields, "attributes": _attributes(row)}), configs)

    readers: dict[str, RowReader] = {"orders": order, "interactions": interaction, "exposures": exposure}
    return readers[kind]


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON object from `attributes`, and text from every `attributes.NAME`."""
    text = row.get("attributes", "{}")
    try:
        attributes = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict) or any(isinstance(value, (dict, list)) for value in attributes.values()):
        raise RequestError(f"attributes: found {describe(text)}; wanted a JSON object of text and numbers")
    return attributes | {name[11:]: value for name, value in row.items() if name.startswith("attributes.")}


def _declared(record: Logged, configs: Configs) -> Logged:
    if record.experiment not in configs.experiments:
        raise RequestError(
            f"experiment: found {describe(record.experiment)}; wanted one of {', '.join(configs.experiments)}"
        )
    if configs.experiments[record.experiment].status == "draft":
        raise RequestError(f"experiment: found {describe(record.experiment)}, a draft; wanted one that has run")
    variants = configs.experiments[record.experiment].variants
    if record.variant not in variants:
        raise RequestError(f"variant: found {describe(record.variant)}; wanted one of {', '.join(variants)}")
    return record


def _with_epochs(records: Iterator[AnyRecord], store: Store, configs: Configs, now_ms: int) -> Iterator[AnyRecord]:
    """Put exposures into the current epoch of their experiment."""
    current: dict[str, int] = {}
    for record in records:
        if not isinstance(record, Exposure):
            yield record
            continue
        if record.experiment not in current:
            declared = declared_dict(configs.experiments[record.experiment])
            current[record.experiment] = store.open_epoch(record.experiment, declared, now_ms)
        yield record.model_copy(update={"epoch": current[record.experiment]})
