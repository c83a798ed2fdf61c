"""Imports CSV files of exposures, interactions and orders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from events.imports.csv_rows import Row, read_header, read_rows, refuse_unreadable
from events.imports.order_exports import OrderExport, recognise
from events.order_rules import excluded, reason_of_source
from events.parser import RecordParser, file_columns
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


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A bad row: its line in the file, and what is wrong."""

    line: int
    reason: str


@dataclass
class Imported:
    """
    The result of an import.

    Attributes:
        accepted: How many records were new.
        duplicates: How many records were stored already, or older than the stored ones.
        rejected: The first bad rows.
        rejected_count: How many rows were bad.
        ignored: Columns that crosslift does not use.
        recognised: Whose export the file is; empty for a file of our own columns.
        remarks: Why orders do not count, with how many.
        records: The file's records, where it was only read.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    rejected_count: int = 0
    ignored: list[str] = field(default_factory=list)
    recognised: str = ""
    remarks: Counter[str] = field(default_factory=Counter)
    records: list[EventRecord] = field(default_factory=list)

    def remark(self, records: Sequence[EventRecord]) -> None:
        """Count orders that will not count, or not for every metric."""
        for order in records:
            if isinstance(order, Order):
                if order.excluded:
                    self.remarks[f"left out ({order.excluded})"] += 1
                elif order.unit_id is None and order.customer_id is None:
                    self.remarks["without a visitor or customer"] += 1
                elif order.cost_minor is None:
                    self.remarks["without a cost"] += 1

    def reject(self, line: int, error: RequestError) -> None:
        """Record a bad row."""
        self.rejected_count += 1
        if len(self.rejected) < REPORTED_ROWS:
            self.rejected.append(RejectedRow(line, str(error)))


class BadRows(RequestError):
    """A file that was not imported because it has bad rows."""

    def __init__(self, path: Path, imported: Imported) -> None:
        self.imported = imported
        super().__init__("\n".join(f"{path}:{row.line}: {row.reason}" for row in imported.rejected))


@dataclass(frozen=True)
class _Layout:
    """How a file is read: which rows belong together, and how they are parsed."""

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
        path: UTF-8, comma-separated, with a header; docs/importing.md lists the columns and the known order exports.
        kind: `exposures`, `interactions` or `orders`.
        store: Where the rows are written.
        configs: The shop's experiments, currency, time zone and costs.
        skip_bad_rows: Import the good rows of a file that has bad ones.
        shop: The shop of orders that do not name one.
        now_ms: The time at which epochs are opened for experiments that have none.
        progress: Called with the number of lines read; the file is read twice.

    Raises:
        BadRows: A row is bad; nothing was imported.
        RequestError: The file is not CSV with the needed columns; nothing was imported.
    """
    refuse_unreadable(path)
    layout = _layout(path, kind, configs, shop)
    checked = Imported(ignored=list(layout.ignored), recognised=layout.recognised)
    for _ in _records(
        path, layout, checked, progress
    ):  # the whole file first: its faults are known before the first write
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
    Read an export of orders without importing it; its orders and refunds are the `records` of the result.

    Raises:
        BadRows: A row is bad.
        RequestError: The file is not CSV with the needed columns.
    """
    refuse_unreadable(path)
    layout = _layout(path, "orders", configs, shop)
    imported = Imported(ignored=list(layout.ignored), recognised=layout.recognised)
    imported.records += _records(path, layout, imported, lambda _: None)
    if imported.rejected_count:
        raise BadRows(path, imported)
    return imported


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
    """Yield the records of the good rows; record the bad ones."""
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
        raise RequestError(f"{name}: must be the order's, got nothing")
    if hash(key) in seen:
        raise RequestError(
            f"{name}: rows of one order must stand together, got {describe(key)} again after other orders"
        )
    seen.add(hash(key))


def _grouped(path: Path, layout: _Layout, imported: Imported) -> Iterator[tuple[int, list[Row]]]:
    """Yield the rows of each order of an export, with the line of the first; of other files each row alone."""
    first, group = 0, list[Row]()
    for line, row in read_rows(path):
        if isinstance(row, RequestError):
            if layout.recognised:  # a part of some order would be missing
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
    Return how a file is read.

    Raises:
        RequestError: A needed column is missing.
    """
    header = read_header(path)
    export = recognise(header) if kind == "orders" else None
    if export is not None:
        return _Layout(_export_parser(export, configs, shop), export.key, export.name)
    columns = file_columns(KINDS[kind])
    spellings = columns.spellings
    present = {spellings[name] for name in header if name in spellings}
    missing = [name for name in columns.needed if name not in present]
    if missing:
        known = ", or those of an order export of Shopify's or WooCommerce's" if kind == "orders" else ""
        needed = f"must have the columns {', '.join(columns.needed)}{known}"
        raise RequestError(f"{path}:1: {needed}; missing: {', '.join(missing)}; got {', '.join(header) or 'none'}")
    ignored = [name for name in header if name not in spellings and not name.startswith("attributes.")]
    return _Layout(_row_parser(kind, configs, shop), ignored=ignored)


