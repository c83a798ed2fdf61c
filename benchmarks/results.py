"""How results are written down: a section of docs/benchmarks.md for each benchmark, with machine and versions."""

import os
import platform
import re
import sqlite3
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def median(measure: Callable[[], float], runs: int = 3) -> float:
    """Give the median of several runs."""
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
