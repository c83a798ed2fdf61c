"""
Reports from raw events, beside the bare SQL of their three main figures and what others make of the same visitors.

`python -m benchmarks.reports [VISITORS ...]`; each way runs in a process of its own, imports and peak memory counted.
"""

import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg

from benchmarks.results import machine, median, repeated, run, table, write_section
from benchmarks.tables import agree, confidence_python, ours
from events import open_store
from events.lake import export
from experiments.declarations.loading import load
from experiments.declarations.model import declared_dict
from tests.support.postgres import PostgresServer, binaries

SHOWN = ("conversion", "average_order_value", "revenue_per_visitor")
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
AS_OF_MS = START_MS + 60 * 86_400_000
# The obvious query: a row per visitor, by DuckDB over the same Parquet files; what others want before they begin.
PER_VISITOR = """
CREATE TABLE visitors AS SELECT e.variant, e.unit_id, count(o.unit_id) AS orders, (count(o.unit_id) > 0)::INT AS converted,
  coalesce(sum(o.gross_minor - o.discount_minor - o.refunded_minor), 0) / 100.0 AS revenue
FROM '{lake}/exposures/*/*.parquet' e LEFT JOIN '{lake}/orders/*/*.parquet' o ON o.unit_id = e.unit_id AND o.excluded IS NULL
  AND o.ordered_at_ms >= e.exposed_at_ms AND o.ordered_at_ms < e.exposed_at_ms + 604800000
WHERE e.experiment = 'ab' AND e.bot = 0 GROUP BY e.variant, e.unit_id, e.exposed_at_ms
"""
TEA_TASTING = """
import json, sys
import ibis
import tea_tasting as tt
connection = ibis.duckdb.connect()
connection.raw_sql(sys.argv[1])
metrics = {"conversion": tt.Mean("converted"), "revenue_per_visitor": tt.Mean("revenue")}
metrics["average_order_value"] = tt.RatioOfMeans("revenue", "orders")
found = tt.Experiment(metrics).analyze(connection.table("visitors"), control="control", all_variants=True)
print(json.dumps({name: {pair[1]: result[name].treatment - result[name].control for pair, result in found.items()}
                  for name in metrics}))
"""
CONFIDENCE = """
import json, subprocess, sys, warnings
warnings.simplefilter("ignore")
import duckdb
import pandas as pd
from spotify_confidence import ZTest
connection = duckdb.connect()
connection.execute(sys.argv[1])
rows = connection.execute("SELECT variant, converted, revenue, revenue * revenue AS squares FROM visitors").df()
sums = rows.groupby("variant").agg(
    n=("converted", "size"), converted=("converted", "sum"), revenue=("revenue", "sum"), squares=("squares", "sum")).reset_index()
found = {}
for metric, name, squares in (("conversion", "converted", "converted"), ("revenue_per_visitor", "revenue", "squares")):
    test = ZTest(sums, numerator_column=name, numerator_sum_squares_column=squares, denominator_column="n",
                 categorical_group_columns="variant")
    told = test.multiple_difference(level="control", level_as_reference=True)
    found[metric] = dict(zip(told["level_2"], map(float, told["difference"])))
print(json.dumps(found))
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


def report_command(folder: Path, url: str) -> list[str]:
    """Return the command that reports on what `fill` made."""
    as_of = datetime.fromtimestamp(AS_OF_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = ["--store", url, "--configs", str(folder), "--as-of", as_of, "--format", "json"]
    return [sys.executable, "-m", "crosslift", "report", "ab", *told]


def copy_to_postgres(lake: Path, url: str) -> None:
    """Copy a lake's exposures, orders and epochs into an empty store, and let the database see how much that is."""
    open_store(url).close()
    with psycopg.connect(url, autocommit=True) as connection, tempfile.TemporaryDirectory() as name:
        file = Path(name) / "rows.csv"
        for table_name in ("exposures", "orders", "epochs"):
            found = duckdb.sql(
                f"SELECT * FROM read_parquet('{lake}/{table_name}/**/*.parquet', hive_partitioning = false)"
            )
            columns = ", ".join(found.columns)
            further = ", stated_refunded_minor, digest" if table_name == "orders" else ""
            selected = ", 0, '-'" if table_name == "orders" else ""
            duckdb.sql(f"COPY (SELECT {columns}{selected} FROM found) TO '{file}' (HEADER false)")
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table_name} ({columns}{further}) FROM STDIN (FORMAT csv)") as copy,
                file.open("rb") as rows,
            ):
                while block := rows.read(1 << 20):
                    copy.write(block)
        connection.execute("VACUUM ANALYZE")


