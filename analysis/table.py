"""`crosslift analyze`: the same engine on any CSV or Parquet file of one row per unit."""

import functools
import glob
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ibis
import numpy as np
from ibis.expr.types import Table

from analysis.breakdowns import MAX_VALUES
from analysis.cells import Place
from analysis.comparison import Undefined
from analysis.engine import fetch
from analysis.lifts import compare
from analysis.metrics import Kind
from analysis.moments import Moments, centre
from analysis.quantiles import arm as quantile_arm
from analysis.quantiles import reach
from analysis.ranked import Ranked
from analysis.results import MetricResult, Report, VariantRow, across
from analysis.segments import break_down, correct_interactions
from analysis.segments import split as split_cells
from analysis.trust import Check, multiple_exposure, sample_ratio
from experiments.errors import AnalysisError

MAX_VARIANTS = 50
MAX_MULTIPLE = 10.0  # of the standard error, up to which a quantile's order statistics are read

_EMPTY = "rows without a value; wanted one in each, 0 where nothing was bought"
Names = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file, and how a unit's rows of it are put together."""

    name: str
    together: Literal["sum", "any", "mean"] = "sum"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric that was asked for."""

    kind: Kind
    columns: tuple[Column, ...]
    quantile: float | None = None


def analyze(
    file: str | Path,
    variant: str,
    control: str | None = None,
    unit: str | None = None,
    mean: Names = (),
    proportion: Names = (),
    ratio: Names = (),
    weights: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    quantile: Names = (),
    covariate: str | None = None,
    segment: Names = (),
    planned_units: float | None = None,
    correction: Literal["holm", "benjamini_hochberg"] | None = None,
) -> Report:
    """
    Compare the variants that a file's rows belong to.

    Args:
        file: CSV or Parquet, one row a unit; with `unit`, its rows are added up first.
        variant: The column that names each row's variant.
        control: The variant that the others are compared with; `control` unless given.
        unit: The column that names each row's unit.
        mean, proportion: Columns. A proportion's are 0 or 1; with `unit`, 1 where any row of the unit is.
        ratio: `NUMERATOR/DENOMINATOR` columns: a ratio of sums over units.
        weights: Declared weights by variant, for the sample-ratio check; equal unless given.
        confidence: Coverage of the intervals, in (0, 1).
        quantile: `COLUMN:SHARE`, such as `spend:0.5` for the median over units.
        covariate: A column of what each unit did before; what it explains is taken out, beside the plain result. Rows without it
            count as average ones.
        segment: Columns that the first metric is broken down by.
        planned_units: Units of two arms together that were planned before the start; then results may be read on any day.
        correction: Hold the p of all metrics together.

    Raises:
        AnalysisError: The file cannot be read, lacks a column, or has values that no metric can be made of.

    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "visitors.parquet"
    >>> told = {"arm": ["control", "control", "offer", "offer"], "spend": [0, 10, 5, 25]}
    >>> pd.DataFrame(told).to_parquet(file)
    >>> found = analyze(file, variant="arm", mean="spend")
    >>> found.metrics["spend"].lifts["offer"].absolute.estimate
    10.0
    >>> list(found.to_frame().value)
    [5.0, 15.0]
    """
    specs = _specs(*map(_listed, (mean, proportion, ratio, quantile)))
    columns = list(dict.fromkeys(column for spec in specs.values() for column in spec.columns))
    if covariate is not None:
        columns.append(Column(covariate, "mean"))
    segments = _listed(segment)
    backend = ibis.duckdb.connect()
    try:
        rows = _checked(backend, Path(file), variant, unit, columns, segments, covariate)
        repeated = 0
        if unit is not None:
            rows, repeated = _per_unit(backend, rows, columns, segments)
        sums = {place[0]: moments for place, moments in _arms(backend, rows, len(columns), []).items()}
        keys = _ordered(sums, control)
        arms = {key: sums[key] for key in keys}
        found = {name: _moments_of(backend, rows, spec, columns, arms, covariate) for name, spec in specs.items()}
        split = {name: _arms(backend, rows, len(columns), [f"segment{i}"]) for i, name in enumerate(segments)}
    finally:
        backend.disconnect()
    shares = _weights(keys, weights)
    told = f"{covariate}, a column" if covariate else ""
    metrics = {
        name: _compared(spec, found[name], keys, confidence, planned_units, told) for name, spec in specs.items()
    }
    units = {key: arms[key].n for key in keys}
    checks: list[Check] = [sample_ratio(units, shares)]
    if unit is not None:
        checks.append(multiple_exposure(repeated, sum(units.values())))
    first = next(iter(specs))
    shown = {name: _segmented(specs[first], columns, keys, cells, confidence) for name, cells in split.items()}
    correct_interactions(shown)
    return Report(
        experiment=Path(file).name,
        title="",
        as_of_ms=time.time_ns() // 1_000_000,
        epochs=[],
        confidence=confidence,
        window_days=None,
        currency=None,
        simulated=False,
        checks=checks,
        variants=[VariantRow(key, None, units[key], shares[key]) for key in keys],
        metrics=across(metrics, list(metrics), correction),
        details={"segments": {name: {"metric": first, **one} for name, one in shown.items()}} if shown else {},
    )


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _moments_of(
    backend: Any,
    rows: Table,
    spec: Spec,
    columns: list[Column],
    arms: Mapping[str, Moments],
    covariate: str | None,
) -> dict[str, Moments] | str:
    """Give a metric's moments by variant; or why it cannot be had."""
    at = [columns.index(column) for column in spec.columns]
    if spec.quantile is not None:
        try:
            return _quantiles(backend, rows, at[0], spec.quantile, arms)
        except Undefined as undefined:
            return undefined.reason
    with_covariate = [*at, len(columns) - 1] if covariate else at
    return {key: arm.pick(with_covariate, 1 if covariate else 0) for key, arm in arms.items()}


