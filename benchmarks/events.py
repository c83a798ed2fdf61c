"""Events: how fast they become durable, beside bare SQL on the same disk; memory; and a million imported orders."""

import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg

from benchmarks.results import machine, median, milliseconds, run, table, write_section
from events import Interaction, open_store
from events.stores.tables import INTERACTIONS
from experiments.assignment.tokens import Claim, Signer
from server.http.keys import create_key
from tests.conftest import AB
from tests.support.crashes import Supervised
from tests.support.postgres import PostgresServer, binaries

SECONDS = 6
AT = 1_790_000_000_000
LUA = Path(__file__).with_suffix(".lua")


def clicks(count: int, prefix: str = "") -> list[tuple[object, ...]]:
    """Make interactions whose ids sort by time, as a storefront's do."""
    told = ("click", "ab", "offer")
    return [
        (f"{prefix}{number:012d}", *told, f"{prefix}{number:012d}", "below_product", "p1", 1, 0, AT)
        for number in range(count)
    ]


def exposures(count: int) -> list[tuple[object, ...]]:
    """Make exposures of visitors whose ids sort by time, as ours do."""
    return [("ab", f"{number:012d}", "offer", 1, AT, "{}", 0) for number in range(count)]


def bare_sqlite(folder: Path, batch: int, count: int, of: str = "interactions") -> float:
    """Insert into the same table with the same durability, from one process and nothing else: events a second."""
    path = folder / "bare.db"
    for leftover in folder.glob("bare.db*"):
        leftover.unlink()
    open_store(f"sqlite:///{path}").close()
    made = clicks(count) if of == "interactions" else exposures(count)
    insert = f"INSERT INTO {of} VALUES ({', '.join('?' * len(made[0]))}) ON CONFLICT DO NOTHING"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        began = time.perf_counter()
        for start in range(0, count, batch):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, made[start : start + batch])
            connection.execute("COMMIT")
        return count / (time.perf_counter() - began)


@dataclass
class Load:
    """What wrk measured."""

    events: float
    p50_ms: float
    p99_ms: float


class Served:
    """`crosslift serve` with two workers on a store of its own, and wrk beside it on the same cores."""

    def __init__(self, folder: Path) -> None:
        (folder / "configs" / "experiments").mkdir(parents=True)
        (folder / "configs" / "experiments" / "ab.yaml").write_text(AB)
        self.url = f"sqlite:///{folder / 'served.db'}"
        self.folder = folder
        self.server = Supervised(folder / "configs", self.url)
        with closing(open_store(self.url)) as store:
            self.key = create_key(store, "publishable", 1)
            self.signer = Signer(store.secret("signing", os.urandom(32).hex()))
        self.server.start()
        time.sleep(1)  # both workers listen
        self.runs = 0

    def load(self, kind: str, connections: int, size: int, seconds: int = SECONDS, query: str = "") -> Load:
        """Send requests as fast as they are answered."""
        self.runs += 1
        tokens = self.folder / "tokens"
        if kind == "token":
            with tokens.open("w") as file:
                for number in range(200_000 * seconds):
                    claim = Claim("ab", "offer", f"{self.runs:03d}{number:010d}", 1)
                    file.write(self.signer.sign(claim, int(time.time())) + "\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(LUA)]
        address = f"http://127.0.0.1:{self.server.port}/{query}"
        arguments = [kind, self.key, str(size), f"{self.runs:03d}", str(tokens)]
        done = subprocess.run([*command, address, "--", *arguments], capture_output=True, text=True, check=True)
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise RuntimeError(done.stdout)
        return Load(
            float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0]) * size,
            milliseconds(re.findall(r"\n +50%\s+(\S+)", done.stdout)[0]),
            milliseconds(re.findall(r"\n +99%\s+(\S+)", done.stdout)[0]),
        )

    def workers_mb(self) -> float:
        """Return the largest worker's resident memory."""
        assert self.server.process is not None
        main = self.server.process.pid
        pids = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        told = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
        return max(int(one[1]) for one in told if one) / 1024


