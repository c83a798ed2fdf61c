"""CSV files in: exposures, interactions and orders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from events.imports.csv_rows import Row, read_header, read_rows, refuse_unreadable
from events.imports.order_exports import OrderExport, recognise
from events.order_rules import excluded, reason_of_source
from events.parser import RecordParser
from events.records import KINDS, EventRecord, Exposure, Interaction, Order
from events.stores.protocol import Store
from experiments.declarations.loading import Configs
from experiments.declarations.model import declared_dict
from experiments.errors import RequestError
from experiments.refusals import describe

Progress = Callable[[int], object]
Logged = TypeVar("Logged", Exposure, Interaction)

ROWS_A_COMMIT = 5_000
REPORTED_ROWS = 20
_NEEDED = {
    "exposures": ["experiment", "unit_id", "variant", "exposed_at"],
    "interactions": ["event_id", "kind", "experiment", "variant", "unit_id", "occurred_at"],
    "orders": ["order_id", "ordered_at", "gross"],
}


@dataclass
class Imported:
    """
    What an import did.

    Attributes:
        accepted: Records that were new.
        duplicates: Records that were there already, or older than what was there.
        rejected: (line, reason) of the first bad rows.
        rejected_count: How many were bad.
        ignored: Columns that mean nothing to crosslift.
        recognised: Whose export the file is; empty for a file of our own columns.
        remarks: What keeps orders from counting, and of how many.
        records: What the file holds, where it was only to be read.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    rejected_count: int = 0
    ignored: list[str] = field(default_factory=list)
    recognised: str = ""
    remarks: Counter[str] = field(default_factory=Counter)
    records: list[EventRecord] = field(default_factory=list)

    def remark(self, records: Sequence[EventRecord]) -> None:
        """Note orders that will not count, or not for every metric."""
        for order in records:
            if isinstance(order, Order):
                if order.excluded:
                    self.remarks[f"left out ({order.excluded})"] += 1
                elif order.unit_id is None and order.customer_id is None:
                    self.remarks["without a visitor or customer"] += 1
                elif order.cost_minor is None:
                    self.remarks["without a cost"] += 1

    def reject(self, line: int, error: RequestError) -> None:
        """Note a bad row."""
        self.rejected_count += 1
        if len(self.rejected) < REPORTED_ROWS:
            self.rejected.append((line, str(error)))


class BadRows(RequestError):
    """A file that was not imported, because rows of it are bad."""

    def __init__(self, path: Path, imported: Imported) -> None:
        self.imported = imported
        super().__init__("\n".join(f"{path}:{line}: {reason}" for line, reason in imported.rejected))


@dataclass(frozen=True)
class _Layout:
    """How a file is read: which rows belong together, and what they become."""

    read: Callable[[Sequence[Row]], EventRecord]
    key: str = ""
    recognised: str = ""
    ignored: Sequence[str] = ()


def import_csv(
    path: Path,
    kind: str,
    store: Store,
    configs: Configs,
    *,
    skip_bad_rows: bool = False,
    shop: str = "default",
    now_ms: int,
    progress: Progress = lambda _: None,
) -> Imported:
    """
    Import a CSV file; importing it again changes nothing.

    Args:
        path: UTF-8, comma-separated, with a header; docs/importing.md lists the columns, and the order exports that are known.
        kind: `exposures`, `interactions` or `orders`.
        store: Where the rows go.
        configs: Whose experiments, currency, time zone and costs the rows are held against.
        skip_bad_rows: Import the good rows of a file that has bad ones.
        shop: The shop of orders that do not say theirs.
        now_ms: The time at which epochs are opened for experiments that have none.
        progress: Called with the number of lines done, of the file read twice.

    Raises:
        BadRows: A row is bad; nothing was imported.
        RequestError: The file cannot be read as CSV with the columns that are needed; nothing was imported.
    """
    refuse_unreadable(path)
    layout = _layout(path, kind, configs, shop)
    checked = Imported(ignored=list(layout.ignored), recognised=layout.recognised)
    for _ in _records(path, layout, checked, progress):  # the whole file first: its faults are known before a write
        pass
    if checked.rejected_count and not skip_bad_rows:
        raise BadRows(path, checked)
    imported = Imported(ignored=checked.ignored, recognised=checked.recognised)
    numbered = _with_epochs(_records(path, layout, imported, progress), store, configs, now_ms)
    for records in _batches(numbered, ROWS_A_COMMIT):
        fresh = store.write(records)
        imported.accepted += sum(fresh)
        imported.duplicates += len(fresh) - sum(fresh)
        imported.remark(records)
    return imported


def read_orders(path: Path, configs: Configs, shop: str) -> Imported:
    """
    Read an export of orders without importing it; its orders and refunds are the result's `records`.

    Raises:
        BadRows: A row is bad.
        RequestError: The file cannot be read as CSV with the columns that are needed.
    """
    refuse_unreadable(path)
    layout = _layout(path, "orders", configs, shop)
    read = Imported(ignored=list(layout.ignored), recognised=layout.recognised)
    read.records += _records(path, layout, read, lambda _: None)
    if read.rejected_count:
        raise BadRows(path, read)
    return read


