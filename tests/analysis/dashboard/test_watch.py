"""Whether a store has changed: told without reading it."""

import time
from pathlib import Path

import pytest

from analysis.dashboard.watch import configs_state, store_state
from events import Exposure, Store, open_store
from experiments import StoreError
from tests.analysis.conftest import AT
from tests.conftest import WriteConfigs
from tests.support.postgres import PostgresServer

SEEN = Exposure(experiment="ab", unit_id="u", variant="control", exposed_at_ms=AT)


def test_a_write_to_sqlite_is_told(store: Store) -> None:
    """And nothing is while nothing is written."""
    before = store_state(store.url)
    assert store_state(store.url) == before
    store.write([SEEN])
    assert store_state(store.url) != before


def test_a_write_to_postgresql_is_told(postgres: PostgresServer) -> None:
    """Within the seconds in which the database adds up its counters."""
    opened = open_store(postgres.new_database())
    try:
        before = store_state(opened.url)
        opened.write([SEEN])
        deadline = time.monotonic() + 90
        while store_state(opened.url) == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        opened.close()


def test_a_database_that_is_away_is_a_store_error() -> None:
    """Which the dashboard shows, and gets over."""
    with pytest.raises(StoreError, match="cannot be asked"):
        store_state("postgresql://nobody@127.0.0.1:9/none")


def test_a_changed_declaration_is_told(write_configs: WriteConfigs) -> None:
    """A new file, and other text in one that is there."""
    folder = write_configs()
    before = configs_state(folder)
    Path(folder / "shop.yaml").write_text("currency: EUR\n")
    after = configs_state(folder)
    assert before != after
    Path(folder / "shop.yaml").write_text("currency: EUR \n")
    assert configs_state(folder) != after
