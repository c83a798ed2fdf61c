"""Stores of every earlier version open, and hold what they held."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from events import Refund, open_store
from events.stores.postgres.migrations import MIGRATIONS
from events.stores.sql_store import TABLES
from events.stores.sqlite.migrations import MIGRATIONS as SQLITE_MIGRATIONS
from events.stores.sqlite.store import SCHEMA_VERSION
from experiments import StoreError
from tests.events.stores.test_store import AT, order
from tests.support.postgres import PostgresServer

FIRST = Path(__file__).parent / "first_schema.sql"  # dumped from a store of the first version; never changed


def test_a_store_of_the_first_version_opens(tmp_path: Path) -> None:
    """Its rows are there, it takes what is new, and a second open changes nothing."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST.read_text())
    for _ in range(2):
        with closing(open_store(f"sqlite:///{path}")) as store:
            held = {
                "exposures": 1,
                "interactions": 1,
                "orders": 1,
                "order_lines": 1,
                "aliases": 1,
                "epochs": 1,
                "quarantine": 1,
            }
            assert store.counts() | held == store.counts()
            assert store.secret("signing", "other") == "s3cret"
            keys = store.keys()
            assert [key["hint"] for key in keys] == ["sk_abc"]
            store.quarantine([(AT, "events", "wrong", "{}")])
            refund = Refund(order_id="o1", refund_id="r1", refunded_at_ms=AT, currency="USD", refunded_minor=250)
            store.write([refund, refund.model_copy(update={"refund_id": "r2"})])
            with store.snapshot() as fetch:
                assert list(fetch("SELECT refunded_minor, stated_refunded_minor FROM orders")) == [(500, 300)]
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.write([order(1, AT + 1, 2000)])
        with store.snapshot() as fetch:
            assert list(fetch("SELECT refunded_minor, gross_minor FROM orders")) == [(500, 2000)]


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path, postgres: PostgresServer) -> None:
    """One line says so; an older crosslift must not write what it does not know."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with closing(open_store(url)) as store, store._transaction() as execute:  # type: ignore[attr-defined]
        execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('crosslift', '999_later')")
    with pytest.raises(StoreError, match="999_later of a newer crosslift"):
        open_store(url)
    url = postgres.new_database()
    with closing(open_store(url)) as store, store._transaction() as execute:  # type: ignore[attr-defined]
        execute("INSERT INTO crosslift_migrations VALUES ('999_later')")
    with pytest.raises(StoreError, match="999_later of a newer crosslift"):
        open_store(url)


def test_both_stores_have_the_same_columns(tmp_path: Path, postgres: PostgresServer) -> None:
    """Under the same names; the documented schema names them all."""
    found = []
    for url in (f"sqlite:///{tmp_path / 'events.db'}", postgres.new_database()):
        with closing(open_store(url)) as store, store.snapshot() as fetch:
            if url.startswith("sqlite"):
                query = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
            else:
                query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            found.append({(table, column) for table, column in fetch(query) if "migrations" not in table})
    assert found[0] == found[1]
    assert {table for table, _ in found[0]} == {*TABLES, "keys", "secrets", "lakes", "kept_tallies", "late_exposures"}
    documented = (Path(__file__).parents[3] / "docs" / "schema.md").read_text()
    assert [f"{table}.{column}" for table, column in sorted(found[0]) if f"`{column}`" not in documented] == []


def test_the_version_is_the_last_migration() -> None:
    """What a worker compares, without loading the migrations."""
    assert max(one.name for one in SQLITE_MIGRATIONS.pending(Database(memory=True))) == SCHEMA_VERSION
    assert list(MIGRATIONS) == sorted(MIGRATIONS)
