"""Exports to a lake, on both stores."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from events import Order, Store
from events.lake import export
from experiments import StoreError
from tests.events.examples import AT, DAY, click, files, history, lake_rows, refund

Run = Callable[..., Result]


def test_an_export_holds_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    """Every table, by day; and all files show one moment."""
    store.write(history())
    store.identify("phone", "customer-0", None, AT)
    done = export(store, tmp_path / "lake")
    assert (done.written, done.unchanged, done.removed) == (3 * 5 + 4, 0, 0)
    with store.snapshot() as fetch:
        for table in ("exposures", "interactions", "order_lines", "refunds", "identities"):
            stored = sorted(fetch(f"SELECT * FROM {table}"), key=repr)
            exported = [row[: len(stored[0])] for row in lake_rows(tmp_path / "lake", table)]
            assert sorted(exported, key=repr) == stored, table
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
    """All files are then written again."""
    store.write(history(1))
    export(store, tmp_path / "lake")
    (tmp_path / "lake" / "manifest.json").write_text("{")
    assert export(store, tmp_path / "lake").written == 5 + 4


def test_two_exports_do_not_write_one_lake(store: Store, tmp_path: Path) -> None:
    """The second fails with a message."""

    def second(done: int, total: int) -> None:
        with pytest.raises(StoreError, match="another export is writing this lake"):
            export(store, tmp_path / "lake")

    store.write(history(1))
    export(store, tmp_path / "lake", second)


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
