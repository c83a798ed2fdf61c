"""
Writes a group of records to SQLite by as few statements as possible.

Between two statements the interpreter's lock changes hands, and with busy threads around it comes back late, while every other
process waits for this one's commit. New exposures and interactions, nearly all of them, take one statement together.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache

from events.records import EventRecord, Exposure, Interaction, Order, Refund
from events.stores.record_rows import LINE_COLUMNS, RECORD_TABLES, RecordTable, Row, line_rows
from events.stores.sql_store import Execute

VALUES = 32_000  # a statement may bind a few more
LOGGED: Mapping[type, RecordTable] = {kind: RECORD_TABLES[kind] for kind in (Exposure, Interaction)}
_ORDERS, _REFUNDS = RECORD_TABLES[Order], RECORD_TABLES[Refund]


def rows_at_once(records: RecordTable) -> int:
    """Return how many rows one statement takes."""
    return VALUES // len(records.columns)


def _insert(table: str, columns: Sequence[str], rows: int = 1) -> str:
    values = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([values] * rows)}"  # noqa: S608


@lru_cache(maxsize=1024)
def _insert_all(records: RecordTable, rows: int) -> str:
    return _insert(records.table.name, records.columns, rows)


def _on_conflict(records: RecordTable) -> str:
    return f"ON CONFLICT ({', '.join(records.table.key)}) DO UPDATE SET {records.changes} WHERE {records.wins}"


def _insert_rows(execute: Execute, records: RecordTable, rows: Sequence[Row]) -> list[bool]:
    """Insert rows within a transaction; return which were new."""
    fresh: list[bool] = []
    size = rows_at_once(records)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        is_new = _insert_new(execute, records, part)
        fresh += [True] * len(part) if is_new else _insert_each(execute, records, part)
    return fresh


def _insert_new(execute: Execute, records: RecordTable, rows: Sequence[Row]) -> bool:
    """Insert rows by one statement; return False where one was there already, and then none is inserted."""
    try:
        execute(_insert_all(records, len(rows)), [value for row in rows for value in row])
    except sqlite3.IntegrityError:
        return False
    return True


def _insert_each(execute: Execute, records: RecordTable, rows: Sequence[Row]) -> list[bool]:
    """Insert rows one by one; return which were new. Where one is there already the earlier stays."""
    insert = _insert_all(records, 1)
    fresh = []
    for row in rows:
        fresh.append(execute(f"{insert} ON CONFLICT DO NOTHING", row).rowcount > 0)
        if not fresh[-1]:
            execute(f"{insert} {_on_conflict(records)}", row)
    return fresh


class GroupWrite:
    """
    The records of several requests.

    Attributes:
        fresh: For every record of every request, whether it was new; filled in by the writing.
    """

    def __init__(self, batches: Sequence[Sequence[EventRecord]]) -> None:
        self.fresh = [[False] * len(records) for records in batches]
        self._rows: dict[type, list[Row]] = {}
        self._places: dict[type, list[tuple[list[bool], int]]] = {}
        self._upserts: list[tuple[list[bool], int, EventRecord]] = []
        for flags, records in zip(self.fresh, batches, strict=True):
            for index, record in enumerate(records):
                kind = type(record)
                if kind in LOGGED:
                    self._rows.setdefault(kind, []).append(LOGGED[kind].row(record))
                    self._places.setdefault(kind, []).append((flags, index))
                else:
                    self._upserts.append((flags, index, record))

    def write_at_once(self, execute: Execute) -> bool:
        """Write by one statement, a transaction of its own; return False where that is not possible, and nothing is written."""
        if self._upserts or len(self._rows) != 1:
            return False
        ((kind, rows),) = self._rows.items()
        if len(rows) > rows_at_once(LOGGED[kind]) or not _insert_new(execute, LOGGED[kind], rows):
            return False
        self._note(kind, [True] * len(rows))
        return True

    def write(self, execute: Execute) -> None:
        """Write within a transaction."""
        for kind, rows in self._rows.items():
            self._note(kind, _insert_rows(execute, LOGGED[kind], rows))
        for flags, index, record in self._upserts:
            if isinstance(record, Order):
                flags[index] = _write_order(execute, record)
            elif isinstance(record, Refund):
                flags[index] = _write_refund(execute, record)

    def _note(self, kind: type, fresh: Sequence[bool]) -> None:
        for (flags, index), is_new in zip(self._places[kind], fresh, strict=True):
            flags[index] = is_new


_SUM_OF_REFUNDS = "SELECT ifnull(sum(refunded_minor), 0) FROM refunds WHERE shop = ? AND order_id = ?"
_ORDER_MARKS = ", ".join("?" * len(_ORDERS.columns))
_UPSERT_ORDER = (
    f"INSERT INTO orders ({', '.join(_ORDERS.columns)}, refunded_minor)"  # noqa: S608
    f" VALUES ({_ORDER_MARKS}, max(?, ({_SUM_OF_REFUNDS}))) {_on_conflict(_ORDERS)}"
)
_INSERT_LINE = f"{_insert('order_lines', LINE_COLUMNS)} ON CONFLICT DO NOTHING"
_UPSERT_REFUND = f"{_insert_all(_REFUNDS, 1)} {_on_conflict(_REFUNDS)}"
_APPLY_REFUNDS = (
    f"UPDATE orders SET refunded_minor = max(stated_refunded_minor, ({_SUM_OF_REFUNDS}))"  # noqa: S608
    " WHERE shop = ? AND order_id = ?"
)


def _write_order(execute: Execute, order: Order) -> bool:
    key = (order.shop, order.order_id)
    if not execute(_UPSERT_ORDER, (*_ORDERS.row(order), order.refunded_minor, *key)).rowcount:
        return False
    execute("DELETE FROM order_lines WHERE shop = ? AND order_id = ?", key)
    for row in line_rows(order):
        execute(_INSERT_LINE, row)
    return True


def _write_refund(execute: Execute, refund: Refund) -> bool:
    if not execute(_UPSERT_REFUND, _REFUNDS.row(refund)).rowcount:
        return False
    execute(_APPLY_REFUNDS, (refund.shop, refund.order_id) * 2)
    return True
