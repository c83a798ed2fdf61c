"""
Reports from raw events, beside the bare SQL of their three main figures, on the same visitors.

`python -m benchmarks.reports [VISITORS ...]`; each report runs in a process of its own, imports and peak memory counted.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.results import machine, table, write_section
from events import open_store
from events.lake import export
from experiments.declaration import declared_dict
from experiments.loading import load

DECLARED = """\
key: ab
title: Three arms
status: running
variants:
  control: {weight: 1, placement: none}
  below: {weight: 1, placement: none}
  popup: {weight: 1, placement: none}
"""
START_MS = 1_790_000_000_000
DAYS = 28
# Units per arm out of exposures alone, and a join of the few buyers only: the least that any report must ask.
BARE = """
SELECT variant, count(*), sum(orders), sum(net), sum(net * net), sum(orders * orders), sum(net * orders) FROM (
  SELECT e.variant, o.unit_id, count(*) AS orders, sum(o.gross_minor - o.discount_minor - o.refunded_minor) / 100.0 AS net
  FROM orders o JOIN exposures e ON e.experiment = 'ab' AND e.unit_id = o.unit_id
  WHERE o.ordered_at_ms >= e.exposed_at_ms AND o.ordered_at_ms < e.exposed_at_ms + 604800000 AND o.excluded IS NULL
  GROUP BY e.variant, o.unit_id) GROUP BY variant
"""
BARE_UNITS = (
    "SELECT sum(variant = 'control'), sum(variant = 'below'), sum(variant = 'popup') FROM exposures WHERE bot = 0"
)
CHILD = """
import resource, sys, time
began = time.perf_counter()
from analysis import report
found = report("ab", sys.argv[1], sys.argv[2], int(sys.argv[3]))
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def fill(folder: Path, visitors: int) -> str:
    """Make a store of exposed visitors, of whom 3% bought, some of them twice; DuckDB writes what Python would take long for."""
    url = f"sqlite:///{folder / 'events.db'}"
    (folder / "experiments").mkdir()
    (folder / "experiments" / "ab.yaml").write_text(DECLARED)
    with closing(open_store(url)) as store:
        store.open_epoch("ab", declared_dict(load(folder).experiments["ab"]), START_MS)
    step = DAYS * 86_400_000 // visitors or 1
    with closing(sqlite3.connect(folder / "events.db")) as connection:
        columns = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(orders)")}
        numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
        arm = "CASE abs(random() % 3) WHEN 0 THEN 'control' WHEN 1 THEN 'below' ELSE 'popup' END"
        connection.execute(
            f"{numbers} INSERT INTO exposures SELECT 'ab', printf('%012x', i * 16), {arm}, 1, ? + i * ?, '{{}}', 0 FROM n",
            (visitors, START_MS, step),
        )
        values = dict.fromkeys(columns, "0") | {
            "shop": "'default'", "order_id": "'o' || i", "unit_id": "printf('%012x', (i % ?) * 16 * 33)",
            "customer_id": "NULL", "company_id": "NULL", "excluded": "NULL", "digest": "''", "currency": "'USD'",
            "ordered_at_ms": "? + (i % ?) * 33 * ? + 3600000 + abs(random() % 400000000)", "updated_at_ms": "?",
            "gross_minor": "500 + abs(random() % 20000)", "cost_minor": "300", "units": "1", "source": "'api'", "verified": "1",
        }  # fmt: skip
        buyers = visitors // 33
        connection.execute(
            f"{numbers} INSERT INTO orders ({', '.join(values)}) SELECT {', '.join(values.values())} FROM n",
            (buyers * 6 // 5, buyers, START_MS, buyers, step, START_MS),
        )
        connection.commit()
    return url


def bare_seconds(folder: Path) -> float:
    """Run the bare SQL by hand."""
    with closing(sqlite3.connect(folder / "events.db")) as connection:
        began = time.perf_counter()
        connection.execute(BARE_UNITS).fetchall()
        connection.execute(BARE).fetchall()
        return time.perf_counter() - began


def pandas_seconds(folder: Path) -> tuple[float, float]:
    """Run the obvious way in a process of its own: a row per visitor by pandas; seconds and MB."""
    code = f"""
import resource, sqlite3, time
began = time.perf_counter()
import pandas as pd
c = sqlite3.connect({str(folder / "events.db")!r})
e = pd.read_sql("SELECT unit_id, variant, exposed_at_ms FROM exposures WHERE experiment = 'ab'", c)
o = pd.read_sql("SELECT unit_id, ordered_at_ms, (gross_minor - discount_minor - refunded_minor) / 100.0 AS net FROM orders", c)
m = e.merge(o, on="unit_id", how="left")
inside = (m.ordered_at_ms >= m.exposed_at_ms) & (m.ordered_at_ms < m.exposed_at_ms + 604800000)
m["net"] = m.net.where(inside, 0)
m["orders"] = inside.astype(int)
u = m.groupby(["variant", "unit_id"])[["net", "orders"]].sum()
u.groupby("variant").agg(["count", "mean", "var"])
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    return _child(code)


def report_seconds(folder: Path, url: str) -> tuple[float, float]:
    """Run the whole report in a process of its own; seconds and MB."""
    return _child(CHILD, url, str(folder), str(START_MS + 60 * 86_400_000))


def _child(code: str, *arguments: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def main(sizes: list[int]) -> None:
    """Measure at every size, and write docs/benchmarks.md."""
    rows = []
    for visitors in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            url = fill(folder, visitors)
            bare = min(bare_seconds(folder) for _ in range(2))
            with closing(open_store(url)) as store:
                export(store, folder / "lake")
            for what, told in (
                ("pandas, a row per visitor, three figures", pandas_seconds(folder)),
                ("`crosslift report`, SQLite", report_seconds(folder, url)),
                ("`crosslift report`, Parquet by DuckDB", report_seconds(folder, f"parquet:{folder / 'lake'}")),
            ):
                rows.append([f"{visitors:,}", what, f"{told[0]:.1f}", f"{told[1]:,.0f}", f"{told[0] / bare:.1f}"])
            rows.append([f"{visitors:,}", "bare SQL of three figures, SQLite", f"{bare:.2f}", "", "1"])
    about = (
        "A report is the whole of it: all metrics adjusted and capped, eight trust checks, segments, curves, order values; "
        "imports counted, in a process of its own. The ratio is to the bare SQL. `python -m benchmarks.reports` repeats it."
    )
    told_machine = machine("ibis-framework", "duckdb", "pandas")
    header = ["visitors", "", "seconds", "peak MB", "ratio"]
    write_section("reports", f"## Reports from raw events\n\n{told_machine} {about}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [100_000, 1_000_000])
