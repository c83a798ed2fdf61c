"""The contract that every store keeps."""

import multiprocessing
import random
import sqlite3
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import Exposure, Interaction, Order, Store, open_store
from experiments import StoreError

AT = 1_777_636_800_000


def exposure(unit: str = "u1", variant: str = "a", at: int = AT, epoch: int = 1, **attributes: object) -> Exposure:
    return Exposure(
        experiment="ab", unit_id=unit, variant=variant, epoch=epoch, exposed_at_ms=at, attributes=attributes
    )


def order(number: int = 1, updated: int = AT, gross: int = 1000, **fields: object) -> Order:
    told = {
        "order_id": f"o{number}",
        "unit_id": "u1",
        "ordered_at_ms": AT,
        "updated_at_ms": updated,
        "gross_minor": gross,
    }
    return Order.model_validate({"currency": "USD", **told, **fields})


def click(event_id: str = "e1") -> Interaction:
    return Interaction(event_id=event_id, kind="click", experiment="ab", variant="a", unit_id="u1", occurred_at_ms=AT)


def rows(store: Store, table: str) -> list[tuple[object, ...]]:
    """Read a table as another process would."""
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
    connection.close()
    return found


def test_a_new_record_is_told_from_a_repeated_one(store: Store) -> None:
    """Across calls and within one."""
    assert store.write([exposure(), click(), order(), exposure(), click(), order()]) == [True] * 3 + [False] * 3
    assert store.write([order(), click(), exposure(), exposure("u2")]) == [False] * 3 + [True]
    assert store.counts() | {"exposures": 2, "interactions": 1, "orders": 1} == store.counts()


def test_the_earliest_exposure_is_kept(store: Store) -> None:
    """A later one changes nothing; an earlier one that comes late takes its place, attributes and epoch included."""
    store.write([exposure(at=AT + 5, epoch=2, device="mobile"), exposure(at=AT + 9, epoch=3, device="desktop")])
    store.write([exposure(at=AT, epoch=1, device="tablet")])
    assert rows(store, "exposures") == [("ab", "u1", "a", 1, AT, '{"device": "tablet"}', 0)]


def test_the_newest_state_of_an_order_is_kept(store: Store) -> None:
    """With its lines; an older state that comes late changes nothing."""
    lines = [{"line_id": "1", "gross_minor": 600}, {"line_id": "2", "gross_minor": 400}]
    assert store.write([order(updated=AT + 2, refunded_minor=100, lines=lines[:1])]) == [True]
    assert store.write([order(updated=AT, lines=lines)]) == [False]
    assert [row[12] for row in rows(store, "orders")] == [100]
    assert [row[2] for row in rows(store, "order_lines")] == ["1"]
    assert store.write([order(updated=AT + 3, lines=lines)]) == [True]
    assert [row[2] for row in rows(store, "order_lines")] == ["1", "2"]


def test_a_write_is_whole_or_not_at_all(store: Store) -> None:
    """A record that the store refuses takes its whole request with it."""
    broken = order(2).model_copy(update={"gross_minor": "not a number"})
    with pytest.raises(StoreError):
        store.write([exposure(), order(1), broken])
    assert store.counts()["exposures"] == store.counts()["orders"] == 0
    assert store.write([exposure()]) == [True]


history = st.lists(
    st.one_of(
        st.builds(exposure, st.sampled_from(["u1", "u2"]), st.sampled_from("ab"), st.integers(AT, AT + 3)),
        st.builds(lambda number, step: order(number, AT + step, gross=step), st.integers(1, 3), st.integers(0, 4)),
        st.builds(click, st.sampled_from(["e1", "e2"])),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    tmp_path: Path, events: list[Exposure | Order | Interaction], dice: random.Random
) -> None:
    """Shuffled, repeated and split, the same history gives the same tables."""
    tables = []
    for attempt in range(2):
        path = tmp_path / f"{uuid.uuid4()}.db"  # an example of its own: the folder is shared by all
        store = open_store(f"sqlite:///{path}")
        sent = list(events)
        if attempt:
            sent += dice.choices(events, k=3) if events else []
            dice.shuffle(sent)
        cut = dice.randint(0, len(sent))
        store.write(sent[:cut])
        store.write(sent[cut:])
        tables.append([rows(store, table) for table in ("exposures", "orders", "order_lines", "interactions")])
        store.close()
    assert tables[0] == tables[1]


def test_epochs_open_when_more_than_text_changes(store: Store) -> None:
    """The same declaration, or one with new words, stays in its epoch; going back opens a new one."""

    def declared(weight: int, title: str = "T") -> dict[str, object]:
        return {"key": "ab", "title": title, "variants": {"a": {"weight": weight, "offer": {"headline": title}}}}

    numbers = [
        store.open_epoch("ab", declared(*one), AT)
        for one in [(1, "T"), (1, "T"), (1, "New"), (2, "T"), (2, "T"), (1, "T")]
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


def test_the_store_is_durable_wal(store: Store) -> None:
    """Write-ahead log, synced at every commit."""
    connection = store._connection  # type: ignore[attr-defined]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///", "crosslift.db", ""])
def test_a_url_that_names_no_store_says_what_is_wanted(url: str) -> None:
    """One line, with what was found."""
    with pytest.raises(StoreError, match="wanted sqlite:///FILE"):
        open_store(url)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Neither opened nor changed; nor is a folder that does not exist made."""
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not a database " * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:///{path}")
    assert path.read_text().startswith("these are notes")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/no/such/folder/x.db")
