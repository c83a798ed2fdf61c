"""Export, forget, backup and prune, on both stores."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from click.testing import Result

from events import Order, Store, open_store
from events.lake import export
from events.records import EventRecord
from events.stores.protocol import Rejected
from experiments import StoreError
from tests.events.stores.test_store import AT, click, exposure, order, refund
from tests.support.postgres import PostgresServer

Run = Callable[..., Result]
DAY = 86_400_000


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


def history(days: int = 3) -> list[EventRecord]:
    """Something on each of some days, of visitors `visitor-0`, `visitor-1`, ..."""
    told: list[EventRecord] = []
    for day in range(days):
        unit, at = f"visitor-{day}", AT + day * DAY
        told += [
            exposure(unit, at=at, device="mobile", customer_id=f"customer-{day}"),
            click(f"{unit}:click").model_copy(update={"unit_id": unit, "occurred_at_ms": at}),
            order(
                day,
                at,
                1000 + day,
                unit_id=unit,
                customer_id=f"customer-{day}",
                ordered_at_ms=at,
                lines=[{"line_id": "1", "gross_minor": 1000 + day, "product_id": "p1"}],
            ),
            refund(1, 10, at, day),
        ]
    return told


def lake_rows(lake: Path, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """Read a table of the lake, as any engine does."""
    with closing(duckdb.connect()) as engine:
        query = (
            f"SELECT {columns} FROM read_parquet('{lake}/{table}/**/*.parquet', hive_partitioning=true) ORDER BY ALL"
        )
        return engine.execute(query).fetchall()


def files(lake: Path) -> dict[str, int]:
    return {str(path.relative_to(lake)): path.stat().st_mtime_ns for path in lake.rglob("*.parquet")}


def test_an_export_holds_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    """Every table, by day; and all files show one moment."""
    store.write(history())
    store.identify("phone", "customer-0", None, AT)
    done = export(store, tmp_path / "lake")
    assert (done.written, done.unchanged, done.removed) == (3 * 5 + 4, 0, 0)
    with store.snapshot() as fetch:
        for table in ("exposures", "interactions", "order_lines", "refunds", "identities"):
            stored = sorted(fetch(f"SELECT * FROM {table}"), key=repr)
            found = [row[: len(stored[0])] for row in lake_rows(tmp_path / "lake", table)]
            assert sorted(found, key=repr) == stored, table
    assert lake_rows(tmp_path / "lake", "orders", "order_id, refunded_minor, day::text") == [
        ("o0", 10, "2026-05-01"),
        ("o1", 10, "2026-05-02"),
        ("o2", 10, "2026-05-03"),
    ]


def test_only_days_that_changed_are_written_again(store: Store, tmp_path: Path) -> None:
    """A second export writes nothing; a refund of an old order writes its day; an order that moved leaves its old one."""
    lake = tmp_path / "lake"
    store.write(history())
    export(store, lake)
    before = files(lake)
    assert export(store, lake).written == 0
    assert files(lake) == before
    store.write([refund(2, 5, AT + 5 * DAY, 0)])
    changed = export(store, lake)
    assert (changed.written, changed.rows) == (2, 2)
    touched = {name for name, at in files(lake).items() if before.get(name) != at}
    assert touched == {"orders/day=2026-05-01/data.parquet", "refunds/day=2026-05-06/data.parquet"}
    moved = history()[2]
    assert isinstance(moved, Order)
    store.write([moved.model_copy(update={"ordered_at_ms": AT + DAY, "updated_at_ms": AT + DAY})])
    assert export(store, lake).removed == 2  # of orders and their lines
    assert [row[0] for row in lake_rows(lake, "orders", "order_id")] == ["o0", "o1", "o2"]
    (lake / "orders/day=2026-05-02/data.parquet").unlink()
    assert export(store, lake).written == 1


def test_a_lake_outlives_a_lost_manifest(store: Store, tmp_path: Path) -> None:
    """It is then written anew."""
    store.write(history(1))
    export(store, tmp_path / "lake")
    (tmp_path / "lake" / "manifest.json").write_text("{")
    assert export(store, tmp_path / "lake").written == 5 + 4


def test_two_exports_do_not_write_one_lake(store: Store, tmp_path: Path) -> None:
    """The second is told so."""

    def second(done: int, total: int) -> None:
        with pytest.raises(StoreError, match="another export is writing this lake"):
            export(store, tmp_path / "lake")

    store.write(history(1))
    export(store, tmp_path / "lake", second)


def sums(store: Store) -> list[object]:
    """Give what reports rest on."""
    queries = (
        "SELECT variant, COUNT(*), COUNT(DISTINCT unit_id) FROM exposures GROUP BY variant",
        "SELECT COUNT(*), COUNT(DISTINCT unit_id), COUNT(DISTINCT customer_id), SUM(gross_minor), SUM(refunded_minor) FROM orders",
        "SELECT COUNT(*) FROM exposures e JOIN orders o ON o.unit_id = e.unit_id",
        "SELECT COUNT(*), COUNT(DISTINCT event_id) FROM interactions",
        "SELECT COUNT(*) FROM aliases a JOIN identities i ON i.unit_id = a.unit_id",
    )
    with store.snapshot() as fetch:
        return [list(fetch(query)) for query in queries]


def test_a_forgotten_visitor_is_nowhere(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """Not in the store, its file, its log, the quarantine or the lakes; the sums stay as they were."""
    lake, other = tmp_path / "lake", tmp_path / "other"
    store.write(history())
    store.write([order(0, AT + 1, 900, unit_id="visitor-0", customer_id="customer-0", ordered_at_ms=AT)])
    store.identify("visitor-0", "customer-0", None, AT)
    store.identify("visitor-0-phone", "customer-0", None, AT)
    store.write([exposure("visitor-0-phone", at=AT + 5)])
    store.quarantine(
        [Rejected(AT, "events", "wrong", '{"visitor_id": "visitor-0"}'), Rejected(AT, "events", "wrong", '{"n": 1}')]
    )
    for folder in (lake, other):
        assert run("export", folder, "--store", store_url).exit_code == 0
    store.prune_interactions(AT + DAY)  # what only the lakes still hold
    before = sums(store)
    done = run("forget", "visitor-0", "--store", store_url, "--format", "json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["ids"] == 3
    assert told["rows"] == {
        "exposures": 2,
        "interactions": 0,
        "orders": 1,
        "aliases": 1,
        "identities": 1,
        "quarantine": 1,
    }
    assert {Path(path).name: count for path, count in told["lakes"].items()} == {"lake": 5, "other": 5}
    assert sums(store) == before
    assert store.counts()["quarantine"] == 1
    for folder in (lake, other):
        for table, columns in {"exposures": "unit_id, attributes", "orders": "unit_id, customer_id",
                               "interactions": "unit_id, event_id", "aliases": "*", "identities": "*"}.items():  # fmt: skip
            assert "visitor-0" not in str(lake_rows(folder, table, columns))
            assert "customer-0" not in str(lake_rows(folder, table, columns))
        assert len(lake_rows(folder, "interactions")) == 3
    if store_url.startswith("sqlite"):
        store.close()
        for path in tmp_path.glob("events.db*"):
            assert b"visitor-0" not in path.read_bytes(), path
            assert b"customer-0" not in path.read_bytes(), path


def test_an_order_that_comes_again_stays_forgotten(store: Store, store_url: str, run: Run) -> None:
    """A shop may send it again years later."""
    store.write(history(1))
    run("forget", "customer-0", "--store", store_url)
    assert store.write([order(0, AT + 9, 500, unit_id="visitor-0", customer_id="customer-0", ordered_at_ms=AT)]) == [
        True
    ]
    with store.snapshot() as fetch:
        ((unit, customer, gross),) = fetch("SELECT unit_id, customer_id, gross_minor FROM orders")
    assert (unit[:10], customer[:10], gross) == ("forgotten-", "forgotten-", 500)


def test_forgetting_refuses_what_it_cannot_do_whole(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """Nobody of that name; a lake that has moved."""
    store.write(history(1))
    nobody = run("forget", "nobody", "--store", store_url)
    assert (
        nobody.exit_code,
        "must be a visitor id or a customer id of stored events, got" in str(nobody.exception),
    ) == (2, True)
    run("export", tmp_path / "lake", "--store", store_url)
    (tmp_path / "lake").rename(tmp_path / "moved")
    moved = run("forget", "visitor-0", "--store", store_url)
    assert (
        moved.exit_code,
        "name its new place with --lake, and add --skip-missing-lakes" in str(moved.exception),
    ) == (2, True)
    assert store.person("visitor-0") == ["customer-0", "visitor-0"]
    options = ("--lake", tmp_path / "moved", "--skip-missing-lakes", "--store", store_url)
    assert "moved: 3 files rewritten" in run("forget", "visitor-0", *options).output
    assert store.lakes() == []


def test_pruned_interactions_stay_in_the_lake(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """Even when one more comes late for a day that was pruned."""
    store.write(history())
    export(store, tmp_path / "lake")
    done = run("prune", "--before", "2026-05-03", "--store", store_url)
    assert done.output == "2 interactions before 2026-05-03 deleted.\n"
    later = run("prune", "--before", "2999-01-01", "--store", store_url)
    assert (later.exit_code, "must not be in the future" in later.output) == (2, True)
    assert store.counts() | {"interactions": 1, "exposures": 3, "orders": 3} == store.counts()
    late = click("late").model_copy(update={"occurred_at_ms": AT})
    store.write([late, late.model_copy(update={"event_id": "later"})])
    for lost in (False, True):
        if lost:
            (tmp_path / "lake" / "manifest.json").unlink()
        export(store, tmp_path / "lake")
        assert len(lake_rows(tmp_path / "lake", "interactions")) == 3


def test_an_interaction_that_moves_to_another_day_leaves_its_old_one(store: Store, tmp_path: Path) -> None:
    """Its earlier copy came later; the lake holds it once, and loses what a lost manifest no longer names."""
    store.write([click("a").model_copy(update={"occurred_at_ms": AT + DAY})])
    export(store, tmp_path / "lake")
    store.write([click("a")])
    (tmp_path / "lake" / "manifest.json").unlink()
    export(store, tmp_path / "lake")
    assert lake_rows(tmp_path / "lake", "interactions", "event_id, day::text") == [("a", "2026-05-01")]


def test_what_is_known_of_the_forgotten_does_not_come_back(
    store: Store, tmp_path: Path, store_url: str, run: Run
) -> None:
    """By sending interactions or orders again, by an order's digest, or by the other id of an order."""
    store.write([click().model_copy(update={"unit_id": "anna"}), order(unit_id="anna"), exposure("anna")])
    export(store, tmp_path / "lake")
    assert run("forget", "anna", "--store", store_url).exit_code == 0
    store.write([click().model_copy(update={"unit_id": "anna", "occurred_at_ms": AT - 1})])
    store.write([order(updated=AT + 5, unit_id="anna", customer_id="c1")])
    with store.snapshot() as fetch:
        ((unit, customer, digest),) = fetch("SELECT unit_id, customer_id, digest FROM orders")
        ((clicker,),) = fetch("SELECT unit_id FROM interactions")
    assert (unit[:10], customer, digest, clicker[:10]) == ("forgotten-", None, "", "forgotten-")
    export(store, tmp_path / "lake")
    assert lake_rows(tmp_path / "lake", "interactions", "unit_id") == [(clicker,)]


