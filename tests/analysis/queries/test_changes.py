"""Changes of a store and of its declarations are noticed without reading rows."""

import time
from pathlib import Path

import pytest

from analysis.queries.engines.changes import configs_state, store_state
from events import Exposure, Store, open_store
from experiments import StoreError
from tests.analysis.conftest import AT
from tests.conftest import WriteConfigs
from tests.support.postgres import PostgresServer

EXPOSURE = Exposure(experiment="ab", unit_id="u", variant="control", exposed_at_ms=AT)


def test_a_write_to_sqlite_changes_its_state(store: Store) -> None:
    """The state stays the same until something is written."""
    before = store_state(store.url)
    assert store_state(store.url) == before
    store.write([EXPOSURE])
    assert store_state(store.url) != before


def test_a_write_to_postgresql_changes_its_state(postgres: PostgresServer) -> None:
    """The database updates its counters within seconds."""
    store = open_store(postgres.new_database())
    try:
        before = store_state(store.url)
        store.write([EXPOSURE])
        deadline = time.monotonic() + 90
        while store_state(store.url) == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        store.close()


def test_an_unreachable_database_is_a_store_error() -> None:
    """The dashboard shows the error and tries again."""
    with pytest.raises(StoreError, match="cannot connect"):
        store_state("postgresql://nobody@127.0.0.1:9/none")


def test_a_written_declaration_changes_the_state_of_its_folder(write_configs: WriteConfigs) -> None:
    """A new file does, and so does new text in an existing file."""
    folder = write_configs()
    before = configs_state(folder)
    Path(folder / "shop.yaml").write_text("currency: EUR\n")
    after = configs_state(folder)
    assert before != after
    Path(folder / "shop.yaml").write_text("currency: EUR \n")
    assert configs_state(folder) != after
