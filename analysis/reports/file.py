"""`crosslift analyze`: the same engine on any CSV or Parquet file of one row per unit."""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from analysis.queries.unit_file import Column, Place, UnitRows
from analysis.reports.model import MetricResult, Report, VariantRow, across
from analysis.reports.trust_checks import Check, multiple_exposure, sample_ratio
from analysis.stats.comparisons import Kind, Undefined
from analysis.stats.heterogeneity import Breakdown, break_down, correct_interactions
from analysis.stats.heterogeneity import split as split_cells
from analysis.stats.lift import compare
from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.orders.quantiles import arm as quantile_arm
from analysis.stats.orders.quantiles import reach
from experiments.errors import AnalysisError

MAX_MULTIPLE = 10.0  # of the standard error, up to which a quantile's order statistics are read

Names = str | Sequence[str]


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
    at = {name: [columns.index(column) for column in spec.columns] for name, spec in specs.items()}
    first = next(iter(specs))
    if segments and specs[first].quantile is not None:
        raise AnalysisError("--segment: found a quantile as the first metric; wanted a mean, proportion or ratio")
    with duckdb.connect() as connection:
        rows = UnitRows(connection, Path(file), variant, unit, columns, segments, covariate)
        arms = {place[0]: moments for place, moments in rows.moments(range(len(columns))).items()}
        keys = _ordered(arms, control)
        arms = {key: arms[key] for key in keys}
        before = [len(columns) - 1] if covariate else []
        found = {name: _moments_of(rows, spec, at[name], arms, before) for name, spec in specs.items()}
        split = {name: rows.moments(at[first], index) for index, name in enumerate(segments)}
    shares = _weights(keys, weights)
    told = f"{covariate}, a column" if covariate else ""
    metrics = {
        name: _compared(spec, found[name], keys, confidence, planned_units, told) for name, spec in specs.items()
    }
    units = {key: arms[key].n for key in keys}
    checks: list[Check] = [sample_ratio(units, shares)]
    if unit is not None:
        checks.append(multiple_exposure(rows.repeated, sum(units.values())))
    shown = correct_interactions(
        {name: _segmented(specs[first], keys, cells, confidence) for name, cells in split.items()}
    )
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
        details={"segments": {name: {"metric": first, **one.to_dict()} for name, one in shown.items()}}
        if shown
        else {},
    )


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _moments_of(
    rows: UnitRows, spec: Spec, at: list[int], arms: Mapping[str, Moments], covariates: list[int]
) -> dict[str, Moments] | str:
    """Give a metric's moments by variant; or why it cannot be had."""
    if spec.quantile is None:
        return {key: arm.pick([*at, *covariates], len(covariates)) for key, arm in arms.items()}
    try:
        return _quantiles(rows, at[0], spec.quantile, {key: arm.n for key, arm in arms.items()})
    except Undefined as undefined:
        return undefined.reason


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


def _segmented(spec: Spec, keys: list[str], cells: Mapping[Place, Moments], confidence: float) -> Breakdown:
    by = split_cells({(place[0], place[1]): moments for place, moments in cells.items()}, keys)
    return break_down(by, spec.kind, keys[1:], confidence)


def _quantiles(rows: UnitRows, column: int, share: float, units: Mapping[str, int]) -> dict[str, Moments]:
    """Give a quantile of each arm with its error, from the order statistics around it."""
    reaches = {key: reach(n, share, MAX_MULTIPLE) for key, n in units.items()}
    found = rows.between(column, reaches)
    return {key: quantile_arm(_ranked(units[key], share, reaches[key], found[key])) for key in units}


def _ranked(n: int, share: float, ends: tuple[int, int], values: Sequence[tuple[int, float]]) -> Ranked:
    def value(rank: int) -> float:
        if not ends[0] <= rank <= ends[1]:
            raise Undefined("an interval so wide is beyond what was read of the values")
        return values[bisect_left(values, rank, key=lambda one: one[0])][1]

    return Ranked(n, share, 1.0, value)


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
