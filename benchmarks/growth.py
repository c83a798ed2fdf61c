"""
How reports grow with visitors, from Parquet files that DuckDB makes: 100 thousand to 50 million.

`python -m benchmarks.growth [VISITORS ...]`; each report runs in a process of its own, imports counted.
"""

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import duckdb

from benchmarks.reports import DAYS, DECLARED, START_MS, report_command
from benchmarks.results import machine, repeated, table, write_section
from events import open_store
from events.lake import MANIFEST, TABLES, VERSION, export
from experiments.declarations.loading import load
from experiments.declarations.model import declared_dict

EXPOSURES = """
SELECT 'ab' AS experiment, printf('%012x', range * 16) AS unit_id,
  ['control', 'below', 'popup'][1 + (hash(range) % 3)::INT] AS variant,
  1::BIGINT AS epoch,
  {start} + range * {span} // {visitors} AS exposed_at_ms, '{{}}' AS attributes, 0::BIGINT AS bot
FROM range({visitors})
"""
# Of every 33rd visitor, a fifth of them twice.
ORDERS = {
    "shop": "'default'", "order_id": "'o' || range", "unit_id": "printf('%012x', (range % {buyers}) * 33 * 16)",
    "ordered_at_ms": "{start} + (range % {buyers}) * 33 * {span} // {visitors} + 3600000 + (hash(range) % 400000000)::BIGINT",
    "updated_at_ms": "{start}", "currency": "'USD'", "gross_minor": "500 + (hash(range + 1) % 20000)::BIGINT",
    "cost_minor": "300", "units": "1", "source": "'api'", "verified": "1",
}  # fmt: skip


def fill_lake(folder: Path, visitors: int) -> Path:
    """Make a lake as `crosslift export` would: of one experiment with three arms, over four weeks."""
    (folder / "experiments").mkdir()
    (folder / "experiments" / "ab.yaml").write_text(DECLARED)
    lake = folder / "lake"
    with closing(open_store(f"sqlite:///{folder / 'empty.db'}")) as store:
        store.open_epoch("ab", declared_dict(load(folder).experiments["ab"]), START_MS)
        export(store, lake)
    told = {"start": START_MS, "span": DAYS * 86_400_000, "visitors": visitors, "buyers": max(1, visitors // 33)}
    values = []
    for column in TABLES["orders"].columns:
        kind = {"integer": "BIGINT", "text": "VARCHAR"}[column.kind]
        plain = "NULL" if column.nullable else "0"
        values.append(f"({ORDERS.get(column.name, plain).format(**told)})::{kind} AS {column.name}")
    orders = f"SELECT {', '.join(values)} FROM range({told['buyers'] * 6 // 5})"
    for name, query in (("exposures", EXPOSURES.format(**told)), ("orders", orders)):
        at = TABLES[name].time.removeprefix("t.")
        day = f"strftime(make_timestamp({at} * 1000), '%Y-%m-%d') AS day"
        duckdb.sql(
            f"COPY (SELECT *, {day} FROM ({query})) TO '{lake / name}'"
            " (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day), OVERWRITE_OR_IGNORE)"
        )
    (lake / MANIFEST).write_text(json.dumps({"version": VERSION, "tables": {}}))
    return lake


def main(sizes: list[int]) -> None:
    """Measure at every size, and write docs/benchmarks.md."""
    rows = []
    for visitors in sizes:
        with tempfile.TemporaryDirectory() as name:
            lake = fill_lake(Path(name), visitors)
            size = sum(path.stat().st_size for path in (lake / "exposures").rglob("*.parquet"))
            found = repeated(report_command(Path(name), f"parquet:{lake}"))
        figures = [f"{found.seconds:.1f}", f"{found.cpu_seconds:.1f}", f"{found.megabytes:,.0f}"]
        rows.append([f"{visitors:,}", *figures, f"{size / visitors:.1f}"])
    about = (
        "The whole report from Parquet by DuckDB, whole processes, imports counted, medians of 3 runs. "
        "`python -m benchmarks.growth` repeats it."
    )
    header = ["visitors", "seconds", "CPU seconds", "peak MB", "bytes an exposure"]
    write_section("growth", f"## Reports by visitors\n\n{machine('duckdb')} {about}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [100_000, 1_000_000, 10_000_000, 50_000_000])