def _batches(records: Iterator[EventRecord], size: int) -> Iterator[list[EventRecord]]:
    batch: list[EventRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(path: Path, layout: _Layout, imported: Imported, progress: Progress) -> Iterator[EventRecord]:
    """Read the rows, noting the bad ones."""
    reported = 1
    seen: set[int] = set()
    for line, rows in _grouped(path, layout, imported):
        try:
            if layout.key:
                _refuse_repeated(layout.key, rows[0], seen)
            yield layout.read(rows)
        except RequestError as error:
            imported.reject(line, error)
        if line - reported >= ROWS_A_COMMIT:
            progress(line - reported)
            reported = line


def _refuse_repeated(name: str, row: Row, seen: set[int]) -> None:
    key = row.get(name)
    if key is None:
        raise RequestError(f"{name}: found nothing; wanted the order's")
    if hash(key) in seen:
        raise RequestError(f"{name}: found {describe(key)} again after other orders; wanted its rows together")
    seen.add(hash(key))


def _grouped(path: Path, layout: _Layout, imported: Imported) -> Iterator[tuple[int, list[Row]]]:
    """Put rows of an export that follow each other and share its key together, under the first one's line."""
    first, group = 0, list[Row]()
    for line, row in read_rows(path):
        if isinstance(row, RequestError):
            if layout.recognised:  # of some order a part would be missing
                raise RequestError(f"{path}:{line}: {row}")
            imported.reject(line, row)
            continue
        if not layout.recognised:
            yield line, [row]
            continue
        lowered = {name.lower(): value.removeprefix("'") for name, value in row.items()}  # ' marks text in spreadsheets
        if group and (layout.key not in lowered or lowered[layout.key] != group[0].get(layout.key)):
            yield first, group
            group = []
        if not group:
            first = line
        group.append(lowered)
    if group:
        yield first, group


def _layout(path: Path, kind: str, configs: Configs, shop: str) -> _Layout:
    """
    Tell how a file is to be read.

    Raises:
        RequestError: It lacks a column that is needed.
    """
    header = read_header(path)
    export = recognise(header) if kind == "orders" else None
    if export is not None:
        return _Layout(_export_reader(export, configs, shop), export.key, export.name)
    spellings = _spellings(kind)
    present = {spellings[name] for name in header if name in spellings}
    missing = [name for name in _NEEDED[kind] if name not in present]
    if missing:
        known = "; nor is it an order export of Shopify's or WooCommerce's" if kind == "orders" else ""
        wanted = f"wanted {', '.join(missing)} too{known}"
        raise RequestError(f"{path}:1: found the columns {', '.join(header) or 'none'}; {wanted}")
    ignored = [name for name in header if name not in spellings and not name.startswith("attributes.")]
    return _Layout(_row_reader(kind, configs, shop), ignored=ignored)


def _spellings(kind: str) -> dict[str, str]:
    """Map every accepted column name to the name that stands for it in messages."""
    spellings = {"visitor_id": "unit_id"}
    for column in KINDS[kind].model_fields:
        plain = column.removesuffix("_minor").removesuffix("_ms")
        spellings |= {column: plain, plain: plain}
    # Rows have no lines, and belong to the epoch of the declaration they are held against.
    return {name: plain for name, plain in spellings.items() if plain not in ("lines", "epoch")}


def _export_reader(export: OrderExport, configs: Configs, shop: str) -> Callable[[Sequence[Row]], EventRecord]:
    reader = _reader(configs)

    def read(rows: Sequence[Row]) -> EventRecord:
        try:
            fields = {"shop": shop, **export.read(rows, configs.shop.currency)}
        except KeyError as error:
            raise RequestError(f"{error.args[0]}: found nothing; wanted a value here") from None
        if "refund_id" in fields:
            return reader.refund(fields)
        reasons = (fields.get("excluded"), reason_of_source(str(fields.get("source"))))
        tags = rows[0].get("tags", "").split(",")
        return reader.order(fields | {"excluded": excluded(configs.shop.orders, reasons, tags)})

    return read


def _reader(configs: Configs) -> RecordParser:
    shop = configs.shop
    return RecordParser(shop.currency, shop.time_zone, costs_minor=configs.costs_minor(), rates=shop.orders.rates)


def _row_reader(kind: str, configs: Configs, shop: str) -> Callable[[Sequence[Row]], EventRecord]:
    known = _spellings(kind)
    reader = _reader(configs)

    def order(row: Row) -> EventRecord:
        told = {name: value for name, value in row.items() if name in known}
        return reader.order({"source": "csv", "shop": shop, **told})

    def interaction(row: Row) -> EventRecord:
        return _declared(reader.interaction({name: value for name, value in row.items() if name in known}), configs)

    def exposure(row: Row) -> EventRecord:
        fields = {name: value for name, value in row.items() if name in known and name != "attributes"}
        return _declared(reader.exposure({**fields, "attributes": _attributes(row)}), configs)

    read = {"orders": order, "interactions": interaction, "exposures": exposure}[kind]
    return lambda rows: read(rows[0])


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


def _with_epochs(records: Iterator[EventRecord], store: Store, configs: Configs, now_ms: int) -> Iterator[EventRecord]:
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
