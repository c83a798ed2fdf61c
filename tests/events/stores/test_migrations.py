"""Stores of every earlier version open, and hold what they held."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from events import Refund, open_store
from events.stores.postgres.migrations import MIGRATIONS as POSTGRES
from events.stores.protocol import Rejected
from events.stores.sqlite.migrations import MIGRATIONS as SQLITE
from events.stores.sqlite.migrations import SCHEMA_VERSION
from events.stores.tables import TABLES, Table
from experiments import StoreError
from tests.events.examples import AT, exposure, order
from tests.support.postgres import PostgresServer

HERE = Path(__file__).parent  # first_*.sql are stores of the first versions with some rows; they never change


def first_sqlite(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((HERE / "first_sqlite.sql").read_text())
    return f"sqlite:///{path}"


def first_postgres(server: PostgresServer) -> str:
    url = server.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((HERE / "first_postgres.sql").read_text())
    return url


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_of_the_first_version_opens(kind: str, tmp_path: Path, postgres: PostgresServer) -> None:
    """Its rows are there, it takes new ones, and a second open changes nothing."""
    url = first_sqlite(tmp_path / "old.db") if kind == "sqlite" else first_postgres(postgres)
    counts = dict.fromkeys(("exposures", "interactions", "orders", "order_lines", "aliases", "epochs", "quarantine"), 1)
    for _ in range(2):
        with closing(open_store(url)) as store:
            assert store.counts() | counts == store.counts()
            assert store.secret("signing", "other") == "s3cret"
            keys = store.keys()
            assert [key.hint for key in keys] == ["sk_abc"]
            store.quarantine([Rejected(AT, "events", "wrong", "{}")])
            refund = Refund(order_id="o1", refund_id="r1", refunded_at_ms=AT, currency="USD", refunded_minor=250)
            other = refund.model_copy(update={"refund_id": "r2", "paid_minor": 260, "discrepancy_minor": 10})
            store.write([refund, other])
            refunded = 500 if kind == "sqlite" else 600  # PostgreSQL's first version has a refund of 100
            with store.snapshot() as fetch:
                assert list(fetch("SELECT refunded_minor, stated_refunded_minor FROM orders")) == [(refunded, 300)]
    with closing(open_store(url)) as store:
        store.announce_tally("ab", AT)
        store.write([order(1, AT + 1, 2000), exposure("later")])
        with store.snapshot() as fetch:
            assert list(fetch("SELECT gross_minor FROM orders")) == [(2000,)]
            assert list(fetch("SELECT unit_id, sign FROM late_exposures")) == [("later", 1)]


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path, postgres: PostgresServer) -> None:
    """One line says so; an older crosslift must not write what it does not know."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with closing(open_store(url)) as store, store._transaction() as execute:  # type: ignore[attr-defined]
        execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('crosslift', '999_later')")
    with pytest.raises(StoreError, match=r"a newer crosslift .schema 999_later"):
        open_store(url)
    url = postgres.new_database()
    with closing(open_store(url)) as store, store._transaction() as execute:  # type: ignore[attr-defined]
        execute("INSERT INTO crosslift_migrations VALUES ('999_later')")
    with pytest.raises(StoreError, match=r"a newer crosslift .schema 999_later"):
        open_store(url)


def declared(table: Table) -> list[tuple[str, str, bool]]:
    return sorted(
        (column.name, column.kind, column.nullable and column.name not in table.key) for column in table.columns
    )


@pytest.mark.parametrize("origin", ["new", "first version"])
def test_sqlite_has_the_declared_columns(origin: str, tmp_path: Path) -> None:
    """Names, types, keys and which may be null, after all migrations."""
    path = tmp_path / "events.db"
    url = f"sqlite:///{path}" if origin == "new" else first_sqlite(path)
    open_store(url).close()
    kinds = {"INTEGER": "integer", "TEXT": "text"}
    with closing(sqlite3.connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {name for name in tables if not name.startswith(("_", "sqlite"))} == {table.name for table in TABLES}
        for table in TABLES:
            columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
            stored = sorted((name, kinds[kind], not required) for _, name, kind, required, _, _ in columns)
            assert stored == declared(table), table.name
            key = sorted((position, name) for _, name, _, _, _, position in columns if position)
            assert tuple(name for _, name in key) == table.key


@pytest.mark.parametrize("origin", ["new", "first version"])
def test_postgresql_has_the_declared_columns(origin: str, postgres: PostgresServer) -> None:
    """Names, types, keys and which may be null, after all migrations."""
    url = postgres.new_database() if origin == "new" else first_postgres(postgres)
    open_store(url).close()
    kinds = {"bigint": "integer", "text": "text"}
    columns = (
        "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s"
    )
    keys = (
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)"
        " WHERE i.indisprimary AND i.indrelid = %s::regclass ORDER BY array_position(i.indkey::int[], a.attnum::int)"
    )
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert {name for (name,) in names} == {*(table.name for table in TABLES), "crosslift_migrations"}
        for table in TABLES:
            rows = connection.execute(columns, (table.name,)).fetchall()
            assert sorted((name, kinds[kind], null) for name, kind, null in rows) == declared(table), table.name
            key = connection.execute(keys, (table.name,)).fetchall()
            assert tuple(name for (name,) in key) == table.key


def test_every_column_has_a_meaning() -> None:
    """Which docs/schema.md says."""
    assert [f"{table.name}.{column.name}" for table in TABLES for column in table.columns if not column.meaning] == []


def test_migrations_are_applied_in_the_order_of_their_names() -> None:
    """A worker compares the newest name alone."""
    for names in (list(POSTGRES), list(SQLITE)):
        assert names == sorted(names)
    assert max(POSTGRES) == SCHEMA_VERSION