def _export_parser(export: OrderExport, configs: Configs, shop: str) -> Callable[[Sequence[Row]], EventRecord]:
    parser = _parser(configs)

    def read(rows: Sequence[Row]) -> EventRecord:
        try:
            fields = {"shop": shop, **export.read(rows, configs.shop.currency)}
        except KeyError as error:
            raise RequestError(f"{error.args[0]}: must have a value, got nothing") from None
        if "refund_id" in fields:
            return parser.refund(fields)
        reasons = (fields.get("excluded"), reason_of_source(str(fields.get("source"))))
        tags = rows[0].get("tags", "").split(",")
        return parser.order(fields | {"excluded": excluded(configs.shop.orders, reasons, tags)})

    return read


def _parser(configs: Configs) -> RecordParser:
    shop = configs.shop
    return RecordParser(shop.currency, shop.time_zone, costs_minor=configs.costs_minor(), rates=shop.orders.rates)


def _row_parser(kind: str, configs: Configs, shop: str) -> Callable[[Sequence[Row]], EventRecord]:
    known = file_columns(KINDS[kind]).spellings
    parser = _parser(configs)

    def order(row: Row) -> EventRecord:
        fields = {name: value for name, value in row.items() if name in known}
        return parser.order({"source": "csv", "shop": shop, **fields})

    def interaction(row: Row) -> EventRecord:
        return _declared(parser.interaction({name: value for name, value in row.items() if name in known}), configs)

    def exposure(row: Row) -> EventRecord:
        fields = {name: value for name, value in row.items() if name in known and name != "attributes"}
        return _declared(parser.exposure({**fields, "attributes": _attributes(row)}), configs)

    parse_row = {"orders": order, "interactions": interaction, "exposures": exposure}[kind]
    return lambda rows: parse_row(rows[0])


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON object from `attributes`, and text from every `attributes.NAME`."""
    text = row.get("attributes", "{}")
    try:
        attributes = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict) or any(isinstance(value, (dict, list)) for value in attributes.values()):
        raise RequestError(f"attributes: must be a JSON object of text and numbers, got {describe(text)}")
    return attributes | {name[11:]: value for name, value in row.items() if name.startswith("attributes.")}


def _declared(record: Logged, configs: Configs) -> Logged:
    if record.experiment not in configs.experiments:
        raise RequestError(
            f"experiment: must be one of {', '.join(configs.experiments)}, got {describe(record.experiment)}"
        )
    if configs.experiments[record.experiment].status == "draft":
        raise RequestError(f"experiment: must have run, got {describe(record.experiment)}, which is a draft")
    variants = configs.experiments[record.experiment].variants
    if record.variant not in variants:
        raise RequestError(f"variant: must be one of {', '.join(variants)}, got {describe(record.variant)}")
    return record


def _with_epochs(records: Iterator[EventRecord], store: Store, configs: Configs, now_ms: int) -> Iterator[EventRecord]:
    """Yield the records, exposures with the current epoch of their experiment."""
    current: dict[str, int] = {}
    for record in records:
        if not isinstance(record, Exposure):
            yield record
            continue
        if record.experiment not in current:
            declared = declared_dict(configs.experiments[record.experiment])
            current[record.experiment] = store.open_epoch(record.experiment, declared, now_ms)
        yield record.model_copy(update={"epoch": current[record.experiment]})
