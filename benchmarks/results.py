"""How results are written down: a section of docs/benchmarks.md for each benchmark, with machine and versions."""

import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
RUNS = 3
LAUNCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"\\n{seconds} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}")
"""


@dataclass(frozen=True)
class Run:
    """What one process took, and what it printed."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    printed: str


def run(command: list[str]) -> Run:
    """Run a command, and measure it whole; a small process starts it, since a child's peak memory is at least its parent's."""
    done = subprocess.run([sys.executable, "-c", LAUNCH, *command], stdout=subprocess.PIPE, text=True, check=True)
    printed, figures = done.stdout.rstrip().rsplit("\n", 1)
    seconds, cpu_seconds, megabytes = map(float, figures.split())
    return Run(seconds, cpu_seconds, megabytes, printed)


def repeated(command: list[str]) -> Run:
    """Return the run of median time."""
    return sorted((run(command) for _ in range(RUNS)), key=lambda one: one.seconds)[RUNS // 2]


def median(measure: Callable[[], float], runs: int = RUNS) -> float:
    """Return the median of several runs."""
    return statistics.median(measure() for _ in range(runs))


def milliseconds(text: str) -> float:
    """
    Read a time as wrk prints it, such as 1.20ms.

    Raises:
        ValueError: It has no unit that wrk has.
    """
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def machine(*packages: str) -> str:
    """Say what a run was made on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    told = [f"{package} {version(package)}" for package in packages]
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{datetime.now(UTC).date()}, {os.cpu_count()} cores ({model}), {python}, {', '.join(told)}."


def write_section(name: str, text: str) -> None:
    """Put a section into the page, in the place of its last one."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in page:
        page += f"\n{begin}\n{end}\n"
    section = f"{begin}\n{text.strip()}\n{end}"
    page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: section, page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")
    print(text)  # noqa: T201  what a benchmark is for
