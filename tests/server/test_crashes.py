"""What was acknowledged survives SIGKILL, a database that stops, and a disk that is full; `make soak` does so for longer."""

import random
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from events import open_store
from server.http.keys import create_key
from tests.conftest import WriteConfigs
from tests.support.crashes import Supervised, assert_nothing_lost, clients_during, opened_when_there
from tests.support.postgres import PostgresServer


@pytest.fixture
def supervised(write_configs: WriteConfigs, tmp_path: Path) -> Iterator[Supervised]:
    server = Supervised(write_configs(), f"sqlite:///{tmp_path / 'crash.db'}")
    yield server
    if server.process and server.process.poll() is None:
        server.kill_all()


def secret_key(url: str) -> str:
    with closing(open_store(url)) as store:
        return create_key(store, "secret", 1)


def test_nothing_acknowledged_is_lost_when_processes_are_killed(supervised: Supervised) -> None:
    """Workers, the main process alone, and all at once, at random moments, while clients send."""
    dice = random.Random(7)
    key = secret_key(supervised.store_url)
    supervised.start()

    def disaster() -> None:
        for kill in [supervised.kill_worker] * 3 + [supervised.kill_main, supervised.kill_worker, supervised.kill_all]:
            time.sleep(dice.uniform(0.1, 0.8))
            kill(dice)
            time.sleep(0.3)
            supervised.ensure()

    clients = clients_during(supervised.port, key, disaster)
    with closing(open_store(supervised.store_url)) as store:
        assert assert_nothing_lost(store, clients) > 100
    assert supervised.killed == 4  # workers, besides the others
    with sqlite3.connect(supervised.store_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_nothing_acknowledged_is_lost_when_postgresql_stops(
    supervised: Supervised, postgres_of_its_own: PostgresServer
) -> None:
    """Stopped as by a crash and started again: 503 meanwhile, then everything goes on, with no restart of ours."""
    supervised.store_url = postgres_of_its_own.new_database()
    key = secret_key(supervised.store_url)
    supervised.start()

    def disaster() -> None:
        for away_s in (0.3, 4.0, 0.3):  # short enough to be waited out, and too long
            time.sleep(0.7)
            postgres_of_its_own.stop("immediate")
            time.sleep(away_s)
            postgres_of_its_own.start()

    clients = clients_during(supervised.port, key, disaster)
    assert {status for client in clients for status in client.refused} <= {503}
    assert any(client.refused for client in clients)
    with closing(opened_when_there(supervised.store_url)) as store:
        assert assert_nothing_lost(store, clients) > 100


def test_a_full_disk_is_503_and_heals(supervised: Supervised) -> None:
    """No file of the server's may grow further: nothing is acknowledged, nothing is damaged; then there is room again."""
    key = secret_key(supervised.store_url)
    supervised.start()
    assert supervised.process is not None
    pids = [supervised.process.pid, *_children(supervised.process.pid)]
    database = Path(supervised.store_url.removeprefix("sqlite:///"))

    def limit(size: int) -> None:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def disaster() -> None:
        time.sleep(0.5)
        limit(1_000_000)
        time.sleep(2)
        limit(resource.RLIM_INFINITY)

    clients = clients_during(supervised.port, key, disaster)
    assert {status for client in clients for status in client.refused} == {503}
    assert supervised.process.poll() is None
    supervised.kill_all()
    with closing(open_store(supervised.store_url)) as store:
        assert assert_nothing_lost(store, clients) > 100
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
