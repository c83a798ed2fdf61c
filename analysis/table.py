"""`crosslift analyze`: the same engine on any CSV or Parquet file of one row per unit."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import numpy as np
from ibis.expr.types import Table

from analysis.engine import fetch
from analysis.lifts import Kind, compare
from analysis.moments import Moments, centre
from analysis.reports import MetricResult, Report, VariantRow
from analysis.trust import Check, multiple_exposure, sample_ratio
from experiments.errors import AnalysisError

MAX_VARIANTS = 50

_EMPTY = "rows without a value; wanted one in each, 0 where nothing was bought"


def analyze(
    file: str | Path,
    variant: str,
    control: str | None = None,
    unit: str | None = None,
    mean: Sequence[str] = (),
    proportion: Sequence[str] = (),
    ratio: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    confidence: float = 0.95,
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

    Raises:
        AnalysisError: The file cannot be read, lacks a column, or has values that no metric can be made of.
    """
    specs = _specs(mean, proportion, ratio)
    columns = list(dict.fromkeys(column for _, names in specs.values() for column in names))
    backend = ibis.duckdb.connect()
    try:
        rows = _checked(
            backend,
            _opened(backend, Path(file)),
            variant,
            unit,
            columns,
            [names[0] for kind, names in specs.values() if kind == "proportion"],
        )
        repeated = 0
        if unit is not None:
            rows, repeated = _per_unit(
                backend, rows, columns, {names[0] for kind, names in specs.values() if kind == "proportion"}
            )
        arms = _arms(backend, rows, columns)
    finally:
        backend.disconnect()
    ordered = _ordered(arms, control)
    shares = _weights(ordered, weights)
    metrics = {}
    for name, (kind, names) in specs.items():
        moments = {key: _pick(arms[key], columns, names) for key in ordered}
        first, *others = ordered
        lifts = compare(kind, moments[first], {key: moments[key] for key in others}, confidence)
        metrics[name] = MetricResult(kind, moments, lifts)
    units = {key: arms[key].n for key in ordered}
    checks: list[Check] = [sample_ratio(units, shares)]
    if unit is not None:
        checks.append(multiple_exposure(repeated, sum(units.values())))
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
        variants=[VariantRow(key, None, units[key], shares[key]) for key in ordered],
        metrics=metrics,
    )


def _specs(
    mean: Sequence[str], proportion: Sequence[str], ratio: Sequence[str]
) -> dict[str, tuple[Kind, tuple[str, ...]]]:
    specs: dict[str, tuple[Kind, tuple[str, ...]]] = {}
    specs |= {name: ("proportion", (name,)) for name in proportion}
    for name in mean:
        if name in specs:
            raise AnalysisError(f"--mean: found {name}, which is a proportion too; wanted each column once")
        specs[name] = ("mean", (name,))
    for name in ratio:
        parts = name.split("/")
        if len(parts) != 2 or not all(parts):
            raise AnalysisError(f"--ratio: found {name!r}; wanted NUMERATOR/DENOMINATOR")
        specs[name] = ("ratio", (parts[0], parts[1]))
    if not specs:
        raise AnalysisError("found no metric; wanted at least one of --mean, --proportion, --ratio")
    return specs


def _opened(backend: Any, path: Path) -> Table:
    if not path.is_file():
        raise AnalysisError(f"{path}: found no such file; wanted CSV or Parquet")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table: Table = backend.read_parquet(path)
        else:
            table = backend.read_csv(path, header=True, sample_size=-1)
    except Exception as error:  # noqa: BLE001  the engine raises several kinds, all of them about the file
        raise AnalysisError(f"{path}: cannot be read as CSV or Parquet: {str(error).splitlines()[0]}") from None
    return table