def test_a_person_is_the_same_by_any_of_their_ids(store: Store) -> None:
    """A visitor id finds the customer, and with them their other devices."""
    store.identify("v1", "c", None, AT)
    store.write([order(1, customer_id="c", unit_id="v9"), exposure("v9"), exposure("v1")])
    assert store.person("v1") == store.person("c") == store.person("v9") == ["c", "v1", "v9"]
    assert store.person("nobody") == []


def test_a_short_id_is_not_a_quantity(store: Store, store_url: str, run: Run) -> None:
    """Customer 2 is forgotten; two pieces of somebody else's are not."""
    store.write([order(customer_id="2", unit_id="v"), exposure("v", n=2, customer_id=2)])
    store.quarantine([Rejected(AT, "events", "wrong", json.dumps(one)) for one in (
        {"visitor_id": "bob", "lines": [{"quantity": 2}]}, {"visitor_id": " v "}, {"customer_id": 2})])  # fmt: skip
    run("forget", "2", "--store", store_url)
    assert [json.loads(row.payload)["visitor_id"] for row in store.quarantined()] == ["bob"]
    with store.snapshot() as fetch:
        ((attributes,),) = fetch("SELECT attributes FROM exposures")
    assert json.loads(attributes)["n"] == 2
    assert json.loads(attributes)["customer_id"][:10] == "forgotten-"