def _compared(
    spec: Spec,
    moments: dict[str, Moments] | str,
    keys: list[str],
    confidence: float,
    planned_units: float | None,
    covariate: str,
) -> MetricResult:
    if isinstance(moments, str):
        return MetricResult(spec.kind, dict.fromkeys(keys), {}, reason=moments)
    control, *others = keys
    told = {key: moments[key] for key in others}
    lifts = compare(spec.kind, moments[control], told, confidence, planned_units, covariate=covariate)
    return MetricResult(spec.kind, {key: one.without_covariates() for key, one in moments.items()}, lifts)


def _segmented(
    spec: Spec, columns: list[Column], keys: list[str], cells: Mapping[Place, Moments], confidence: float
) -> dict[str, Any]:
    if spec.quantile is not None:
        raise AnalysisError("--segment: found a quantile as the first metric; wanted a mean, proportion or ratio")
    at = [columns.index(column) for column in spec.columns]
    by = split_cells({(place[0], place[1]): moments.pick(at) for place, moments in cells.items()}, keys)
    return break_down(by, spec.kind, keys[1:], confidence)


def _quantiles(backend: Any, rows: Table, column: int, share: float, arms: Mapping[str, Moments]) -> dict[str, Moments]:
    """Give a quantile of each arm with its error, from three order statistics of each."""
    x = rows[f"x{column}"]
    reaches = {key: reach(one.n, share, MAX_MULTIPLE) for key, one in arms.items()}
    order = ibis.row_number().over(ibis.window(group_by=rows.variant_, order_by=x)) + 1
    numbered = rows.select("variant_", x=x, rank=order)
    wanted = [(numbered.variant_ == key) & numbered["rank"].between(*ends) for key, ends in reaches.items()]
    found = fetch(backend, numbered.filter(functools.reduce(operator.or_, wanted)))
    at = {(row["variant_"], int(row["rank"])): float(row["x"]) for row in found}
    return {key: quantile_arm(_ranked(key, one.n, share, at)) for key, one in arms.items()}


def _ranked(key: str, n: int, share: float, at: Mapping[tuple[str, int], float]) -> Ranked:
    low, high = reach(n, share, MAX_MULTIPLE)
    return Ranked(n, share, 1.0, lambda rank: at[key, min(max(rank, low), high)])


