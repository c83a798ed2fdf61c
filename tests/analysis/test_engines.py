"""The same report from every engine."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from events import Refund, open_store
from events.lake import export
from experiments import StoreError
from tests.analysis.conftest import AT, DAY, MARGIN, NOW, World, fill
from tests.conftest import WriteConfigs
from tests.postgres import PostgresServer


def told(url: str, configs: Path) -> dict[str, Any]:
    """Report on a store with buyers, refunds, devices of one customer, and orders that do not count."""
    store = open_store(url)
    world = World(store, configs)
    world.declare()
    fill(world, {"control": 300, "offer": 360})
    store.identify("control0", "anna", None, AT)
    store.identify("control1", "anna", None, AT)
    world.order("offer1", 5000, excluded="test", cost_minor=1)
    world.order(None, 4000, customer_id="anna")
    store.write([Refund(order_id="offer2", refund_id="1", refunded_at_ms=AT + DAY, currency="USD", refunded_minor=700)])
    found = world.report().to_dict()
    store.close()
    return found


def assert_close(one: Any, other: Any, path: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_close(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_close(mine, theirs, f"{path}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9), path
    else:
        assert one == other, path


def test_a_lake_reports_what_sqlite_does(write_configs: WriteConfigs, tmp_path: Path) -> None:
    """DuckDB over the exported Parquet files: every number, to 1e-9."""
    configs = write_configs(ab=MARGIN)
    url, lake = f"sqlite:///{tmp_path / 'events.db'}", tmp_path / "a lake's"
    found = told(url, configs)
    with closing(open_store(url)) as store:
        export(store, lake)
    read = report("ab", f"parquet:{lake}", configs, NOW)
    assert_close(found, read.to_dict())
    with pytest.raises(StoreError, match="wanted a lake"):
        report("ab", f"parquet:{tmp_path}", configs)


def test_postgresql_reports_what_sqlite_does(
    postgres: PostgresServer, write_configs: WriteConfigs, tmp_path: Path
) -> None:
    """Every number, to 1e-9."""
    configs = write_configs(ab=MARGIN)
    found = told(f"sqlite:///{tmp_path / 'events.db'}", configs)
    assert found["metrics"]["conversion"]["variants"]["offer"]["numerator"] == 360
    assert_close(found, told(postgres.new_database(), configs))