def lifts(printed: str) -> dict[str, dict[str, float]]:
    """Return what a report in JSON says the variants bring."""
    return ours(json.dumps({"metrics": {name: json.loads(printed)["metrics"][name] for name in SHOWN}}))


def measured(visitors: int, folder: Path) -> list[list[str]]:
    """Measure every way on one store; a row for each."""
    url, lake = fill(folder, visitors), folder / "lake"
    with closing(open_store(url)) as store:
        export(store, lake)
    bare = median(lambda: bare_seconds(folder))
    query = PER_VISITOR.format(lake=lake)
    runs = {
        "`crosslift report`, SQLite, from scratch": run(report_command(folder, url)),
        "the same again, which keeps what it counted": run(report_command(folder, url)),
        "the same, with past days kept": repeated(report_command(folder, url)),
        "`crosslift report`, Parquet by DuckDB": repeated(report_command(folder, f"parquet:{lake}")),
        "tea-tasting, its table by DuckDB": repeated([sys.executable, "-c", TEA_TASTING, query]),
        "spotify-confidence, its table by DuckDB": repeated([confidence_python(), "-c", CONFIDENCE, query]),
    }
    programs = binaries()
    if programs is not None:
        server = PostgresServer(programs)
        server.start()
        try:
            database = server.new_database()
            copy_to_postgres(lake, database)
            runs["`crosslift report`, PostgreSQL, from scratch"] = run(report_command(folder, database))
        finally:
            server.remove()
    told = lifts(runs["`crosslift report`, Parquet by DuckDB"].printed)
    for name, one in runs.items():
        agree(
            told,
            lifts(one.printed) if "crosslift" in name or "same" in name else json.loads(one.printed.splitlines()[-1]),
            name,
        )
    rows = [[f"{visitors:,}", "bare SQL of three figures, SQLite", f"{bare:.1f}", "", "", "1"]]
    for name, one in runs.items():
        figures = [f"{one.seconds:.1f}", f"{one.cpu_seconds:.1f}", f"{one.megabytes:,.0f}"]
        rows.append([f"{visitors:,}", name, *figures, f"{one.seconds / bare:.2f}"])
    return rows


def main(sizes: list[int]) -> None:
    """Measure at every size, and write docs/benchmarks.md."""
    rows = []
    for visitors in sizes:
        with tempfile.TemporaryDirectory() as name:
            rows += measured(visitors, Path(name))
    about = (
        "Three arms, of whose visitors 3% bought. A report is the whole of it: all metrics adjusted and capped, eight trust "
        "checks, segments, curves, order values; the others give three figures (spotify-confidence two), which agree with ours "
        "to a millionth. Whole processes, imports counted; medians of 3 runs, but of reports from scratch the first. "
        "Memory is without the database server's. The ratio is to the bare SQL. `python -m benchmarks.reports` repeats it."
    )
    told = machine("ibis-framework", "duckdb", "tea-tasting")
    header = ["visitors", "", "seconds", "CPU seconds", "peak MB", "ratio"]
    write_section("reports", f"## Reports from raw events\n\n{told} {about}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [1_000_000, 10_000_000])
