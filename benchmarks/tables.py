"""
`crosslift analyze` on a ready table of one row a visitor, beside tea-tasting, spotify-confidence and OLS on the same file.

`python -m benchmarks.tables [VISITORS ...]`; each way runs in a process of its own, imports and reading counted, three times.
spotify-confidence wants pandas below 3, so it has a virtual environment of its own in build/, which is made where it is missing.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from analysis.stats.lift import compare
from analysis.stats.orders.quantiles import clustered
from benchmarks.results import RUNS, machine, repeated, run, table, write_section

ENVIRONMENT = Path(__file__).parent.parent / "build" / "spotify-confidence"
SPOTIFY_CONFIDENCE = "spotify-confidence==4.1.0"
METRICS = ["--proportion", "converted", "--ratio", "revenue/orders", "--mean", "revenue"]
FURTHER = ["--covariate", "revenue_before", "--segment", "segment", "--quantile", "revenue:0.99"]
OLS_LIMIT = 1_000_000  # beyond, a regression takes minutes
ORDERS, DRAWS = 300_000, 1000

FILL = """
COPY (SELECT i AS visitor, ['control', 'below', 'popup'][1 + (hash(i) % 3)::INT] AS variant,
    (orders > 0)::INT AS converted, orders, CASE WHEN orders > 0 THEN 5 + hash(i + 11) % 20000 / 100.0 ELSE 0 END AS revenue,
    CASE WHEN hash(i + 15) % 5 = 0 THEN hash(i + 13) % 5000 / 100.0 ELSE 0 END AS revenue_before,
    ['new', 'returning', 'loyal'][1 + (hash(i + 21) % 3)::INT] AS segment
  FROM (SELECT range AS i, CASE WHEN hash(range + 7) % 100 < 3 THEN 1 + (hash(range + 9) % 5 = 0)::INT ELSE 0 END AS orders
    FROM range({visitors}))) TO '{file}' (FORMAT parquet)
"""
# Each prints what the variants bring over the control, in the metric's own unit.
TEA_TASTING = """
import json, sys
import ibis
import tea_tasting as tt
data = ibis.duckdb.connect().read_parquet(sys.argv[1])
metrics = {name: tt.Mean(name) for name in ("converted", "revenue")}
metrics["revenue/orders"] = tt.RatioOfMeans("revenue", "orders")
found = tt.Experiment(metrics).analyze(data, control="control", all_variants=True)
print(json.dumps({name: {pair[1]: result[name].treatment - result[name].control for pair, result in found.items()}
                  for name in metrics}))
"""
CONFIDENCE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
from spotify_confidence import ZTest
rows = pd.read_parquet(sys.argv[1], columns=["variant", "converted", "revenue"])
rows["squares"] = rows.revenue**2
sums = rows.groupby("variant").agg(
    n=("converted", "size"), converted=("converted", "sum"), revenue=("revenue", "sum"), squares=("squares", "sum")).reset_index()
found = {}
for name, squares in (("converted", "converted"), ("revenue", "squares")):
    test = ZTest(sums, numerator_column=name, numerator_sum_squares_column=squares, denominator_column="n",
                 categorical_group_columns="variant")
    told = test.multiple_difference(level="control", level_as_reference=True)
    found[name] = dict(zip(told["level_2"], map(float, told["difference"])))
print(json.dumps(found))
"""
REGRESSION = """
import json, sys
import pandas as pd
import statsmodels.formula.api as smf
rows = pd.read_parquet(sys.argv[1], columns=["visitor", "variant", "revenue"])
model = smf.ols("revenue ~ C(variant, Treatment('control'))", rows)
fitted = model.fit(cov_type="cluster", cov_kwds={"groups": rows.visitor})
print(json.dumps({"revenue": {key: fitted.params[f"C(variant, Treatment('control'))[T.{key}]"] for key in ("below", "popup")}}))
"""
QUERY = """
import json, sys
import duckdb
rows = duckdb.sql(f'''SELECT variant, count(*), avg(converted), avg(revenue), sum(revenue) / sum(orders), var_samp(revenue),
    var_samp(orders), covar_samp(revenue, orders) FROM '{sys.argv[1]}' GROUP BY variant''').fetchall()
at = {row[0]: dict(zip(("converted", "revenue", "revenue/orders"), row[2:5])) for row in rows}
print(json.dumps({name: {key: at[key][name] - at["control"][name] for key in ("below", "popup")} for name in at["control"]}))
"""


