"""The store for several servers: PostgreSQL through psycopg's pool, one statement for each table and group of records."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from events.records import EventRecord, Exposure, Interaction, Order, Refund
from events.stores.group_commit import GroupCommit
from events.stores.postgres.migrations import MIGRATIONS
from events.stores.protocol import Fetch
from events.stores.record_rows import LINE_COLUMNS, RECORD_TABLES, RecordTable, Row, line_rows
from events.stores.sql_store import Execute, SqlStore
from events.stores.tables import ORDER_LINES, Table
from events.stores.urls import PostgresUrl
from experiments.errors import StoreError

CONNECT_S = 5
WAIT_S = 2.0  # for a connection, while the database is away
CONNECTIONS = 4
COPIED = 50  # from so many rows on, COPY is faster than arrays
FETCHED_AT_ONCE = 10_000
# Our own advisory locks: what SQLite does one after another is done so here, and other statements do not wait for them.
_CATALOGUE_LOCK, _ORDERS_LOCK = 0x63726F73, 0x6C696674

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # failed requests report it already

Connection = psycopg.Connection[Row]
_ARRAYS = {"integer": "bigint[]", "text": "text[]"}


def _values(table: Table, columns: Sequence[str]) -> str:
    kinds = {column.name: column.kind for column in table.columns}
    arrays = ", ".join(f"%s::{_ARRAYS[kinds[name]]}" for name in columns)
    return f"unnest({arrays}) AS sent({', '.join(columns)})"


def _upsert(records: RecordTable, computed: Mapping[str, str] = {}) -> str:
    """Return the statement that upserts rows sent as arrays, and columns that are computed from them."""
    table = records.table
    named = ", ".join([*records.columns, *computed])
    selected = ", ".join([*records.columns, *computed.values()])
    return (
        f"INSERT INTO {table.name} ({named}) SELECT {selected} FROM {_values(table, records.columns)}"  # noqa: S608
        f" ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {records.changes} WHERE {records.wins}"
        # xmax is 0 in a row that is new
        f" RETURNING {', '.join(f'{table.name}.{name}' for name in table.key)}, {table.name}.xmax = 0"
    )


_SUM_OF_REFUNDS = (
    "SELECT coalesce(sum(refunded_minor), 0) FROM refunds"
    " WHERE refunds.shop = {0}.shop AND refunds.order_id = {0}.order_id"
)
_LINES = ", ".join(LINE_COLUMNS)
_INSERT_LINES = f"INSERT INTO order_lines ({_LINES}) SELECT {_LINES} FROM {_values(ORDER_LINES, LINE_COLUMNS)}"  # noqa: S608
_DELETE_LINES = (
    "DELETE FROM order_lines USING unnest(%s::text[], %s::text[]) AS sent(shop, order_id)"
    " WHERE order_lines.shop = sent.shop AND order_lines.order_id = sent.order_id"
)
_APPLY_REFUNDS = (
    f"UPDATE orders SET refunded_minor = greatest(stated_refunded_minor, ({_SUM_OF_REFUNDS.format('orders')}))"  # noqa: S608
    " FROM unnest(%s::text[], %s::text[]) AS sent(shop, order_id)"
    " WHERE orders.shop = sent.shop AND orders.order_id = sent.order_id"
)
_COMPUTED: Mapping[type, Mapping[str, str]] = {
    Order: {"refunded_minor": f"greatest(stated_refunded_minor, ({_SUM_OF_REFUNDS.format('sent')}))"},
}
_UPSERTS = {kind: _upsert(records, _COMPUTED.get(kind, {})) for kind, records in RECORD_TABLES.items()}


class PostgresStore(SqlStore):
    """The Store on PostgreSQL 13 or newer; several servers may migrate and write at once."""

    def __init__(self, url: PostgresUrl) -> None:
        _refuse_unreadable(url.text)
        self.url = url.label
        self._url = url.text
        self._groups = GroupCommit(self._commit)
        self._pool = ConnectionPool(
            url.text,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT_S,
            reconnect_timeout=WAIT_S,  # after it, every request that needs a connection tries again
            kwargs={"autocommit": True, "connect_timeout": CONNECT_S},
            open=False,
        )
        try:
            with psycopg.connect(url.text, autocommit=True, connect_timeout=CONNECT_S) as connection:
                _migrate(connection)
        except psycopg.Error as error:
            raise StoreError(f"{self.url}: cannot be opened: {_one_line(error)}") from None
        self._pool.open()

    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """Write records in one transaction, with those of other threads; see Store.write."""
        return self._groups.write(records, durable) if records else []

    def _commit(self, batches: Sequence[Sequence[EventRecord]], durable: bool) -> list[list[bool]]:
        records = [record for batch in batches for record in batch]
        fresh = iter(self._tried_twice(lambda connection: _write(connection, records, durable)))
        return [[next(fresh) for _ in batch] for batch in batches]

    def _tried_twice(self, work: Callable[[Connection], list[bool]]) -> list[bool]:
        """Try again on another connection: one from before a restart fails, and every write is idempotent."""
        try:
            with self._connection() as connection:
                return work(connection)
        except StoreError:
            self._pool.check()
        with self._connection() as connection:
            return work(connection)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError):
            raise  # a record's own fault
        except (psycopg.Error, PoolTimeout) as error:
            raise StoreError(f"{self.url}: {_one_line(error)}") from None

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        """Open a transaction; all that change anything but events run one after another."""
        with self._connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CATALOGUE_LOCK,))
            yield lambda query, values=(): connection.execute(_marked(query), values)

    def _wait_for_exposures(self, execute: Execute) -> None:
        execute("LOCK TABLE exposures IN SHARE ROW EXCLUSIVE MODE")

    @contextmanager
    def snapshot(self) -> Iterator[Fetch]:
        """Open one consistent view of all tables; rows come in a stream."""
        with self._connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

            def fetch(query: str, *values: object) -> Iterator[Row]:
                with connection.cursor("crosslift") as cursor:
                    cursor.itersize = FETCHED_AT_ONCE
                    yield from cursor.execute(_marked(query), values)

            yield fetch

    def backup(self, path: Path) -> None:
        """Copy the database with pg_dump, in its custom format, which `pg_restore` reads."""
        command = shutil.which("pg_dump")
        if command is None:
            raise StoreError(
                "backup: pg_dump is not installed: install PostgreSQL's client programs, of the server's version"
            )
        parts = psycopg.conninfo.conninfo_to_dict(self._url)
        password = parts.pop("password", None)  # passed in the environment: other users can see arguments
        environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})
        dsn = psycopg.conninfo.make_conninfo("", **{name: str(value) for name, value in parts.items()})
        arguments = [command, "--format=custom", "--no-owner", f"--file={path}", f"--dbname={dsn}"]
        process = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if process.returncode:
            raise StoreError(f"{path}: the backup cannot be written: {process.stderr.strip()}")

    def close(self) -> None:
        """Close the connections."""
        self._groups.close()
        self._pool.close()

    def _read(self, query: str, *values: object) -> list[Row]:
        with self._connection() as connection:
            return connection.execute(_marked(query), values).fetchall()


def _write(connection: Connection, records: Sequence[EventRecord], durable: bool) -> list[bool]:
    kind = type(records[0])
    if len(records) >= COPIED and kind in (Exposure, Interaction) and all(type(record) is kind for record in records):
        rows = sorted(map(RECORD_TABLES[kind].row, records))
        if _copy(connection, RECORD_TABLES[kind], rows, durable):
            return [True] * len(records)
    return _upsert_all(connection, records, durable)


def _copy(connection: Connection, table: RecordTable, rows: Sequence[Row], durable: bool) -> bool:
    """Write many rows the fastest way; return False where some were there already, and then nothing is written."""
    name, named = table.table.name, ", ".join(table.columns)
    with connection.transaction() as transaction:
        if not durable:
            connection.execute("SET LOCAL synchronous_commit TO off")
        connection.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS sent_{name} (LIKE {name}) ON COMMIT DELETE ROWS")
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY sent_{name} ({named}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            insert = f"INSERT INTO {name} ({named}) SELECT {named} FROM sent_{name} ON CONFLICT DO NOTHING"  # noqa: S608
            if cursor.execute(insert).rowcount == len(rows):
                return True
        raise psycopg.Rollback(transaction)
    return False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A row to be written, and the position of its record."""

    index: int
    values: Row


