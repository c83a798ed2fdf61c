"""
What a group of records becomes in SQLite: as few statements as can be.

Between two statements the interpreter's lock changes hands, and with busy threads around it comes back late, while every other
process waits for this one's commit. Exposures and interactions that are new, nearly all of them, take one statement together.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from events.records import EventRecord, Exposure, Interaction, Order
from events.stores.sql_store import (
    EARLIER_EXPOSURE,
    EARLIER_INTERACTION,
    EXPOSURE,
    INTERACTION,
    LINE,
    NEWER_ORDER,
    NEWER_REFUND,
    ORDER_STATE,
    ORDER_UPDATES,
    REFUND,
    Execute,
    attributes_text,
    order_state,
    updates,
)

VALUES = 32_000  # a statement may bind a few more
Row = tuple[Any, ...]


@dataclass(frozen=True)
class _Table:
    """
    A table of what was logged once; its key is the first of its columns.

    Attributes:
        name, columns: As in the schema.
        key_size: How many columns the key has.
        row: Gives a record's values.
        wins: When a row takes the place of the one that has its key.
    """

    name: str
    columns: tuple[str, ...]
    key_size: int
    row: Callable[[Any], Row]
    wins: str

    @property
    def rows_at_once(self) -> int:
        """Give how many rows one statement takes."""
        return VALUES // len(self.columns)

    def insert(self, execute: Execute, rows: Sequence[Row]) -> list[bool]:
        """Insert rows within a transaction, and tell which were new."""
        fresh: list[bool] = []
        for start in range(0, len(rows), self.rows_at_once):
            part = rows[start : start + self.rows_at_once]
            fresh += [True] * len(part) if self.insert_new(execute, part) else self.insert_each(execute, part)
        return fresh

    def insert_new(self, execute: Execute, rows: Sequence[Row]) -> bool:
        """Insert rows by one statement; False where one was there already, and then none is inserted."""
        try:
            execute(_insert_all(self, len(rows)), [value for row in rows for value in row])
        except sqlite3.IntegrityError:
            return False
        return True

    def insert_each(self, execute: Execute, rows: Sequence[Row]) -> list[bool]:
        """Insert rows one by one, and tell which were new; where one is there already the earlier is kept."""
        key = ", ".join(self.columns[: self.key_size])
        changes = updates(self.columns[self.key_size :])
        keep_earlier = f"{_insert_all(self, 1)} ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE {self.wins}"
        fresh = []
        for row in rows:
            fresh.append(execute(f"{_insert_all(self, 1)} ON CONFLICT DO NOTHING", row).rowcount > 0)
            if not fresh[-1]:
                execute(keep_earlier, row)
        return fresh


@lru_cache(maxsize=1024)
def _insert_all(table: _Table, rows: int) -> str:
    values = f"({', '.join('?' * len(table.columns))})"
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES {', '.join([values] * rows)}"  # noqa: S608


_exposure_values = attrgetter(*EXPOSURE[:5])


def _exposure_row(record: Exposure) -> Row:
    return (*_exposure_values(record), attributes_text(record.attributes), record.bot)


_TABLES: Mapping[type, _Table] = {
    Exposure: _Table("exposures", EXPOSURE, 3, _exposure_row, EARLIER_EXPOSURE),
    Interaction: _Table("interactions", INTERACTION, 1, attrgetter(*INTERACTION), EARLIER_INTERACTION),
}


class Group:
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
                if kind in _TABLES:
                    self._rows.setdefault(kind, []).append(_TABLES[kind].row(record))
                    self._places.setdefault(kind, []).append((flags, index))
                else:
                    self._upserts.append((flags, index, record))

    def write_at_once(self, execute: Execute) -> bool:
        """Write by one statement, a transaction of its own; False where that cannot be, and nothing is written."""
        if self._upserts or len(self._rows) != 1:
            return False
        ((kind, rows),) = self._rows.items()
        table = _TABLES[kind]
        if len(rows) > table.rows_at_once or not table.insert_new(execute, rows):
            return False
        self._note(kind, [True] * len(rows))
        return True

    def write(self, execute: Execute) -> None:
        """Write within a transaction."""
        for kind, rows in self._rows.items():
            self._note(kind, _TABLES[kind].insert(execute, rows))
        for flags, index, record in self._upserts:
            flags[index] = (
                _write_order(execute, record) if isinstance(record, Order) else _write_refund(execute, record)
            )

    def _note(self, kind: type, fresh: Sequence[bool]) -> None:
        for (flags, index), one in zip(self._places[kind], fresh, strict=True):
            flags[index] = one


def _insert(table: str, columns: Sequence[str], conflict: str, last: str = "?") -> str:
    values = ", ".join([*["?"] * (len(columns) - 1), last])
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT {conflict}"  # noqa: S608


_REFUNDS = "SELECT ifnull(sum(refunded_minor), 0) FROM refunds WHERE shop = ? AND order_id = ?"
_UPSERT_ORDER = _insert(
    "orders",
    (*ORDER_STATE, "refunded_minor"),
    f"(shop, order_id) DO UPDATE SET {ORDER_UPDATES} WHERE {NEWER_ORDER}",
    last=f"max(?, ({_REFUNDS}))",
)
_INSERT_LINE = _insert("order_lines", LINE, "DO NOTHING")
_UPSERT_REFUND = _insert(
    "refunds", REFUND, f"(shop, order_id, refund_id) DO UPDATE SET {updates(REFUND[3:])} WHERE {NEWER_REFUND}"
)
_APPLY_REFUNDS = (
    f"UPDATE orders SET refunded_minor = max(stated_refunded_minor, ({_REFUNDS})) WHERE shop = ? AND order_id = ?"  # noqa: S608
)
_line_values = attrgetter(*LINE[2:])
_refund_row = attrgetter(*REFUND)


def _write_order(execute: Execute, record: Order) -> bool:
    key = (record.shop, record.order_id)
    if not execute(_UPSERT_ORDER, (*order_state(record), record.refunded_minor, *key)).rowcount:
        return False
    execute("DELETE FROM order_lines WHERE shop = ? AND order_id = ?", key)
    for line in record.lines:
        execute(_INSERT_LINE, (*key, *_line_values(line)))
    return True


def _write_refund(execute: Execute, record: EventRecord) -> bool:
    row = _refund_row(record)
    if not execute(_UPSERT_REFUND, row).rowcount:
        return False
    execute(_APPLY_REFUNDS, (*row[:2], *row[:2]))
    return True
