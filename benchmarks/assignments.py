"""Assignments: how many a second, how late, and what they cost, beside the same on Flask, Starlette and a flag server."""

import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.declared import PRODUCTS, declare
from benchmarks.results import RUNS, machine, milliseconds, table, write_section
from events import open_store
from server.cli import THREADS
from server.http.keys import create_key
from tests.support.crashes import free_port

LUA = Path(__file__).with_suffix(".lua")
SECONDS = 4
ROUNDS = 5
WORKERS = 2
CONNECTIONS = (32, 128)
TICKS = os.sysconf("SC_CLK_TCK")

_GRANIAN = ["granian", "--interface", "wsgi", "--factory", "--log-level", "warning", "--no-ws"]
_GRANIAN += ["--workers", str(WORKERS), "--blocking-threads", str(THREADS)]
_UVICORN = ["uvicorn", "--factory", "--log-level", "warning", "--no-access-log", "--workers", str(WORKERS)]
COMMANDS = {
    "crosslift serve": ["crosslift", "serve", "--workers", str(WORKERS)],
    "the same logic in a Flask view, granian": [*_GRANIAN, "benchmarks.peers:prepared_flask"],
    "a plain Flask view, granian": [*_GRANIAN, "benchmarks.peers:plain_flask"],
    "Starlette on uvicorn, hashes only": [*_UVICORN, "benchmarks.peers:bare_starlette"],
    "the same logic in Starlette on uvicorn": [*_UVICORN, "benchmarks.peers:prepared_starlette"],
    "fast-feature on uvicorn, OFREP": [*_UVICORN, "benchmarks.peers:fast_feature"],
}
OURS = "crosslift serve"


@dataclass
class Load:
    """What wrk measured, and what the server's processes spent on it."""

    requests: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


class Running:
    """A server of some folder of declarations, in a process group of its own, and wrk beside it on the same cores."""

    def __init__(self, name: str, folder: Path) -> None:
        self._path = "/ofrep/v1/evaluate/flags" if "OFREP" in name else "/v1/assignments"
        store = f"sqlite:///{folder / 'served.db'}"
        with closing(open_store(store)) as opened:
            self._key = create_key(opened, "publishable", 1)
        self._port = free_port()
        environment = os.environ | {"CROSSLIFT_CONFIGS": str(folder / "configs"), "CROSSLIFT_STORE": store}
        command = [sys.executable, "-m", *COMMANDS[name], "--port", str(self._port)]
        if name == OURS:
            command += ["--configs", str(folder / "configs"), "--store", store]
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._sent = 0

    def started_s(self) -> float:
        """Wait for the first answer, and give the seconds it took from the start."""
        while self._process.poll() is None:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
                    connection.request("GET", "/healthz")
                    if connection.getresponse().status == 200:
                        return time.perf_counter() - self._began
            except OSError:
                time.sleep(0.005)
        raise RuntimeError("the server ended")

    def load(self, connections: int, seconds: int = SECONDS) -> Load:
        """Ask as fast as it answers."""
        self._sent += 1
        arguments = [self._path, self._key, f"{self._sent:06d}", str(PRODUCTS)]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30s", "--latency", "-s", str(LUA)]
        before = self._cpu_s()
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{self._port}/", "--", *arguments], capture_output=True, text=True, check=True
        )
        spent = self._cpu_s() - before
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise RuntimeError(done.stdout)
        return Load(
            float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0]),
            milliseconds(re.findall(r"\n +50%\s+(\S+)", done.stdout)[0]),
            milliseconds(re.findall(r"\n +99%\s+(\S+)", done.stdout)[0]),
            1e6 * spent / int(re.findall(r"(\d+) requests in", done.stdout)[0]),
        )

    def worker_mb(self) -> float:
        """Return the resident memory of the largest worker."""
        told = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self._pids()[1:]]
        return max(int(one[1]) for one in told if one) / 1024

    def end(self) -> None:
        """End it and its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _pids(self) -> list[int]:
        """Return the server's processes, its first one first."""
        found = [self._process.pid]
        for pid in found:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def _cpu_s(self) -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self._pids()]
        return sum(int(one[11]) + int(one[12]) for one in stats) / TICKS