def test_a_log_that_cannot_be_emptied_is_said(tmp_path: Path, run: Run) -> None:
    """While somebody reads, the old pages stay in SQLite's log."""
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with closing(open_store(url)) as store:
        store.write([exposure("anna")])
        store._connection.execute("PRAGMA busy_timeout = 100")  # type: ignore[attr-defined]
        with store.snapshot() as fetch:
            list(fetch("SELECT 1 FROM exposures"))
            with pytest.raises(StoreError, match="still holds them"):
                store.rename({"anna": "forgotten-1"}, [])


def test_a_damaged_file_of_a_lake_is_named(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """And nobody is forgotten by half."""
    store.write(history(1))
    export(store, tmp_path / "lake")
    (tmp_path / "lake/orders/day=2026-05-01/data.parquet").write_bytes(b"broken")
    result = run("forget", "visitor-0", "--store", store_url)
    assert (result.exit_code, "data.parquet: cannot be read" in str(result.exception)) == (2, True)
    assert "visitor-0" in store.person("visitor-0")


def test_a_backup_is_a_store(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """Made while others write; a file that is stored already is not overwritten."""
    store.write(history())
    path = tmp_path / "copy"
    done = run("backup", path, "--store", store_url)
    assert done.exit_code == 0, done.output
    store.write([exposure("later")])
    if store_url.startswith("sqlite"):
        with closing(open_store(f"sqlite:///{path}")) as copy:
            assert copy.counts()["exposures"] == 3
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    else:
        assert path.read_bytes()[:5] == b"PGDMP"
    again = run("backup", path, "--store", store_url)
    assert (again.exit_code, "must be a new file, got one that exists" in again.output) == (2, True)


def test_a_store_that_is_not_there_is_not_made(run: Run, tmp_path: Path) -> None:
    """By commands that have nothing to do in a new one."""
    url = f"sqlite:///{tmp_path / 'none.db'}"
    for command in (
        ("export", tmp_path / "lake"),
        ("backup", tmp_path / "b"),
        ("forget", "x"),
        ("prune", "--before", "2026-01-01"),
    ):
        result = run(*command, "--store", url)
        assert (result.exit_code, "must be a store that exists" in str(result.exception)) == (2, True)
    assert list(tmp_path.iterdir()) == []