def _upsert_all(connection: Connection, records: Sequence[EventRecord], durable: bool) -> list[bool]:
    fresh = [False] * len(records)
    with connection.transaction():
        if not durable:
            connection.execute("SET LOCAL synchronous_commit TO off")
        if any(isinstance(record, (Order, Refund)) for record in records):
            # An order must see refunds that another process writes just now, and they the order.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ORDERS_LOCK,))
        for kind, table in RECORD_TABLES.items():
            sent = [_Sent(index, table.row(record)) for index, record in enumerate(records) if type(record) is kind]
            for batch in _unique_keys(sent, table):
                written = _upsert_batch(connection, _UPSERTS[kind], batch)
                for key, row in batch.items():
                    fresh[row.index] = key in written and (table.updates_count or written[key])
                _follow_up(connection, [records[batch[key].index] for key in written])
    return fresh


def _unique_keys(sent: Sequence[_Sent], table: RecordTable) -> Iterator[dict[Row, _Sent]]:
    """Split rows so that no part holds a key twice, which one upsert refuses; keys in order, so that writers never cross."""
    waiting = list(sent)
    while waiting:
        batch: dict[Row, _Sent] = {}
        later = [row for row in waiting if batch.setdefault(table.key_of(row.values), row) is not row]
        yield dict(sorted(batch.items(), key=itemgetter(0)))
        waiting = later


