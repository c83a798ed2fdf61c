"""`crosslift analyze`: the same engine on any CSV or Parquet file of one row per unit."""

import glob
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
Names = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file, and how a unit's rows of it are put together."""

    name: str
    together: Literal["sum", "any"] = "sum"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric that was asked for."""

    kind: Kind
    columns: tuple[Column, ...]


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
    specs = _specs(*(([names] if isinstance(names, str) else names) for names in (mean, proportion, ratio)))
    columns = list(dict.fromkeys(column for spec in specs.values() for column in spec.columns))
    backend = ibis.duckdb.connect()
    try:
        rows = _checked(backend, Path(file), variant, unit, columns)
        repeated = 0
        if unit is not None:
            rows, repeated = _per_unit(backend, rows, columns)
        arms = _arms(backend, rows, len(columns))
    finally:
        backend.disconnect()
    keys = _ordered(arms, control)
    shares = _weights(keys, weights)
    metrics = {
        name: _compared(spec, columns, {key: arms[key] for key in keys}, confidence) for name, spec in specs.items()
    }
    units = {key: arms[key].n for key in keys}
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
        variants=[VariantRow(key, None, units[key], shares[key]) for key in keys],
        metrics=metrics,
    )


def _compared(spec: Spec, columns: list[Column], arms: Mapping[str, Moments], confidence: float) -> MetricResult:
    at = [columns.index(column) for column in spec.columns]
    moments = {key: arm.pick(at) for key, arm in arms.items()}
    control, *others = moments
    lifts = compare(spec.kind, moments[control], {key: moments[key] for key in others}, confidence)
    return MetricResult(spec.kind, moments, lifts)


def _specs(mean: Sequence[str], proportion: Sequence[str], ratio: Sequence[str]) -> dict[str, Spec]:
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
    if not specs:
        raise AnalysisError("found no metric; wanted at least one of --mean, --proportion, --ratio")
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


def _checked(backend: Any, path: Path, variant: str, unit: str | None, columns: list[Column]) -> Table:
    """
    Keep the columns that are needed, as numbers named x0, x1 and so on.

    Raises:
        AnalysisError: A column is missing, empty somewhere, or not of the numbers that its metric is made of.
    """
    texts = [variant, *([] if unit is None else [unit])]
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


def _per_unit(backend: Any, rows: Table, columns: list[Column]) -> tuple[Table, int]:
    """Put the rows of each unit together; leave out the units of several variants, and count them."""
    values = [
        rows[f"x{index}"].sum() if one.together == "sum" else rows[f"x{index}"].max()
        for index, one in enumerate(columns)
    ]
    named = {f"x{index}": value for index, value in enumerate(values)}
    units = rows.group_by("unit_").aggregate(variant_=rows.variant_.min(), last_=rows.variant_.max(), **named)
    repeated = fetch(backend, units.aggregate(n=(units.variant_ != units.last_).sum()))[0]["n"]
    return units.filter(units.variant_ == units.last_), int(repeated or 0)


def _arms(backend: Any, rows: Table, k: int) -> dict[str, Moments]:
    means = fetch(backend, rows.aggregate(**{f"m{index}": rows[f"x{index}"].mean() for index in range(k)}))[0]
    centres = [centre(means[f"m{index}"]) for index in range(k)]
    centred = [rows[f"x{index}"] - typical for index, typical in enumerate(centres)]
    sums: dict[str, Any] = {"n": rows.count()}
    for i, first in enumerate(centred):
        sums[f"s{i}"] = first.sum()
        sums |= {f"p{i}_{j}": (first * second).sum() for j, second in enumerate(centred[i:], i)}
    found = fetch(backend, rows.group_by("variant_").aggregate(**sums).limit(MAX_VARIANTS + 1))
    if len(found) > MAX_VARIANTS:
        raise AnalysisError(f"--variant: found more than {MAX_VARIANTS} values; wanted a column that names variants")
    return {row["variant_"]: _moments(row, centres) for row in found}


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
