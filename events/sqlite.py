"""The embedded store: one SQLite file in WAL mode, durable at every commit."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from events.records import AnyRecord, Exposure, Interaction, Order
from experiments.declaration import material
from experiments.errors import StoreError

SCHEMA_VERSION = "002_identities"  # the last migration of events/schema.py
BUSY_S = 10.0  # how long a writer waits for another process

_EXPOSURE = ("experiment", "unit_id", "variant", "epoch", "exposed_at_ms", "attributes", "bot")
_INTERACTION = tuple(Interaction.model_fields)
_ORDER = tuple(name for name in Order.model_fields if name != "lines")
_LINE = ("shop", "order_id", "line_id", "product_id", "sku", "quantity", "gross_minor", "discount_minor",
         "refunded_minor", "cost_minor", "offer_experiment", "offer_variant", "bundle_id")  # fmt: skip
_TABLES = ("exposures", "interactions", "orders", "order_lines", "aliases", "identities", "epochs", "quarantine")


def _insert(table: str, columns: Sequence[str], conflict: str) -> str:
    named = ", ".join(columns)
    return f"INSERT INTO {table} ({named}) VALUES ({', '.join('?' * len(columns))}) ON CONFLICT {conflict}"  # noqa: S608


_INSERT_EXPOSURE = _insert("exposures", _EXPOSURE, "DO NOTHING")
_EARLIER_EXPOSURE = (  # of two at the same time, the same one whichever came first
    "UPDATE exposures SET epoch = ?, exposed_at_ms = ?, attributes = ?, bot = ?"
    " WHERE experiment = ? AND unit_id = ? AND variant = ?"
    " AND (?, ?, ?, ?) < (exposed_at_ms, epoch, attributes, bot)"
)
_INSERT_INTERACTION = _insert("interactions", _INTERACTION, "DO NOTHING")
_INSERT_LINE = _insert("order_lines", _LINE, "DO NOTHING")


def _state(table: str) -> str:
    """Give an order's state as a row value: the newest wins, and of two as new the one with more refunded."""
    first = ("updated_at_ms", "refunded_minor")
    others = [f"ifnull({table}.{name}, '')" for name in _ORDER[2:] if name not in first]
    return f"({', '.join([*(f'{table}.{name}' for name in first), *others])})"


_UPSERT_ORDER = _insert(
    "orders",
    _ORDER,
    "(shop, order_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _ORDER[2:])
    + f" WHERE {_state('excluded')} > {_state('orders')}",
)