def _specs(
    mean: Sequence[str], proportion: Sequence[str], ratio: Sequence[str], quantile: Sequence[str]
) -> dict[str, Spec]:
    specs = {name: Spec("proportion", (Column(name, "any"),)) for name in proportion}
    for name in mean:
        if name in specs:
            raise AnalysisError(f"--mean: found {name}, which is a proportion too; wanted each column once")
        specs[name] = Spec("mean", (Column(name),))
    for name in ratio:
        parts = name.split("/")
        if len(parts) != 2 or not all(parts):
            raise AnalysisError(f"--ratio: found {name!r}; wanted NUMERATOR/DENOMINATOR")
        specs[name] = Spec("ratio", (Column(parts[0]), Column(parts[1])))
    for name in quantile:
        column, _colon, told = name.rpartition(":")
        try:
            share = float(told)
        except ValueError:
            share = 0.0
        if not column or not 0 < share < 1:
            raise AnalysisError(f"--quantile: found {name!r}; wanted COLUMN:SHARE, such as spend:0.5")
        specs[name] = Spec("quantile", (Column(column),), share)
    if not specs:
        raise AnalysisError("found no metric; wanted at least one of --mean, --proportion, --ratio, --quantile")
    return specs


def _opened(backend: Any, path: Path, texts: Sequence[str]) -> Table:
    """Open the file; ids and variants are text, or 1.10 would be 1.1 and long ids would lose their last digits."""
    if not path.is_file():
        raise AnalysisError(f"{path}: found no such file; wanted CSV or Parquet")
    if not path.stat().st_size:
        raise AnalysisError(f"{path}: found an empty file; wanted CSV or Parquet")
    name = glob.escape(str(path))  # DuckDB would take a[1].csv for a pattern
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table: Table = backend.read_parquet(name, hive_partitioning=False)
            return table
        table = backend.read_csv(name, header=True, all_varchar=True, hive_partitioning=False)
        if set(texts) <= set(table.columns):
            types = dict.fromkeys(texts, "string")
            table = backend.read_csv(name, header=True, sample_size=-1, hive_partitioning=False, types=types)
    except Exception as error:  # noqa: BLE001  the engine raises several kinds, all of them about the file
        raise AnalysisError(f"{path}: cannot be read as UTF-8 CSV or Parquet: {_told(error)}") from None
    return table