def confidence_python() -> str:
    """Return the Python of the environment that holds spotify-confidence, made where it is missing."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", SPOTIFY_CONFIDENCE, "duckdb", "pyarrow"], check=True
        )
    return str(python)


def ours(printed: str) -> dict[str, dict[str, float]]:
    """Return what `crosslift analyze --format json` says the variants bring."""
    metrics: dict[str, Any] = json.loads(printed)["metrics"]
    return {
        name: {key: lift["absolute"]["estimate"] for key, lift in one["lifts"].items()} for name, one in metrics.items()
    }


def agree(one: dict[str, dict[str, float]], other: dict[str, dict[str, float]], name: str) -> None:
    """
    Hold two ways' estimates against each other.

    Raises:
        ValueError: They differ by more than a millionth.
    """
    for metric, lifts in other.items():
        for key, estimate in lifts.items():
            if abs(one[metric][key] - estimate) > 1e-6 * abs(estimate):
                raise ValueError(f"{name}: {metric} of {key}: found {estimate}; wanted {one[metric][key]}")


def measured(visitors: int, file: Path) -> list[list[str]]:
    """Measure every way on one file; a row for each."""
    here = [sys.executable, "-c"]
    analyze = [sys.executable, "-m", "crosslift", "analyze", str(file), "--variant", "variant", "--format", "json"]
    mine = repeated([*analyze, *METRICS])
    others = {
        "tea-tasting (Ibis, DuckDB)": repeated([*here, TEA_TASTING, str(file)]),
        "spotify-confidence, which has no test for the ratio": repeated(
            [confidence_python(), "-c", CONFIDENCE, str(file)]
        ),
        "one DuckDB query by hand": repeated([*here, QUERY, str(file)]),
    }
    if visitors <= OLS_LIMIT:
        others["statsmodels OLS, errors clustered, revenue alone"] = run([*here, REGRESSION, str(file)])
    for name, one in others.items():
        agree(ours(mine.printed), json.loads(one.printed), name)
    further = repeated([*analyze, *METRICS, *FURTHER])
    told = {"`crosslift analyze`": mine, "the same with covariate, segments and a quantile": further, **others}
    rows = []
    for name, one in told.items():
        took = [f"{one.seconds:.2f}", f"{one.cpu_seconds:.2f}", f"{one.megabytes:,.0f}"]
        ratios = [f"{one.seconds / mine.seconds:.2f}", f"{one.megabytes / mine.megabytes:.2f}"]
        rows.append([f"{visitors:,}", name, *took, *ratios])
    return rows


def quantiles() -> str:
    """Time the median's interval, and its comparison, on 300,000 order values; a bootstrap of 20 draws stands for 1,000."""
    dice = np.random.default_rng(1)
    arms = [np.round(np.exp(dice.normal(8 + shift, 0.6, ORDERS // 2))).astype(int) for shift in (0.0, 0.05)]
    took: dict[str, list[float]] = {
        "counting the values, two arms": [],
        "median and 90% quantile, intervals and lifts": [],
    }
    for _ in range(5):
        began = time.perf_counter()
        counted = [dict(zip(*map(np.ndarray.tolist, np.unique(arm, return_counts=True)), strict=True)) for arm in arms]
        between = time.perf_counter()
        for share in (0.5, 0.9):
            control, treatment = (clustered(values, share, None) for values in counted)
            compare("quantile", control, {"treatment": treatment}, 0.95, 2.0 * ORDERS)
        for name, seconds in zip(took, (between - began, time.perf_counter() - between), strict=True):
            took[name].append(seconds)
    began, draws = time.perf_counter(), 20
    for _ in range(draws):
        for arm in arms:
            np.quantile(dice.choice(arm, len(arm)), (0.5, 0.9))
    naive = (time.perf_counter() - began) * DRAWS / draws
    rows = [[name, f"{1000 * statistics.median(seconds):,.1f}"] for name, seconds in took.items()]
    rows.append([f"NumPy bootstrap of {DRAWS:,} draws, from {draws}", f"{1000 * naive:,.0f}"])
    return table([f"{ORDERS:,} order values", "ms"], rows)


def main(sizes: list[int]) -> None:
    """Measure at every size, and write docs/benchmarks.md."""
    rows = []
    for visitors in sizes:
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "visitors.parquet"
            duckdb.sql(FILL.format(visitors=visitors, file=file))
            rows += measured(visitors, file)
    about = (
        "Conversion, average order value (a ratio) and revenue per visitor of three arms; whole processes, imports counted, "
        f"medians of {RUNS} runs; {SPOTIFY_CONFIDENCE.replace('==', ' ')}. Estimates agree to a millionth. The ratios are to "
        "`crosslift analyze`. `python -m benchmarks.tables` repeats it."
    )
    header = ["visitors", "", "seconds", "CPU seconds", "peak MB", "time, ratio", "memory, ratio"]
    told = machine("duckdb", "ibis-framework", "tea-tasting", "pandas", "statsmodels")
    text = f"## A ready table of visitors\n\n{told} {about}\n\n{table(header, rows)}\n\n{quantiles()}"
    write_section("tables", text)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [1_000_000, 10_000_000])
