"""
The report from a Spark cluster on this machine: a master and two workers, each a process.

`python -m benchmarks.spark [VISITORS ...]`; the report runs in a process of its own, imports and the start of Java counted.
"""

import os
import sys
import tempfile
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reports import fill, report_command
from benchmarks.results import machine, run, table, write_section
from events import open_store
from events.lake import export
from tests.support.spark import SparkCluster

SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Told:
    """
    What a report from Spark cost.

    Attributes:
        seconds: From its first import to its last figure.
        python_mb: Peak memory of the process that asked.
        driver_mb, executors_mb: Peak memory of its Java, and of the executors together.
    """

    seconds: float
    python_mb: float
    driver_mb: float
    executors_mb: float


def spark_report(folder: Path, lake: Path, workers: int = 2) -> Told:
    """Start a cluster, run the report of `benchmarks.reports` on a lake, and stop."""
    cluster = SparkCluster(workers, memory="2g")
    drivers, executors, done = dict[int, float](), dict[int, float](), threading.Event()

    def watch() -> None:
        started = {process.pid for process in cluster.processes}
        while not done.wait(SAMPLE_S):
            for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
                with suppress(OSError):  # it ended meanwhile
                    if os.getpgid(pid) in started - {pid}:
                        executors[pid] = max(executors.get(pid, 0.0), _peak_mb(pid))  # 0 once it has ended
                    elif (
                        os.getpgid(pid) == os.getpgrp() and b"SparkSubmit" in Path(f"/proc/{pid}/cmdline").read_bytes()
                    ):
                        drivers[pid] = max(drivers.get(pid, 0.0), _peak_mb(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        found = run(report_command(folder, cluster.url(lake)))
    finally:
        done.set()
        watching.join()
        cluster.remove()
    return Told(found.seconds, found.megabytes, max(drivers.values()), sum(executors.values()))


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def main(sizes: list[int]) -> None:
    """Measure at every size, DuckDB beside it over the same lake, and write docs/benchmarks.md."""
    rows = []
    for visitors in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with closing(open_store(fill(folder, visitors))) as store:
                export(store, folder / "lake")
            duck = run(report_command(folder, f"parquet:{folder / 'lake'}"))
            told = spark_report(folder, folder / "lake")
        rows.append(
            [f"{visitors:,}", "Parquet by DuckDB", f"{duck.seconds:.1f}", f"{duck.megabytes:,.0f}", "", "", "1"]
        )
        memory = [f"{one:,.0f}" for one in (told.python_mb, told.driver_mb, told.executors_mb)]
        rows.append(
            [f"{visitors:,}", "Spark, 2 workers", f"{told.seconds:.1f}", *memory, f"{told.seconds / duck.seconds:.1f}"]
        )
    about = (
        "The whole report over the same lake, imports counted; Spark's Java starts with it. The cluster's master and its two "
        "workers of one core each share the machine's cores with the driver. `python -m benchmarks.spark` repeats it."
    )
    header = ["visitors", "", "seconds", "peak MB, Python", "driver", "executors", "ratio"]
    told_machine = machine("ibis-framework", "duckdb", "pyspark")
    write_section("spark", f"## Reports from a Spark cluster\n\n{told_machine} {about}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [1_000_000, 10_000_000])