@contextmanager
def served() -> Iterator[Served]:
    """Serve a fresh store on the disk of this folder."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        running = Served(Path(folder).resolve())
        try:
            yield running
        finally:
            running.server.kill_all()


def single_events(folder: Path) -> list[list[object]]:
    """Measure requests of one event."""
    bare = median(lambda: bare_sqlite(folder, 1, 10_000))
    found: list[list[object]] = [["SQLite, one commit an event, one process", f"{bare:,.0f}", "", "", "1"]]
    for connections in (32, 64):
        with served() as running:
            loads = sorted((running.load("click", connections, 1) for _ in range(3)), key=lambda load: load.events)
        found.append(_told(f"`POST /v1/events`, {connections} connections", loads[1], bare))
    with served() as running:
        found.append(
            _told("the same with `?durability=os`", running.load("click", 32, 1, query="?durability=os"), bare)
        )
        found.append(_told("exposures without a token, 32 connections", running.load("exposure", 32, 1), bare))
        found.append(_told("exposures with a token, 32 connections", running.load("token", 32, 1), bare))
    return found


def batches(folder: Path) -> list[list[object]]:
    """Measure requests of a hundred events."""
    found: list[list[object]] = []
    for table_name, kinds in {
        "interactions": {"click": "clicks"},
        "exposures": {"exposure": "exposures without a token", "token": "exposures with a token"},
    }.items():
        bare = median(lambda: bare_sqlite(folder, 100, 400_000, table_name))  # noqa: B023
        found.append([f"SQLite, `executemany` of 100 {table_name}, one process", f"{bare:,.0f}", "", "", "1"])
        for kind, name in kinds.items():
            with served() as running:
                loads = sorted((running.load(kind, 16, 100) for _ in range(3)), key=lambda load: load.events)
            found.append(_told(f"`POST /v1/events` of 100 {name}, 16 connections", loads[1], bare))
    return found


def _told(name: str, load: Load, bare: float) -> list[object]:
    return [name, f"{load.events:,.0f}", f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}", f"{load.events / bare:.2f}"]


_COPY = f"COPY sent ({', '.join(INTERACTIONS.names)}) FROM STDIN"
_TAKE = "INSERT INTO interactions SELECT * FROM sent ON CONFLICT DO NOTHING"


def copy_batches(url: str, batch: int, count: int, prefix: str, start: Barrier) -> None:
    """Write as PostgreSQL is written fastest: COPY to a temporary table, then insert what is new."""
    made = clicks(count, prefix)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE sent (LIKE interactions) ON COMMIT DELETE ROWS")
        connection.commit()
        start.wait()
        for first in range(0, count, batch):
            with connection.cursor() as cursor:
                with cursor.copy(_COPY) as copy:
                    for row in made[first : first + batch]:
                        copy.write_row(row)
                cursor.execute(_TAKE)
            connection.commit()


def store_batches(url: str, batch: int, count: int, prefix: str, start: Barrier) -> None:
    """Write through the store."""
    told = (dict(zip(INTERACTIONS.names, row, strict=True)) for row in clicks(count, prefix))
    made = [Interaction.model_validate(one) for one in told]
    with closing(open_store(url)) as store:
        start.wait()
        for first in range(0, count, batch):
            store.write(made[first : first + batch])


def postgres_rate(server: PostgresServer, write: Callable[..., None], processes: int, batch: int = 1000) -> float:
    """Return events a second of some processes together, from when all are ready until all are done."""
    count = 200_000
    url = server.new_database()
    open_store(url).close()
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes + 1)
    running = [
        context.Process(target=write, args=(url, batch, count, f"{number}-", start)) for number in range(processes)
    ]
    for process in running:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in running:
        process.join()
        if process.exitcode:
            raise RuntimeError("a writer failed")
    return count * processes / (time.perf_counter() - began)


def postgres_batches() -> list[list[object]]:
    """Measure batches of 1,000 and 100 on PostgreSQL as Debian configures it, synchronous_commit on."""
    programs = binaries()
    if programs is None:
        raise RuntimeError("PostgreSQL's server programs are not installed")
    server = PostgresServer(programs)
    found: list[list[object]] = []
    try:
        server.start()
        for processes, batch in ((1, 1000), (2, 1000), (1, 100)):
            bare = median(lambda: postgres_rate(server, copy_batches, processes, batch))  # noqa: B023
            ours = median(lambda: postgres_rate(server, store_batches, processes, batch))  # noqa: B023
            name = f"batches of {batch:,}, {processes} process{'es' if processes > 1 else ''}"
            found.append([name, f"{bare:,.0f}", f"{ours:,.0f}", f"{ours / bare:.2f}"])
    finally:
        server.remove()
    return found


def memory() -> tuple[float, float, int]:
    """Return a worker's memory in MB after some 50 thousand events and after at least 5 million, and how many those were."""
    with served() as running:
        sent = 0
        while sent < 50_000:
            sent += int(running.load("click", 16, 100, seconds=1).events)
        early = running.workers_mb()
        while sent < 5_000_000:
            sent += int(running.load("click", 16, 100, seconds=20).events * 20)
        return early, running.workers_mb(), sent


