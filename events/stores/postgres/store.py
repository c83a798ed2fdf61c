"""The store for several servers: PostgreSQL through psycopg's pool, a statement for each table and group of records."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from events.records import EventRecord, Exposure, Interaction, Order, Refund
from events.stores.group_commit import GroupCommit
from events.stores.postgres.migrations import MIGRATIONS
from events.stores.protocol import Fetch
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
    SqlStore,
    attributes_text,
    is_integer,
    order_state,
    updates,
)
from events.stores.urls import PostgresUrl
from experiments.errors import StoreError

CONNECT_S = 5
WAIT_S = 2.0  # for a connection, while the database is away
CONNECTIONS = 4
COPIED = 50  # so many rows of one table are written faster by COPY than from arrays
FETCHED_AT_ONCE = 10_000
# Advisory locks of ours, so that what SQLite does one after another is done so here: other statements never wait for them.
_CATALOGUE_LOCK, _ORDERS_LOCK = 0x63726F73, 0x6C696674

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # the requests that fail say so already

Row = tuple[Any, ...]


def _values(columns: Sequence[str]) -> str:
    arrays = ("%s::bigint[]" if is_integer(name) else "%s::text[]" for name in columns)
    return f"unnest({', '.join(arrays)}) AS sent({', '.join(columns)})"


def _upsert(
    table: str, columns: Sequence[str], key: Sequence[str], changes: str, wins: str, worked_out: Mapping[str, str] = {}
) -> str:
    """Give the statement that upserts rows sent as arrays, and columns that are worked out of them."""
    named = ", ".join([*columns, *worked_out])
    selected = ", ".join([*columns, *worked_out.values()])
    return (
        f"INSERT INTO {table} ({named}) SELECT {selected} FROM {_values(columns)}"  # noqa: S608
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE {wins}"
        f" RETURNING {', '.join(f'{table}.{name}' for name in key)}, {table}.xmax = 0"  # xmax is 0 in a row that is new
    )


_REFUNDS = (
    "SELECT coalesce(sum(refunded_minor), 0) FROM refunds"
    " WHERE refunds.shop = {0}.shop AND refunds.order_id = {0}.order_id"
)
_INSERT_LINES = f"INSERT INTO order_lines ({', '.join(LINE)}) SELECT {', '.join(LINE)} FROM {_values(LINE)}"  # noqa: S608
_DELETE_LINES = (
    "DELETE FROM order_lines USING unnest(%s::text[], %s::text[]) AS sent(shop, order_id)"
    " WHERE order_lines.shop = sent.shop AND order_lines.order_id = sent.order_id"
)
_APPLY_REFUNDS = (
    f"UPDATE orders SET refunded_minor = greatest(stated_refunded_minor, ({_REFUNDS.format('orders')}))"  # noqa: S608
    " FROM unnest(%s::text[], %s::text[]) AS sent(shop, order_id)"
    " WHERE orders.shop = sent.shop AND orders.order_id = sent.order_id"
)


_UPSERT_ORDER = _upsert(
    "orders",
    ORDER_STATE,
    ("shop", "order_id"),
    ORDER_UPDATES,
    NEWER_ORDER,
    {"refunded_minor": f"greatest(stated_refunded_minor, ({_REFUNDS.format('sent')}))"},
)


@dataclass(frozen=True)
class _Table:
    """How records of one kind are written: rows, a statement that gives the keys it wrote, and what follows from it."""

    name: str
    columns: Sequence[str]
    key: slice
    row: Callable[[Any], Row]
    upsert: str
    updates_count: bool  # whether a changed row counts as new


_exposure_values = attrgetter(*EXPOSURE[:5])
_TABLES: dict[type, _Table] = {
    Exposure: _Table(
        "exposures",
        EXPOSURE,
        slice(0, 3),
        lambda one: (*_exposure_values(one), attributes_text(one.attributes), int(one.bot)),
        _upsert("exposures", EXPOSURE, EXPOSURE[:3], updates(EXPOSURE[3:]), EARLIER_EXPOSURE),
        updates_count=False,
    ),
    Interaction: _Table(
        "interactions",
        INTERACTION,
        slice(0, 1),
        attrgetter(*INTERACTION),
        _upsert("interactions", INTERACTION, INTERACTION[:1], updates(INTERACTION[1:]), EARLIER_INTERACTION),
        updates_count=False,
    ),
    Order: _Table("orders", ORDER_STATE, slice(0, 2), order_state, _UPSERT_ORDER, updates_count=True),
    Refund: _Table(
        "refunds",
        REFUND,
        slice(0, 3),
        attrgetter(*REFUND),
        _upsert("refunds", REFUND, REFUND[:3], updates(REFUND[3:]), NEWER_REFUND),
        updates_count=True,
    ),
}


class PostgresStore(SqlStore):
    """The Store on PostgreSQL 13 or newer; safe for several servers, which migrate and write at once."""

    def __init__(self, url: PostgresUrl) -> None:
        _refuse_unreadable(url.text)
        self.url = url.shown
        self._url = url.text
        self._groups = GroupCommit(self._commit)
        self._pool = ConnectionPool(
            url.text,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT_S,
            reconnect_timeout=WAIT_S,  # after it, every request that wants a connection tries again
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
        """Write records in one transaction, with those of other threads; Store.write says what is kept."""
        return self._groups.write(records, durable) if records else []

    def _commit(self, batches: Sequence[Sequence[EventRecord]], durable: bool) -> list[list[bool]]:
        records = [record for batch in batches for record in batch]
        fresh = iter(self._tried_twice(lambda connection: _write(connection, records, durable)))
        return [[next(fresh) for _ in batch] for batch in batches]

    def _tried_twice(self, work: Callable[["psycopg.Connection[Row]"], list[bool]]) -> list[bool]:
        """Try again on another connection: one that has idled since a restart fails, and every write is idempotent."""
        try:
            with self._connection() as connection:
                return work(connection)
        except StoreError:
            self._pool.check()
        with self._connection() as connection:
            return work(connection)

    @contextmanager
    def _connection(self) -> Iterator["psycopg.Connection[Row]"]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError):
            raise  # a record's own fault
        except (psycopg.Error, PoolTimeout) as error:
            raise StoreError(f"{self.url}: {_one_line(error)}") from None

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        """Open a transaction; those who change anything but events come one after another."""
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
        """Let pg_dump copy the database, in its custom format: `pg_restore` brings it back."""
        command = shutil.which("pg_dump")
        if command is None:
            raise StoreError("backup: found no pg_dump; wanted PostgreSQL's client programs, of the server's version")
        parts = psycopg.conninfo.conninfo_to_dict(self._url)
        password = parts.pop("password", None)  # goes by the environment: arguments can be seen by all
        environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})
        dsn = psycopg.conninfo.make_conninfo("", **{name: str(value) for name, value in parts.items()})
        arguments = [command, "--format=custom", "--no-owner", f"--file={path}", f"--dbname={dsn}"]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise StoreError(f"{path}: the backup cannot be written: {done.stderr.strip()}")

    def close(self) -> None:
        """Close the connections."""
        self._groups.close()
        self._pool.close()

    def _read(self, query: str, *values: object) -> list[Row]:
        with self._connection() as connection:
            return connection.execute(_marked(query), values).fetchall()


def _write(connection: "psycopg.Connection[Row]", records: Sequence[EventRecord], durable: bool) -> list[bool]:
    kind = type(records[0])
    if len(records) >= COPIED and kind in (Exposure, Interaction) and all(type(record) is kind for record in records):
        rows = sorted(map(_TABLES[kind].row, records))
        if _copy(connection, _TABLES[kind], rows, durable):
            return [True] * len(records)
    return _upsert_all(connection, records, durable)


def _copy(connection: "psycopg.Connection[Row]", table: _Table, rows: Sequence[Row], durable: bool) -> bool:
    """Write many rows the fastest way; False where some were there already, and then nothing is written."""
    sent, named = f"sent_{table.name}", ", ".join(table.columns)
    with connection.transaction() as transaction:
        if not durable:
            connection.execute("SET LOCAL synchronous_commit TO off")
        connection.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {sent} (LIKE {table.name}) ON COMMIT DELETE ROWS")
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {sent} ({named}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            insert = f"INSERT INTO {table.name} ({named}) SELECT {named} FROM {sent} ON CONFLICT DO NOTHING"  # noqa: S608
            if cursor.execute(insert).rowcount == len(rows):
                return True
        raise psycopg.Rollback(transaction)
    return False


def _upsert_all(connection: "psycopg.Connection[Row]", records: Sequence[EventRecord], durable: bool) -> list[bool]:
    fresh = [False] * len(records)
    with connection.transaction():
        if not durable:
            connection.execute("SET LOCAL synchronous_commit TO off")
        if any(isinstance(record, (Order, Refund)) for record in records):
            # An order must see refunds that another process writes just now, and they the order.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ORDERS_LOCK,))
        for kind, table in _TABLES.items():
            mine = [index for index, record in enumerate(records) if type(record) is kind]
            for round_ in _rounds(mine, [table.row(records[index]) for index in mine], table.key):
                written = _upsert_round(connection, table, round_)
                for key, index in round_.items():
                    fresh[index[0]] = key in written and (table.updates_count or written[key])
                _follow_up(connection, kind, records, [round_[key] for key in written])
    return fresh


def _rounds(indices: Sequence[int], rows: Sequence[Row], key: slice) -> Iterator[dict[Row, tuple[int, Row]]]:
    """Split rows so that none holds a key twice, which one upsert refuses; keys in order, so that writers never cross."""
    waiting = list(zip(indices, rows, strict=True))
    while waiting:
        round_: dict[Row, tuple[int, Row]] = {}
        later = []
        for index, row in waiting:
            if row[key] in round_:
                later.append((index, row))
            else:
                round_[row[key]] = (index, row)
        yield dict(sorted(round_.items()))
        waiting = later


def _upsert_round(
    connection: "psycopg.Connection[Row]", table: _Table, round_: dict[Row, tuple[int, Row]]
) -> dict[Row, bool]:
    """Give the keys that were written, and whether each was new."""
    columns = [list(column) for column in zip(*(row for _, row in round_.values()), strict=True)]
    return {tuple(row[:-1]): bool(row[-1]) for row in connection.execute(table.upsert, columns)}


def _follow_up(
    connection: "psycopg.Connection[Row]",
    kind: type,
    records: Sequence[EventRecord],
    written: Sequence[tuple[int, Row]],
) -> None:
    """Replace the lines of the orders that were written; count the refunds into their orders."""
    if kind not in (Order, Refund) or not written:
        return
    keys = [list(column) for column in zip(*(row[:2] for _, row in written), strict=True)]
    if kind is Refund:
        connection.execute(_APPLY_REFUNDS, keys)
        return
    connection.execute(_DELETE_LINES, keys)
    lines = [
        (*row[:2], *(getattr(line, name) for name in LINE[2:]))
        for index, row in written
        for line in records[index].lines  # type: ignore[union-attr]
    ]
    if lines:
        connection.execute(_INSERT_LINES, [list(column) for column in zip(*lines, strict=True)])


def _migrate(connection: "psycopg.Connection[Row]") -> None:
    """Apply what is missing; of several servers that start at once one does, and the others wait."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CATALOGUE_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS crosslift_migrations (name text PRIMARY KEY)")
        applied = {name for (name,) in connection.execute("SELECT name FROM crosslift_migrations")}
        newer = sorted(applied - set(MIGRATIONS))
        if newer:
            raise StoreError(
                f"the database: found the schema {newer[-1]} of a newer crosslift; wanted {max(MIGRATIONS)} or older"
            )
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