def _told(error: Exception) -> str:
    """Give what an engine says of a file, without its advice on options."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not line.startswith(("*", "Possible", "LINE", "^", "file =", "delimiter =", "quote ="))
    ]
    return " ".join(kept[:3])[:300] or type(error).__name__


def _checked(
    backend: Any,
    path: Path,
    variant: str,
    unit: str | None,
    columns: list[Column],
    segments: list[str],
    covariate: str | None,
) -> Table:
    """
    Keep the columns that are needed, as numbers named x0, x1 and so on.

    Raises:
        AnalysisError: A column is missing, empty somewhere, or not of the numbers that its metric is made of.
    """
    texts = [variant, *([] if unit is None else [unit]), *segments]
    table = _opened(backend, path, texts)
    for name in [*texts, *(column.name for column in columns)]:
        if name not in table.columns:
            raise AnalysisError(f"{path}: found no column {name!r}; wanted one of {', '.join(table.columns)}")
    if not fetch(backend, table.aggregate(n=table.count()))[0]["n"]:
        raise AnalysisError(f"{path}: found no rows; wanted one a unit")
    for column in columns:
        kind = table[column.name].type()
        if not (kind.is_numeric() or kind.is_boolean()):
            raise AnalysisError(f"{column.name}: found text in it; wanted numbers in every row")
    numbers = {f"x{index}": table[column.name].cast("float64") for index, column in enumerate(columns)}
    named = {"variant_": table[variant].cast("string"), "unit_": table[unit or variant].cast("string")}
    named |= {f"segment{index}": table[name].cast("string") for index, name in enumerate(segments)}
    if covariate is not None:  # of units that are new nothing is known: they count as average ones
        told = numbers[f"x{len(columns) - 1}"]
        numbers[f"x{len(columns) - 1}"] = told.fill_null(table[covariate].cast("float64").mean().as_scalar())
    rows = table.select(**named, **numbers)
    _refuse_faulty(backend, rows, variant, unit, columns)
    return rows


def _refuse_faulty(backend: Any, rows: Table, variant: str, unit: str | None, columns: list[Column]) -> None:
    checks = [(variant, rows.variant_.isnull(), _EMPTY), (unit or variant, rows.unit_.isnull(), _EMPTY)]
    for index, column in enumerate(columns):
        x = rows[f"x{index}"]
        checks.append((column.name, x.isnull(), _EMPTY))
        checks.append((column.name, x.isinf() | x.isnan(), "values that are not finite; wanted numbers"))
        if column.together == "any":
            checks.append((column.name, (x != 0) & (x != 1), "values other than 0 and 1; wanted a proportion's"))
    counts = fetch(backend, rows.aggregate(**{f"c{index}": found.sum() for index, (_, found, _) in enumerate(checks)}))[
        0
    ]
    for index, (name, _, sentence) in enumerate(checks):
        if counts[f"c{index}"]:
            raise AnalysisError(f"{name}: found {counts[f'c{index}']:,} {sentence}")


def _per_unit(backend: Any, rows: Table, columns: list[Column], segments: list[str]) -> tuple[Table, int]:
    """Put the rows of each unit together; leave out the units of several variants, and count them."""
    put_together = {"sum": lambda x: x.sum(), "any": lambda x: x.max(), "mean": lambda x: x.mean()}
    values = [put_together[one.together](rows[f"x{index}"]) for index, one in enumerate(columns)]
    named: dict[str, Any] = {f"x{index}": value for index, value in enumerate(values)}
    named |= {f"segment{index}": rows[f"segment{index}"].min() for index in range(len(segments))}
    units = rows.group_by("unit_").aggregate(variant_=rows.variant_.min(), last_=rows.variant_.max(), **named)
    repeated = fetch(backend, units.aggregate(n=(units.variant_ != units.last_).sum()))[0]["n"]
    return units.filter(units.variant_ == units.last_), int(repeated or 0)


def _arms(backend: Any, rows: Table, k: int, by: list[str]) -> dict[Place, Moments]:
    means = fetch(backend, rows.aggregate(**{f"m{index}": rows[f"x{index}"].mean() for index in range(k)}))[0]
    centres = [centre(means[f"m{index}"]) for index in range(k)]
    centred = [rows[f"x{index}"] - typical for index, typical in enumerate(centres)]
    sums: dict[str, Any] = {"n": rows.count()}
    for i, first in enumerate(centred):
        sums[f"s{i}"] = first.sum()
        sums |= {f"p{i}_{j}": (first * second).sum() for j, second in enumerate(centred[i:], i)}
    limit = MAX_VARIANTS * (MAX_VALUES if by else 1) + 1
    found = fetch(backend, rows.group_by(["variant_", *by]).aggregate(**sums).limit(limit))
    if len(found) == limit:
        option = "--segment" if by else "--variant"
        raise AnalysisError(f"{option}: found more than {limit - 1:,} values; wanted a column of a few")
    return {(row["variant_"], *(row[name] for name in by)): _moments(row, centres) for row in found}


def _moments(row: Mapping[str, Any], centres: list[float]) -> Moments:
    at = range(len(centres))
    products = np.array([[row[f"p{min(i, j)}_{max(i, j)}"] for j in at] for i in at], float)
    return Moments.from_centred_sums(int(row["n"]), np.array([row[f"s{i}"] for i in at], float), products, centres)


def _ordered(arms: Mapping[str, Moments], control: str | None) -> list[str]:
    """Put the control first."""
    keys = sorted(arms)
    if not keys:
        raise AnalysisError("--unit: found every unit in several variants; wanted units of one variant each")
    first = next((key for key in keys if key.lower() == "control"), None) if control is None else control
    if first is None:
        raise AnalysisError(f"found the variants {', '.join(keys)}; wanted --control to name one of them")
    if first not in arms:
        raise AnalysisError(f"--control: found {first!r}; wanted one of {', '.join(keys)}")
    if len(keys) < 2:
        raise AnalysisError(f"--variant: found only {first!r}; wanted at least two variants")
    return [first, *(key for key in keys if key != first)]


def _weights(keys: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(keys, 1.0)
    if set(weights) != set(keys) or not any(weights.values()):
        raise AnalysisError(
            f"--weights: found {', '.join(weights)}; wanted a weight for each of {', '.join(keys)}, one above 0"
        )
    return {key: weights[key] for key in keys}