class SqliteStore:
    """The Store on SQLite; one connection, shared by the threads of a process behind a lock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = url.removeprefix("sqlite:///")
        self._lock = threading.Lock()
        try:
            self._connection = self._connect()
            self._enter_wal()
            self._connection.execute("PRAGMA synchronous = FULL")
            if not self._is_current():
                self._migrate()
            self._reading = self._connect()  # readers of a WAL wait for no writer
        except sqlite3.Error as error:
            raise StoreError(f"{url}: cannot be opened: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)

    def _enter_wal(self) -> None:
        """Change to the write-ahead log; where several processes do so at once, SQLite fails instead of waiting."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def write(self, records: Sequence[AnyRecord]) -> list[bool]:
        """Write records in one transaction; Store.write says what is kept."""
        with self._transaction() as execute:
            return [_WRITERS[type(record)](execute, record) for record in records]

    def open_epoch(self, experiment: str, declaration: Mapping[str, Any], declared_at_ms: int) -> int:
        """Give the number of the declaration's epoch, opening a new one where it differs in more than its texts."""
        newest = "SELECT epoch, declaration FROM epochs WHERE experiment = ? ORDER BY epoch DESC LIMIT 1"
        with self._transaction() as execute:
            row = execute(newest, (experiment,)).fetchone()
            if row and json.dumps(material(json.loads(row[1]))) == json.dumps(material(declaration)):
                return int(row[0])
            number = int(row[0]) + 1 if row else 1
            text = json.dumps(declaration, ensure_ascii=False)
            execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (experiment, number, declared_at_ms, text))
        return number

    def newest_epoch(self, experiment: str) -> int | None:
        """Give the number of an experiment's newest epoch."""
        row = self._read("SELECT MAX(epoch) FROM epochs WHERE experiment = ?", experiment)[0]
        return None if row[0] is None else int(row[0])

    def identify(self, visitor_id: str, customer_id: str, company_id: str | None, linked_at_ms: int) -> str:
        """Link a visitor to a customer; Store.identify says how."""
        with self._transaction() as execute:
            alias = execute("SELECT unit_id FROM aliases WHERE visitor_id = ?", (visitor_id,)).fetchone()
            visitor_unit = str(alias[0]) if alias else visitor_id
            known = execute("SELECT unit_id FROM identities WHERE customer_id = ?", (customer_id,)).fetchone()
            if known is None:
                execute(
                    "INSERT INTO identities VALUES (?, ?, ?, ?)", (customer_id, visitor_unit, company_id, linked_at_ms)
                )
                return visitor_unit
            if company_id is not None:
                execute("UPDATE identities SET company_id = ? WHERE customer_id = ?", (company_id, customer_id))
            unit_id = str(known[0])
            shared = execute(
                "SELECT 1 FROM identities WHERE unit_id = ? AND customer_id <> ?", (visitor_unit, customer_id)
            )
            if alias is None and visitor_id != unit_id and shared.fetchone() is None:
                execute("INSERT INTO aliases VALUES (?, ?, ?)", (visitor_id, unit_id, linked_at_ms))
        return unit_id

    def quarantine(self, rows: Iterable[tuple[int, str, str, str]]) -> None:
        """Keep what could not be understood."""
        with self._transaction() as execute:
            for row in rows:
                execute("INSERT INTO quarantine (received_at_ms, source, reason, payload) VALUES (?, ?, ?, ?)", row)

    def add_key(self, digest: str, kind: str, hint: str, created_at_ms: int) -> None:
        """Keep an API key by its SHA-256."""
        with self._transaction() as execute:
            execute("INSERT INTO keys VALUES (?, ?, ?, ?, NULL)", (digest, kind, hint, created_at_ms))

    def revoke_key(self, hint: str, revoked_at_ms: int) -> int:
        """Revoke the keys with a hint; give how many there were."""
        with self._transaction() as execute:
            update = "UPDATE keys SET revoked_at_ms = ? WHERE hint = ? AND revoked_at_ms IS NULL"
            return execute(update, (revoked_at_ms, hint)).rowcount

    def keys(self) -> list[dict[str, Any]]:
        """Give the keys, the oldest first."""
        columns = ("digest", "kind", "hint", "created_at_ms", "revoked_at_ms")
        rows = self._read(
            "SELECT digest, kind, hint, created_at_ms, revoked_at_ms FROM keys ORDER BY created_at_ms, kind"
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def secret(self, name: str, fresh: str) -> str:
        """Give a stored secret; `fresh` is stored and given where there is none yet."""
        with self._transaction() as execute:
            execute("INSERT INTO secrets VALUES (?, ?) ON CONFLICT DO NOTHING", (name, fresh))
            return str(execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Give the number of rows of every table."""
        return {table: int(self._read(f"SELECT COUNT(*) FROM {table}")[0][0]) for table in _TABLES}  # noqa: S608

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._reading.close()
            self._connection.close()

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._reading.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.url}: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Hold the write lock of the file from the start, so that a transaction never fails half-way for want of it."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"{self.url}: {error}") from None
            finally:
                if self._connection.in_transaction:  # a full disk has rolled back by itself
                    self._connection.execute("ROLLBACK")

    def _is_current(self) -> bool:
        try:
            query = "SELECT 1 FROM _sqlite_migrations WHERE migration_set = 'crosslift' AND name = ?"
            return self._connection.execute(query, (SCHEMA_VERSION,)).fetchone() is not None
        except sqlite3.OperationalError:  # a file without our tables
            return False

    def _migrate(self) -> None:
        # Imported late: sqlite-utils loads pandas where it is installed, and a server's workers never migrate.
        from sqlite_utils import Database

        from events.schema import MIGRATIONS

        with self._transaction():  # of several processes that start at once, one migrates and the others wait
            if not self._is_current():
                MIGRATIONS.apply(Database(self._connection, execute_plugins=False))


def _write_exposure(execute: Callable[..., sqlite3.Cursor], record: Exposure) -> bool:
    key = (record.experiment, record.unit_id, record.variant)
    state = (record.epoch, record.exposed_at_ms, json.dumps(record.attributes, ensure_ascii=False), int(record.bot))
    if execute(_INSERT_EXPOSURE, (*key, *state)).rowcount:
        return True
    epoch, exposed_at_ms, attributes, bot = state
    execute(_EARLIER_EXPOSURE, (*state, *key, exposed_at_ms, epoch, attributes, bot))
    return False


def _write_interaction(execute: Callable[..., sqlite3.Cursor], record: Interaction) -> bool:
    return execute(_INSERT_INTERACTION, attrgetter(*_INTERACTION)(record)).rowcount > 0


def _write_order(execute: Callable[..., sqlite3.Cursor], record: Order) -> bool:
    if not execute(_UPSERT_ORDER, attrgetter(*_ORDER)(record)).rowcount:
        return False
    execute("DELETE FROM order_lines WHERE shop = ? AND order_id = ?", (record.shop, record.order_id))
    for line in record.lines:
        execute(_INSERT_LINE, (record.shop, record.order_id, *attrgetter(*_LINE[2:])(line)))
    return True


_WRITERS: Mapping[type, Callable[..., bool]] = {
    Exposure: _write_exposure,
    Interaction: _write_interaction,
    Order: _write_order,
}
