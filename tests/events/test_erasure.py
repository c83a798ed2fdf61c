"""Forgetting a person, on both stores and in their lakes."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from events import Store, open_store
from events.lake import export
from events.stores.protocol import Rejected
from experiments import StoreError
from tests.events.examples import AT, DAY, click, exposure, history, lake_rows, order

Run = Callable[..., Result]


def sums(store: Store) -> list[object]:
    """Return sums that reports depend on."""
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
    answer = json.loads(done.output)
    assert answer["ids"] == 3
    assert answer["rows"] == {
        "exposures": 2,
        "interactions": 0,
        "orders": 1,
        "aliases": 1,
        "identities": 1,
        "quarantine": 1,
    }
    assert {Path(path).name: count for path, count in answer["lakes"].items()} == {"lake": 5, "other": 5}
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
