"""
A file with one row per unit, as DuckDB reads it: only the columns that are needed, checked, and each query one pass.

In plain SQL, since no other engine reads these files, and importing Ibis takes longer than adding up ten million rows.
"""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np

from analysis.stats.moments import Moments
from experiments.errors import AnalysisError

MAX_VARIANTS = 50
MAX_VALUES = 1000  # of a segment's column
TOO_LARGE = 1e150  # its square is beyond all numbers

_EMPTY = "must have a value in every row (0 where nothing was bought); {n:,} {rows} without one"
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN")
_COMBINE = {"sum": "sum", "any": "max", "mean": "avg"}


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column of the file, and how the rows of one unit are combined."""

    name: str
    combine: Literal["sum", "any", "mean"] = "sum"


class UnitRows:
    """
    The rows of a file; the numbers of its columns are called x0, x1 and so on.

    Args:
        connection: An empty DuckDB; it is the caller's to close.
        path: CSV or Parquet.
        variant, unit: The columns of these names; rows are combined by `unit`, where there is one.
        columns: What is added up; the last one is the covariate, where there is one.
        segments: Columns that sums may be broken down by.
        covariate: Where it has no value, a unit counts as an average one.

    Attributes:
        repeated: Units that had rows of several variants, and were left out.

    Raises:
        AnalysisError: The file cannot be read, lacks a column, or has values that make no metric.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        variant: str,
        unit: str | None,
        columns: Sequence[FileColumn],
        segments: Sequence[str],
        covariate: str | None,
    ) -> None:
        self._connection, self._columns, self._rows = connection, columns, "rows"
        self._names = {"variant_": variant, "unit_": unit or variant}
        texts = list(dict.fromkeys([variant, unit or variant, *segments]))
        types = _open(connection, path, texts)
        for name in [*texts, *(column.name for column in columns)]:
            if name not in types:
                raise AnalysisError(f"{path}: has no column {name!r}; its columns are {', '.join(types)}")
        if not self._all("SELECT EXISTS (FROM file)")[0][0]:
            raise AnalysisError(f"{path}: must have one row per unit, but has no rows")
        for column in columns:
            if not _NUMERIC.fullmatch(types[column.name]):
                raise AnalysisError(f"{column.name}: must be a number in every row, but the column has text")
        xs = [f"{_named(column.name)}::DOUBLE" for column in columns]
        if covariate is not None:
            mean = self._all(f"SELECT avg({xs[-1]}) FROM file")[0][0]
            xs[-1] = f"coalesce({xs[-1]}, '{mean}'::DOUBLE)" if mean is not None else xs[-1]
        selected = [f"{_named(variant)}::VARCHAR AS variant_", f"{_named(unit or variant)}::VARCHAR AS unit_"]
        selected += [f"{_named(name)}::VARCHAR AS segment{index}" for index, name in enumerate(segments)]
        selected += [f"{x} AS x{index}" for index, x in enumerate(xs)]
        connection.execute(f"CREATE TEMP VIEW rows AS SELECT {', '.join(selected)} FROM file")
        self.repeated = 0 if unit is None else self._combine_rows(len(segments))

    def moments(self, at: Sequence[int]) -> dict[str, Moments]:
        """Return the moments of some columns by variant."""
        return {row[0]: self._moments(row[1:], at) for row in self._sums(at, ["variant_"], "--variant", MAX_VARIANTS)}

    def moments_by_segment(self, at: Sequence[int], segment: int) -> dict[str | None, dict[str, Moments]]:
        """Return the moments of some columns by the value of a segment's column, then by variant."""
        moments: dict[str | None, dict[str, Moments]] = {}
        by = ["variant_", f"segment{segment}"]
        for row in self._sums(at, by, "--segment", MAX_VARIANTS * MAX_VALUES):
            moments.setdefault(row[1], {})[row[0]] = self._moments(row[2:], at)
        return moments

    def _sums(self, at: Sequence[int], by: Sequence[str], option: str, limit: int) -> list[tuple[Any, ...]]:
        """
        Read counts, means and covariances, by some columns.

        DuckDB's covariances are updated value by value (Welford 1962), so nothing large is subtracted from anything large.
        """
        sums = [f"favg(x{index})" for index in at]
        sums += [f"covar_pop(x{at[i]}, x{at[j]})" for i, j in _pairs(at)]
        faults = [f"count(*) - count(x{index})" for index in at]
        faults += [f"count_if(x{index} NOT IN (0, 1))" for index in at if self._columns[index].combine == "any"]
        columns = ", ".join([*by, "count(*)", *sums, *faults])
        query = f"SELECT {columns} FROM {self._rows} GROUP BY {', '.join(by)} LIMIT {limit + 1}"
        rows = self._all(query)
        if len(rows) > limit:
            raise AnalysisError(f"{option}: must be a column of at most {limit:,} values")
        if any(row[0] is None or any(row[len(row) - len(faults) :]) for row in rows):
            self._refuse_faulty()
        return rows

    def _moments(self, sums: Sequence[Any], at: Sequence[int]) -> Moments:
        """Build moments from a row of `_sums`, less what it is grouped by."""
        n, means, covariances = sums[0], sums[1 : 1 + len(at)], sums[1 + len(at) :]
        scatter = np.empty((len(at), len(at)))
        for (i, j), covariance in zip(_pairs(at), covariances, strict=False):
            scatter[i, j] = scatter[j, i] = covariance * n
        if not ((np.abs(means) < TOO_LARGE).all() and np.isfinite(scatter).all()):
            self._refuse_faulty()
            raise AnalysisError("values must be below 1e150: larger ones cannot be squared and added up")
        return Moments(n, np.array(means, float), scatter)

    def between(self, column: int, ranks: Mapping[str, tuple[int, int]]) -> dict[str, list[tuple[int, float]]]:
        """
        Return each variant's values of a column between two ranks, in rising order, each with its last rank.

        Prices stand on few points: counting them is quicker than sorting all rows.
        """
        wanted = [
            f"variant_ = {_text(key)} AND upto >= {first} AND upto - n < {last}" for key, (first, last) in ranks.items()
        ]
        counted = f"SELECT variant_, x{column} AS x, count(*) AS n FROM {self._rows} GROUP BY ALL"
        ranked = f"SELECT *, sum(n) OVER (PARTITION BY variant_ ORDER BY x) AS upto FROM ({counted})"
        rows = self._all(f"SELECT variant_, upto, x FROM ({ranked}) WHERE {' OR '.join(wanted)} ORDER BY x")
        values: dict[str, list[tuple[int, float]]] = {key: [] for key in ranks}
        for key, upto, x in rows:
            values[key].append((int(upto), x))
        return values

    def _combine_rows(self, segments: int) -> int:
        """Combine the rows of each unit; leave out the units of several variants, and count them."""
        self._refuse_faulty()
        values = [f"{_COMBINE[column.combine]}(x{index}) AS x{index}" for index, column in enumerate(self._columns)]
        values += [f"min(segment{index}) AS segment{index}" for index in range(segments)]
        columns = ", ".join(["min(variant_) AS variant_", "max(variant_) AS last_", *values])
        self._connection.execute(f"CREATE TEMP TABLE units AS SELECT {columns} FROM rows GROUP BY unit_")
        self._rows = "(FROM units WHERE variant_ = last_)"
        return int(self._all("SELECT count_if(variant_ <> last_) FROM units")[0][0])

    def _refuse_faulty(self) -> None:
        checks = [(name, f"{column} IS NULL", _EMPTY) for column, name in self._names.items()]
        for index, column in enumerate(self._columns):
            checks.append((column.name, f"x{index} IS NULL", _EMPTY))
            checks.append(
                (column.name, f"NOT isfinite(x{index})", "must be a finite number; {n:,} {rows} with another value")
            )
            if column.combine == "any":
                fault = "must be 0 or 1 for a proportion; {n:,} {rows} with another value"
                checks.append((column.name, f"x{index} NOT IN (0, 1)", fault))
        counts = self._all(f"SELECT {', '.join(f'count_if({fault})' for _, fault, _ in checks)} FROM rows")[0]
        for (name, _, sentence), count in zip(checks, counts, strict=True):
            if count:
                raise AnalysisError(f"{name}: {sentence.format(n=count, rows='row' if count == 1 else 'rows')}")

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows; values stand quoted in the query, since DuckDB imports pandas to look at parameters."""
        return self._connection.execute(query).fetchall()


def _pairs(at: Sequence[int]) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(at)) for j in range(i, len(at))]


def _open(connection: duckdb.DuckDBPyConnection, path: Path, texts: Sequence[str]) -> dict[str, str]:
    """
    Make a view `file`; ids and variants are text, or 1.10 would be 1.1 and long ids would lose their last digits.

    Returns:
        The columns' types by name.
    """
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; must be CSV or Parquet")
    if not path.stat().st_size:
        raise AnalysisError(f"{path}: is empty; must be CSV or Parquet")
    name = _text(glob.escape(str(path)))  # DuckDB would take a[1].csv for a pattern
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _view(connection, f"read_parquet({name}, hive_partitioning = false)")
        read = f"read_csv({name}, header = true, hive_partitioning = false"
        columns = _view(connection, f"{read}, all_varchar = true)")
        if not set(texts) <= set(columns):
            return columns
        types = ", ".join(f"{_text(one)}: 'VARCHAR'" for one in texts)
        return _view(connection, f"{read}, sample_size = -1, types = {{{types}}})")
    except duckdb.Error as error:
        raise AnalysisError(f"{path}: cannot be read as UTF-8 CSV or Parquet: {_message(error)}") from None


def _view(connection: duckdb.DuckDBPyConnection, read: str) -> dict[str, str]:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW file AS FROM {read}")
    return {row[0]: row[1] for row in connection.execute("DESCRIBE file").fetchall()}


def _message(error: Exception) -> str:
    """Return what an engine says of a file, without its advice on options."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    advice = ("*", "Possible", "LINE", "^", "file =", "delimiter =", "quote =")
    useful = [line for line in lines if not line.startswith(advice)]
    return " ".join(useful[:3])[:300] or type(error).__name__


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
