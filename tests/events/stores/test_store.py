"""The contract that every store keeps."""

import multiprocessing
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import Store, open_store
from events.records import EventRecord
from events.stores.protocol import Rejected
from experiments import StoreError
from tests.events.examples import AT, click, exposure, order, refund
from tests.support.postgres import PostgresServer

KEYS = {
    "exposures": "experiment, unit_id, variant",
    "interactions": "event_id",
    "orders": "shop, order_id",
    "order_lines": "shop, order_id, line_id",
    "refunds": "shop, order_id, refund_id",
}


def rows(store: Store, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """Read a table in the order of its key."""
    with store.snapshot() as fetch:
        return list(fetch(f"SELECT {columns} FROM {table} ORDER BY {KEYS[table]}"))


def test_a_new_record_is_distinguished_from_a_repeated_one(store: Store) -> None:
    """Across calls and within one."""
    assert store.write([exposure(), click(), order(), exposure(), click(), order()]) == [True] * 3 + [False] * 3
    assert store.write([order(), click(), exposure(), exposure("u2")]) == [False] * 3 + [True]
    assert store.counts() | {"exposures": 2, "interactions": 1, "orders": 1} == store.counts()


def test_the_earliest_exposure_is_kept(store: Store) -> None:
    """A later one changes nothing; an earlier one that arrives late replaces it, with attributes and epoch."""
    store.write([exposure(at=AT + 5, epoch=2, device="mobile"), exposure(at=AT + 9, epoch=3, device="desktop")])
    store.write([exposure(at=AT, epoch=1, device="tablet")])
    assert rows(store, "exposures") == [("ab", "u1", "a", 1, AT, '{"device": "tablet"}', 0)]


def test_the_newest_state_of_an_order_is_kept(store: Store) -> None:
    """With its lines; an older state that comes late changes nothing."""
    lines = [{"line_id": "1", "gross_minor": 600}, {"line_id": "2", "gross_minor": 400}]
    assert store.write([order(updated=AT + 2, refunded_minor=100, lines=lines[:1])]) == [True]
    assert store.write([order(updated=AT, lines=lines)]) == [False]
    assert [row[0] for row in rows(store, "orders", "refunded_minor")] == [100]
    assert [row[2] for row in rows(store, "order_lines")] == ["1"]
    assert store.write([order(updated=AT + 3, lines=lines)]) == [True]
    assert [row[2] for row in rows(store, "order_lines")] == ["1", "2"]


def test_a_browsers_state_never_replaces_the_shops(store: Store) -> None:
    """Whichever is newer, and whichever comes first; the shop's word makes an order verified."""
    said, forged = order(1, AT), order(1, AT + 5, gross=9999, verified=False)
    assert store.write([forged, said, forged]) == [True, True, False]
    store.write([said.model_copy(update={"order_id": "o2"}), forged.model_copy(update={"order_id": "o2"})])
    assert rows(store, "orders", "gross_minor, verified") == [(1000, 1)] * 2


def test_a_refund_keeps_what_was_paid_back(store: Store) -> None:
    """Besides the amount of its lines, which alone reduces revenue; a state with the payment wins over one without."""
    paid = refund(1, 100).model_copy(update={"paid_minor": 130, "discrepancy_minor": -20})
    store.write([order(), refund(1, 100), paid, refund(1, 100), refund(2, 5)])
    columns = "refund_id, refunded_minor, paid_minor, discrepancy_minor"
    assert rows(store, "refunds", columns) == [("r1", 100, 130, -20), ("r2", 5, None, None)]
    assert rows(store, "orders", "refunded_minor") == [(105,)]


def test_secrets_are_listed_by_how_their_names_begin(store: Store) -> None:
    """And can be removed; a name with a wildcard in it is only a name."""
    for name in ("a:1", "a:2", "b:1", "%"):
        store.secret(name, f"secret of {name}")
    assert store.secrets("a:") == {"a:1": "secret of a:1", "a:2": "secret of a:2"}
    assert list(store.secrets("%")) == ["%"]
    store.remove_secret("a:1")
    store.remove_secret("gone")
    assert list(store.secrets("a:")) == ["a:2"]


def test_a_write_is_whole_or_not_at_all(store: Store) -> None:
    """A record that the store refuses takes its whole request with it."""
    broken = order(2).model_copy(update={"gross_minor": "not a number"})
    with pytest.raises(StoreError):
        store.write([exposure(), order(1), broken])
    assert store.counts()["exposures"] == store.counts()["orders"] == 0
    assert store.write([exposure()]) == [True]


times = st.integers(AT, AT + 3)
history = st.lists(
    st.one_of(
        st.builds(
            lambda unit, variant, at, epoch, device: exposure(unit, variant, at, epoch, device=device),
            st.sampled_from(["u1", "u2"]),
            st.sampled_from("ab"),
            times,
            st.integers(1, 2),
            st.sampled_from(["mobile", "Ärmel", "\u0000"]),
        ),
        st.builds(
            lambda number, updated, gross, refunded, excluded, lines, verified: order(
                number,
                updated,
                gross,
                verified=verified,
                refunded_minor=refunded,
                excluded=excluded,
                cost_minor=gross or None,
                lines=[{"line_id": str(line), "gross_minor": gross} for line in range(lines)],
            ),
            st.integers(1, 2),
            times,
            st.integers(0, 2),
            st.integers(0, 150),
            st.sampled_from([None, "cancelled", "test"]),
            st.integers(0, 2),
            st.booleans(),
        ),
        st.builds(refund, st.integers(1, 2), st.integers(0, 100), times, st.integers(1, 2)),
        st.builds(
            lambda number, paid: refund(number).model_copy(update={"paid_minor": paid, "discrepancy_minor": paid}),
            st.integers(1, 2),
            st.sampled_from([None, 0, 7]),
        ),
        st.builds(
            lambda event_id, at, variant: click(event_id).model_copy(update={"occurred_at_ms": at, "variant": variant}),
            st.sampled_from(["e1", "e2"]),
            times,
            st.sampled_from("ab"),
        ),
    ),
    max_size=14,
)


@pytest.fixture(scope="session")
def both_stores(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[list[Store]]:
    """One store of each kind, for tests that empty them as they go."""
    folder = tmp_path_factory.mktemp("both")
    stores = [open_store(f"sqlite:///{folder / 'events.db'}"), open_store(postgres.new_database())]
    yield stores
    for store in stores:
        store.close()


def emptied(store: Store) -> Store:
    with store._transaction() as execute:  # type: ignore[attr-defined]
        for table in KEYS:
            execute(f"DELETE FROM {table}")
    return store


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    both_stores: list[Store], events: list[EventRecord], dice: random.Random
) -> None:
    """Shuffled, repeated and split, the same history gives the same tables, and the same ones in both stores."""
    tables = []
    for attempt, store in enumerate([*both_stores, *both_stores]):
        sent = list(events)
        if attempt:
            sent += dice.choices(events, k=3) if events else []
            dice.shuffle(sent)
        cuts = sorted(dice.randint(0, len(sent)) for _ in range(2))
        emptied(store)
        for part in (sent[: cuts[0]], sent[cuts[0] : cuts[1]], sent[cuts[1] :]):
            store.write(part)
        tables.append({table: rows(store, table) for table in KEYS})
    assert all(table == tables[0] for table in tables[1:])


def test_refunds_add_up_once(store: Store) -> None:
    """Besides what the order states, whichever comes first; a corrected refund replaces the old one."""

    def refunded() -> object:
        return rows(store, "orders", "refunded_minor")[0][0]

    assert store.write([refund(1, 100), order(refunded_minor=50), refund(2, 30), refund(1, 100)]) == [True] * 3 + [
        False
    ]
    assert refunded() == 130
    store.write([order(updated=AT + 1, refunded_minor=400)])
    assert refunded() == 400  # the order knows of more than the refunds that were sent
    store.write([refund(2, 500, at=AT + 5), order(updated=AT + 2)])
    assert refunded() == 600


def test_a_record_that_cannot_be_written_fails_alone(store: Store) -> None:
    """Requests share a transaction; the faulty one fails alone."""
    broken = order(2).model_copy(update={"gross_minor": "not a number"})
    together = threading.Barrier(8)
    failed: list[int] = []

    def send(number: int) -> None:
        together.wait()
        try:
            store.write([exposure(f"u{number}"), *([broken] if number == 3 else [])])
        except StoreError:
            failed.append(number)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [3]
    assert store.counts()["exposures"] == 7


def test_less_durable_writes_are_kept_all_the_same(store: Store) -> None:
    """Only a power cut may lose them; the next write is as durable as ever."""
    assert store.write([exposure("u1")], durable=False) == [True]
    assert store.write([exposure("u2")]) == [True]
    assert store.write([exposure("u1")]) == [False]


def test_a_repeated_payload_is_quarantined_once(store: Store) -> None:
    """Whoever sends the same broken thing again does not fill the disk."""
    store.quarantine(
        [Rejected(AT, "events", "wrong", '{"a": "\0"}'), Rejected(AT + 1, "events", "wrong", '{"a": "\0"}')]
    )
    store.quarantine([Rejected(AT + 2, "events", "still", '{"a": "\0"}'), Rejected(AT, "shopify", "wrong", "{}")])
    rows = store.quarantined()
    assert [(row.received_at_ms, row.source, row.reason) for row in rows] == [
        (AT, "events", "wrong"),
        (AT, "shopify", "wrong"),
    ]
    store.release([rows[0].id])
    assert [row.source for row in store.quarantined()] == ["shopify"]


def test_epochs_open_when_more_than_text_changes(store: Store) -> None:
    """The same declaration, or one with new words, stays in its epoch; going back opens a new one."""

    def declared(weight: int, title: str = "T") -> dict[str, object]:
        return {"key": "ab", "title": title, "variants": {"a": {"weight": weight, "offer": {"headline": title}}}}

    numbers = [
        store.open_epoch("ab", declared(weight, title), AT)
        for weight, title in [(1, "T"), (1, "T"), (1, "New"), (2, "T"), (2, "T"), (1, "T")]
    ]
    assert numbers == [1, 1, 1, 2, 2, 3]
    assert store.open_epoch("other", declared(2), AT) == 1


def _open_and_write(url: str, number: int) -> None:
    store = open_store(url)
    store.write([exposure(f"u{number}-{index}") for index in range(50)])
    store.close()


def test_several_processes_open_a_new_store_at_once(store_url: str) -> None:
    """One of them migrates, none fails, nothing is lost."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open_and_write, args=(store_url, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    store = open_store(store_url)
    assert store.counts()["exposures"] == 200
    store.close()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_store_is_durable_wal(store: Store) -> None:
    """Write-ahead log, synced at every commit."""
    store.write([exposure()])
    connection = store._connection  # type: ignore[attr-defined]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///", "crosslift.db", ""])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """In one line, with the forms that exist."""
    with pytest.raises(StoreError, match="--store: must be sqlite:///FILE"):
        open_store(url)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """It is not changed; and no missing folder is created."""
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not a database " * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:///{path}")
    assert path.read_text().startswith("these are notes")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/no/such/folder/x.db")