def imported(folder: Path, count: int) -> tuple[float, float]:
    """Return rows a second and peak memory in MB of `crosslift import orders`."""
    path = folder / f"orders-{count}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("order_id,visitor_id,customer_id,ordered_at,updated_at,gross,discount,tax,cost,units\n")
        for number in range(count):
            day, second = 1 + number % 28, number % 60
            at = f"2026-05-{day:02d}T10:{number % 60:02d}:{second:02d}Z"
            file.write(
                f"o{number:09d},v{number:09d},c{number % 300_000},{at},{at},{number % 300}.99,1.00,3.20,5.00,2\n"
            )
    (folder / "configs" / "experiments").mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{folder / f'import-{count}.db'}"
    command = [sys.executable, "-m", "crosslift", "import", "orders", str(path)]
    found = run([*command, "--configs", str(folder / "configs"), "--store", store])
    return count / found.seconds, found.megabytes


def main(parts: Sequence[str]) -> None:
    """Measure, and write down."""
    about = machine("granian", "psycopg", "pydantic", "orjson")
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as name:
        folder = Path(name).resolve()
        if not parts or "sqlite" in parts:
            told = table(("", "events/s", "p50, ms", "p99, ms", "ratio"), [*single_events(folder), *batches(folder)])
            how = "wrk runs on the same cores; 2 workers; the ratio is to the bare SQL above it."
            write_section("events-sqlite", f"## Durable events, SQLite\n\n{about} {how}\n\n{told}")
        if not parts or "postgres" in parts:
            told = table(("", "COPY, then ON CONFLICT: events/s", "store: events/s", "ratio"), postgres_batches())
            write_section("events-postgres", f"## Durable events, PostgreSQL\n\n{about}\n\n{told}")
        if not parts or "memory" in parts:
            early, late, sent = memory()
            rows = [["50 thousand events", f"{early:.0f}", "1"]]
            rows.append([f"{sent / 1e6:.1f} million events", f"{late:.0f}", f"{late / early:.2f}"])
            write_section("events-memory", "## Memory of a worker\n\n" + table(("after", "MB", "ratio"), rows))
        if not parts or "import" in parts:
            rows = [[f"{count:,}", *_rounded(imported(folder, count))] for count in (10_000, 1_000_000)]
            write_section(
                "events-import", "## `crosslift import orders`\n\n" + table(("rows", "rows/s", "peak MB"), rows)
            )


def _rounded(values: Sequence[float]) -> list[str]:
    return [f"{value:,.0f}" for value in values]


if __name__ == "__main__":
    main(sys.argv[1:])