def _arrays(rows: Iterable[Row]) -> list[list[Any]]:
    """Return rows as one array for each column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _upsert_batch(connection: Connection, upsert: str, batch: Mapping[Row, _Sent]) -> dict[Row, bool]:
    """Return the keys that were written, and whether each was new."""
    written = connection.execute(upsert, _arrays(row.values for row in batch.values()))
    return {tuple(key): bool(is_new) for *key, is_new in written}


def _follow_up(connection: Connection, written: Sequence[EventRecord]) -> None:
    """Replace the lines of the orders that were written; add the refunds to their orders."""
    orders = [record for record in written if isinstance(record, Order)]
    refunds = [record for record in written if isinstance(record, Refund)]
    if refunds:
        connection.execute(_APPLY_REFUNDS, _arrays((refund.shop, refund.order_id) for refund in refunds))
    if orders:
        connection.execute(_DELETE_LINES, _arrays((order.shop, order.order_id) for order in orders))
    lines = [row for order in orders for row in line_rows(order)]
    if lines:
        connection.execute(_INSERT_LINES, _arrays(lines))


def _migrate(connection: Connection) -> None:
    """Apply the missing migrations; of several servers that start at once one does, and the others wait."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CATALOGUE_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS crosslift_migrations (name text PRIMARY KEY)")
        applied = {name for (name,) in connection.execute("SELECT name FROM crosslift_migrations")}
        newer = sorted(applied - set(MIGRATIONS))
        if newer:
            known = f"this one supports {max(MIGRATIONS)}"
            raise StoreError(f"the database: was written by a newer crosslift (schema {newer[-1]}; {known}): upgrade")
        for name, statements in MIGRATIONS.items():
            if name not in applied:
                connection.execute(statements)
                connection.execute("INSERT INTO crosslift_migrations VALUES (%s)", (name,))


def _marked(query: str) -> str:
    return query.replace("%", "%%").replace("?", "%s")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _refuse_unreadable(url: str) -> None:
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise StoreError(f"--store: must be postgresql://USER@HOST/DATABASE, got {_one_line(error)}") from None
