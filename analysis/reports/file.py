"""`crosslift analyze`: the same comparisons on any CSV or Parquet file with one row per unit."""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from analysis.queries.unit_file import FileColumn, UnitRows
from analysis.reports.comparisons import correct_metrics
from analysis.reports.model import Breakdown, Kind, MetricResult, Moments, Report, SegmentResult, VariantRow
from analysis.reports.trust_checks import multiple_exposure, named, sample_ratio
from analysis.stats import preload
from analysis.stats.comparisons import Undefined
from analysis.stats.heterogeneity import break_down, correct_interactions, split
from analysis.stats.lift import compare
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.orders.quantiles import arm as quantile_arm
from analysis.stats.orders.quantiles import reach
from experiments.errors import AnalysisError

MAX_MULTIPLE = 10.0  # of the standard error, up to which a quantile's order statistics are read

Names = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric of the file."""

    kind: Kind
    columns: tuple[FileColumn, ...]
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
    >>> rows = {"arm": ["control", "control", "offer", "offer"], "spend": [0, 10, 5, 25]}
    >>> pd.DataFrame(rows).to_parquet(file)
    >>> report = analyze(file, variant="arm", mean="spend")
    >>> report.metrics["spend"].lifts["offer"].absolute.estimate
    10.0
    >>> list(report.to_frame().value)
    [5.0, 15.0]
    """
    specs = _specs(*map(_listed, (mean, proportion, ratio, quantile)))
    columns = list(dict.fromkeys(column for spec in specs.values() for column in spec.columns))
    if covariate is not None:
        columns.append(FileColumn(covariate, "mean"))
    segments = _listed(segment)
    at = {name: [columns.index(column) for column in spec.columns] for name, spec in specs.items()}
    first = next(iter(specs))
    if segments and specs[first].quantile is not None:
        raise AnalysisError("--segment: the first metric must be a mean, proportion or ratio, but is a quantile")
    preload()
    with duckdb.connect() as connection:
        rows = UnitRows(connection, Path(file), variant, unit, columns, segments, covariate)
        arms = rows.moments(range(len(columns)))
        keys = _ordered(arms, control)
        arms = {key: arms[key] for key in keys}
        before = [len(columns) - 1] if covariate else []
        moments = {name: _moments_of(rows, spec, at[name], arms, before) for name, spec in specs.items()}
        cells = {name: rows.moments_by_segment(at[first], index) for index, name in enumerate(segments)}
    shares = _weights(keys, weights)
    label = f"{covariate}, a column" if covariate else ""
    metrics = {
        name: _compared(spec, moments[name], keys, confidence, planned_units, label) for name, spec in specs.items()
    }
    units = {key: arms[key].n for key in keys}
    checks = [named("sample_ratio", sample_ratio(units, shares))]
    if unit is not None:
        checks.append(named("multiple_exposure", multiple_exposure(rows.repeated, sum(units.values()))))
    breakdowns = {name: _break_down(specs[first], keys, by_value, confidence) for name, by_value in cells.items()}
    corrected = correct_interactions(breakdowns)
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
        metrics=correct_metrics(metrics, list(metrics), correction),
        segments={name: SegmentResult(first, breakdown) for name, breakdown in corrected.items()} or None,
    )


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _moments_of(
    rows: UnitRows, spec: Spec, at: list[int], arms: Mapping[str, Moments], covariates: list[int]
) -> dict[str, Moments] | str:
    """Return the moments of a metric by variant; or why it cannot be computed."""
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
    treatments = {key: moments[key] for key in others}
    lifts = compare(spec.kind, moments[control], treatments, confidence, planned_units, covariate=covariate)
    return MetricResult(spec.kind, {key: arm.without_covariates() for key, arm in moments.items()}, lifts)


def _break_down(
    spec: Spec, keys: list[str], by_value: Mapping[str | None, Mapping[str, Moments]], confidence: float
) -> Breakdown:
    return break_down(split(by_value, keys), spec.kind, keys[1:], confidence)


def _quantiles(rows: UnitRows, column: int, share: float, units: Mapping[str, int]) -> dict[str, Moments]:
    """Return a quantile of each variant with its error, from the order statistics around it."""
    reaches = {key: reach(n, share, MAX_MULTIPLE) for key, n in units.items()}
    values = rows.between(column, reaches)
    return {key: quantile_arm(_ranked(units[key], share, reaches[key], values[key])) for key in units}


def _ranked(n: int, share: float, ends: tuple[int, int], values: Sequence[tuple[int, float]]) -> Ranked:
    def value(rank: int) -> float:
        if not ends[0] <= rank <= ends[1]:
            raise Undefined("the interval is too wide: it goes beyond the values that were read")
        return values[bisect_left(values, rank, key=lambda pair: pair[0])][1]

    return Ranked(n, share, 1.0, value)


def _specs(
    mean: Sequence[str], proportion: Sequence[str], ratio: Sequence[str], quantile: Sequence[str]
) -> dict[str, Spec]:
    specs = {name: Spec("proportion", (FileColumn(name, "any"),)) for name in proportion}
    for name in mean:
        if name in specs:
            raise AnalysisError(f"--mean: {name} is given as a proportion too: give each column once")
        specs[name] = Spec("mean", (FileColumn(name),))
    for name in ratio:
        parts = name.split("/")
        if len(parts) != 2 or not all(parts):
            raise AnalysisError(f"--ratio: must be NUMERATOR/DENOMINATOR, got {name!r}")
        specs[name] = Spec("ratio", (FileColumn(parts[0]), FileColumn(parts[1])))
    for name in quantile:
        column, _colon, text = name.rpartition(":")
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not column or not 0 < share < 1:
            raise AnalysisError(f"--quantile: must be COLUMN:SHARE, such as spend:0.5, got {name!r}")
        specs[name] = Spec("quantile", (FileColumn(column),), share)
    if not specs:
        raise AnalysisError("no metric: give at least one of --mean, --proportion, --ratio, --quantile")
    return specs


def _ordered(arms: Mapping[str, Moments], control: str | None) -> list[str]:
    """Return the variants, the control first."""
    keys = sorted(arms)
    if not keys:
        raise AnalysisError("--unit: every unit is in several variants; each must be in one")
    first = next((key for key in keys if key.lower() == "control"), None) if control is None else control
    if first is None:
        raise AnalysisError(f"--control: must name one of the variants {', '.join(keys)}")
    if first not in arms:
        raise AnalysisError(f"--control: must be one of {', '.join(keys)}, got {first!r}")
    if len(keys) < 2:
        raise AnalysisError(f"--variant: must have at least two values, has only {first!r}")
    return [first, *(key for key in keys if key != first)]


def _weights(keys: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(keys, 1.0)
    if set(weights) != set(keys) or not any(weights.values()):
        raise AnalysisError(
            f"--weights: must have a weight for each of {', '.join(keys)}, one above 0, got {', '.join(weights)}"
        )
    return {key: weights[key] for key in keys}