@contextmanager
def served(name: str, experiments: int) -> Iterator[Running]:
    """Serve so many running experiments."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as told:
        folder = Path(told).resolve()
        declare(folder / "configs", experiments)
        running = Running(name, folder)
        try:
            yield running
        finally:
            running.end()


def measured(name: str, experiments: int, connections: Sequence[int]) -> tuple[float, float, list[Load]]:
    """Return the seconds to start, a worker's MB, and the median load for each number of connections."""
    starts = []
    for _ in range(RUNS):
        with served(name, experiments) as running:
            starts.append(running.started_s())
    with served(name, experiments) as running:
        running.started_s()
        time.sleep(1)  # until all workers listen
        running.load(connections[0], 1)
        loads = []
        for count in connections:
            runs = sorted((running.load(count) for _ in range(RUNS)), key=lambda one: one.requests)
            loads.append(runs[RUNS // 2])
        return statistics.median(starts), running.worker_mb(), loads


def beside_others() -> str:
    """Measure ten experiments, by all servers in turn, so that a machine whose speed wavers is as fast for each."""
    starts: dict[str, float] = {}
    loads: dict[tuple[str, int], list[Load]] = {(name, count): [] for name in COMMANDS for count in CONNECTIONS}
    with ExitStack() as stack:
        servers = {}
        for name in COMMANDS:
            servers[name] = stack.enter_context(served(name, 10))
            starts[name] = servers[name].started_s()
        time.sleep(1)  # until all workers listen
        for one in servers.values():
            one.load(CONNECTIONS[0], 1)
        for count in CONNECTIONS:
            for _ in range(ROUNDS):
                for name, one in servers.items():
                    loads[name, count].append(one.load(count))
        memory = {name: one.worker_mb() for name, one in servers.items()}
    rows = []
    for name in COMMANDS:
        few, many = (loads[name, count] for count in CONNECTIONS)
        told = [_median(few), _median(many), f"{statistics.median(one.cpu_us for one in few) / 1000:.3f}"]
        pairs = zip(loads[OURS, CONNECTIONS[0]], few, strict=True)
        ours = statistics.median(one.requests / other.requests for one, other in pairs)
        rows.append([name, *told, f"{memory[name]:.0f}", f"{starts[name]:.2f}", f"{ours:.2f}"])
    header = ["", *(f"{count} connections: requests/s | p50, ms | p99, ms" for count in CONNECTIONS)]
    return table(
        " | ".join([*header, "CPU s per 1,000", "worker, MB", "start, s", "ours / it"]).split(" | "),
        [" | ".join(map(str, row)).split(" | ") for row in rows],
    )


def _median(loads: Sequence[Load]) -> str:
    requests, p50, p99 = (
        statistics.median(getattr(one, name) for one in loads) for name in ("requests", "p50_ms", "p99_ms")
    )
    return f"{requests:,.0f} | {p50:.1f} | {p99:.1f}"


def growth() -> str:
    """Measure more and more experiments, ten of which concern the page."""
    rows: list[list[str]] = []
    first = 0.0
    for experiments in (1, 10, 100, 1000):
        start_s, mb, (load,) = measured(OURS, experiments, CONNECTIONS[:1])
        first = first or load.cpu_us
        told = [f"{experiments:,}", f"{load.requests:,.0f}", f"{load.cpu_us:.0f}", f"{load.cpu_us / first:.1f}"]
        rows.append([*told, f"{load.p99_ms:.1f}", f"{mb:.0f}", f"{start_s:.2f}"])
    header = ("running experiments", "requests/s", "CPU us a request", "to one", "p99, ms", "worker, MB", "start, s")
    return table(header, rows)


def main(parts: Sequence[str]) -> None:
    """Measure, and write down."""
    about = machine("granian", "orjson", "flask", "starlette", "uvicorn", "fast-feature")
    if not parts or "others" in parts:
        how = (
            f"wrk and {WORKERS} workers share the cores; the servers take turns, {ROUNDS} rounds of {SECONDS} s; medians. "
            "Ten running experiments of 2 to 6 arms, all of which concern the page, with products from a catalogue of 200; "
            "every request is a new visitor's. The plain view assigns with the library, resolves offers and answers by "
            "`jsonify`. Starlette hashes as many texts as we do and names the largest: no key, audience, offer, token or "
            "counter. fast-feature evaluates ten flags of as many variants, in memory, by one hash each. The last column is "
            "the median of the rounds' ratios at 32 connections. "
            "`python -m benchmarks.assignments others` repeats it."
        )
        write_section("assignments", f"## Assignments\n\n{about} {how}\n\n{beside_others()}")
    if not parts or "growth" in parts:
        how = (
            "At most ten of the experiments concern the page; the answer names all of them, and why the others do not apply. "
            "32 connections. `python -m benchmarks.assignments growth` repeats it."
        )
        write_section("assignments-growth", f"## Assignments by running experiments\n\n{about} {how}\n\n{growth()}")


if __name__ == "__main__":
    main(sys.argv[1:])