def _checked(
    backend: Any, table: Table, variant: str, unit: str | None, columns: list[str], shares: list[str]
) -> Table:
    """
    Keep the columns that are needed, as numbers.

    Raises:
        AnalysisError: A column is missing, empty somewhere, or not of the numbers that its metric is made of.
    """
    for name in [variant, *([unit] if unit else []), *columns]:
        if name not in table.columns:
            raise AnalysisError(f"found no column {name!r}; wanted one of {', '.join(table.columns)}")
    for name in columns:
        if not (table[name].type().is_numeric() or table[name].type().is_boolean()):
            raise AnalysisError(f"{name}: found {table[name].type()}; wanted numbers in every row")
    numbers = {name: table[name].cast("float64") for name in columns}
    rows = table.select(variant_=table[variant].cast("string"), unit_=table[unit or variant].cast("string"), **numbers)
    checks = [(variant, rows.variant_.isnull(), _EMPTY), (unit or variant, rows.unit_.isnull(), _EMPTY)]
    checks += [(name, rows[name].isnull(), _EMPTY) for name in columns]
    checks += [
        (name, rows[name].isinf() | rows[name].isnan(), "values that are not finite; wanted numbers")
        for name in columns
    ]
    checks += [
        (name, (rows[name] != 0) & (rows[name] != 1), "values other than 0 and 1; wanted a share") for name in shares
    ]
    faulty = {f"c{index}": found.sum() for index, (_, found, _) in enumerate(checks)}
    counts = fetch(backend, rows.aggregate(n=rows.count(), **faulty))[0]
    if not counts["n"]:
        raise AnalysisError("found no rows; wanted one a unit")
    for index, (name, _, sentence) in enumerate(checks):
        if counts[f"c{index}"]:
            raise AnalysisError(f"{name}: found {counts[f'c{index}']:,} {sentence}")
    return rows


def _per_unit(backend: Any, rows: Table, columns: list[str], shares: set[str]) -> tuple[Table, int]:
    """Add the rows up per unit; leave out the units of several variants, and count them."""
    sums = {name: rows[name].max() if name in shares else rows[name].sum() for name in columns}
    units = rows.group_by("unit_").aggregate(variant_=rows.variant_.min(), last_=rows.variant_.max(), **sums)
    counted = fetch(backend, units.aggregate(n=(units.variant_ != units.last_).sum()))[0]["n"]
    return units.filter(units.variant_ == units.last_), int(counted or 0)


def _arms(backend: Any, rows: Table, columns: list[str]) -> dict[str, Moments]:
    means = fetch(backend, rows.aggregate(**{f"m{i}": rows[name].mean() for i, name in enumerate(columns)}))[0]
    centres = [centre(means[f"m{i}"]) for i in range(len(columns))]
    centred = [rows[name] - typical for name, typical in zip(columns, centres, strict=True)]
    sums: dict[str, Any] = {"n": rows.count()}
    for i, first in enumerate(centred):
        sums[f"s{i}"] = first.sum()
        sums |= {f"p{i}_{j}": (first * second).sum() for j, second in enumerate(centred[i:], i)}
    found = fetch(backend, rows.group_by("variant_").aggregate(**sums).limit(MAX_VARIANTS + 1))
    if len(found) > MAX_VARIANTS:
        raise AnalysisError(f"--variant: found more than {MAX_VARIANTS} values; wanted a column that names variants")
    return {row["variant_"]: _moments(row, centres) for row in found}


def _moments(row: Mapping[str, Any], centres: list[float]) -> Moments:
    k = len(centres)
    total = np.array([row[f"s{i}"] for i in range(k)], float)
    products = np.array([[row[f"p{min(i, j)}_{max(i, j)}"] for j in range(k)] for i in range(k)], float)
    n = int(row["n"])
    return Moments(n, total / n, products - np.outer(total, total) / n).shifted(centres)


def _pick(moments: Moments, columns: list[str], names: tuple[str, ...]) -> Moments:
    at = [columns.index(name) for name in names]
    return Moments(moments.n, moments.means[at], moments.scatter[np.ix_(at, at)])


def _ordered(arms: Mapping[str, Moments], control: str | None) -> list[str]:
    """Put the control first."""
    keys = sorted(arms)
    first = control or next((key for key in keys if key.lower() == "control"), None)
    if first is None:
        raise AnalysisError(f"found the variants {', '.join(keys)}; wanted --control to name one of them")
    if first not in arms:
        raise AnalysisError(f"--control: found {first!r}; wanted one of {', '.join(keys)}")
    if len(keys) < 2:
        raise AnalysisError(f"--variant: found only {first!r}; wanted at least two variants")
    return [first, *(key for key in keys if key != first)]


def _weights(ordered: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(ordered, 1.0)
    if set(weights) != set(ordered):
        raise AnalysisError(f"--weights: found {', '.join(weights)}; wanted a weight for each of {', '.join(ordered)}")
    return {key: weights[key] for key in ordered}
