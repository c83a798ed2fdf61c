"""
Kill servers, stop databases and fill disks for a long time: `make soak`, or `python -m tests.support.soak MINUTES`.

Every round ends with the same comparison as in tests/server/test_crashes.py; the first missing event ends the run.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from server.http.keys import create_key
from tests.conftest import AB
from tests.support.crashes import Supervised, assert_nothing_lost, clients_during, opened_when_there
from tests.support.postgres import PostgresServer, binaries

Round = Callable[[Path, random.Random], str]


def prepare(folder: Path, url: str) -> tuple[Supervised, str]:
    (folder / "configs" / "experiments").mkdir(parents=True)
    (folder / "configs" / "experiments" / "ab.yaml").write_text(AB)
    with closing(opened_when_there(url)) as store:
        key = create_key(store, "secret", 1)
    return Supervised(folder / "configs", url), key


def run_round(server: Supervised, key: str, disaster: Callable[[], None]) -> str:
    server.start()
    try:
        clients = clients_during(server.port, key, disaster)
    finally:
        server.kill_all()
    with closing(opened_when_there(server.store_url)) as store:
        acknowledged = assert_nothing_lost(store, clients)
    statuses = sorted({status for client in clients for status in client.refused})
    assert set(statuses) <= {503}, statuses
    return f"{acknowledged:,} requests acknowledged, each stored once; other statuses: {statuses or 'none'}"


def kill_servers(folder: Path, dice: random.Random) -> str:
    server, key = prepare(folder, f"sqlite:///{folder / 'events.db'}")

    def disaster() -> None:
        for _ in range(36):
            time.sleep(dice.uniform(0.05, 1.0))
            dice.choice([server.kill_worker] * 4 + [server.kill_main, server.kill_all])(dice)
            time.sleep(0.2)
            server.ensure()

    return run_round(server, key, disaster)


def stop_database(folder: Path, dice: random.Random) -> str:
    programs = binaries()
    assert programs is not None, "PostgreSQL's server programs are not installed"
    database = PostgresServer(programs)
    try:
        database.start()
        server, key = prepare(folder, database.new_database())

        def disaster() -> None:
            for _ in range(12):
                time.sleep(dice.uniform(0.2, 1.5))
                if dice.random() < 0.3:
                    server.kill_worker(dice)
                database.stop("immediate")
                time.sleep(dice.uniform(0.1, 1.0))
                database.start()
                server.ensure()

        return run_round(server, key, disaster)
    finally:
        database.remove()


def fill_disk(folder: Path, dice: random.Random) -> str:
    """Fill a small file system of its own and make room again; needs root."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False).returncode == 0
    if not mounted:
        return "skipped: only root can mount a file system"
    try:
        server, key = prepare(folder, f"sqlite:///{disk / 'events.db'}")

        def disaster() -> None:
            for _ in range(3):
                time.sleep(0.5)
                free = shutil.disk_usage(disk).free
                (disk / "ballast").write_bytes(b"\0" * max(0, free - dice.randint(0, 20_000)))
                time.sleep(2)
                (disk / "ballast").unlink()

        return run_round(server, key, disaster)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main(minutes: float) -> None:
    began = time.monotonic()
    seed = 0
    while seed == 0 or time.monotonic() - began < minutes * 60:
        for name, round_ in {
            "servers killed": kill_servers,
            "database stopped": stop_database,
            "disk full": fill_disk,
        }.items():
            with tempfile.TemporaryDirectory(prefix="crosslift-soak-") as folder:
                print(f"round {seed + 1}, {name}: {round_(Path(folder), random.Random(seed))}", flush=True)  # noqa: T201
        seed += 1


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
