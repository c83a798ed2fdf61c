"""
A file of one row a unit, as DuckDB reads it: only the columns that are needed, checked, and each question one pass.

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

_EMPTY = "rows without a value; wanted one in each, 0 where nothing was bought"
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN")
_TOGETHER = {"sum": "sum", "any": "max", "mean": "avg"}

Place = tuple[Any, ...]  # the variant, and the value of the segment's column


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file, and how a unit's rows of it are put together."""

    name: str
    together: Literal["sum", "any", "mean"] = "sum"


class UnitRows:
    """
    The rows of a file: x0, x1 and so on are its columns' numbers.

    Args:
        connection: An empty DuckDB; it is the caller's to close.
        path: CSV or Parquet.
        variant, unit: The columns of these names; rows are put together by `unit`, where there is one.
        columns: What is added up; the last one is the covariate, where there is one.
        segments: Columns that sums may be broken down by.
        covariate: Where it has no value, a unit counts as an average one.

    Attributes:
        repeated: Units that had rows of several variants, and were left out.

    Raises:
        AnalysisError: The file cannot be read, lacks a column, or has values that no metric can be made of.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        variant: str,
        unit: str | None,
        columns: Sequence[Column],
        segments: Sequence[str],
        covariate: str | None,
    ) -> None:
        self._connection, self._columns, self._rows = connection, columns, "rows"
        self._names = {"variant_": variant, "unit_": unit or variant}
        texts = list(dict.fromkeys([variant, unit or variant, *segments]))
        types = _open(connection, path, texts)
        for name in [*texts, *(column.name for column in columns)]:
            if name not in types:
                raise AnalysisError(f"{path}: found no column {name!r}; wanted one of {', '.join(types)}")
        if not self._all("SELECT EXISTS (FROM file)")[0][0]:
            raise AnalysisError(f"{path}: found no rows; wanted one a unit")
        for column in columns:
            if not _NUMERIC.fullmatch(types[column.name]):
                raise AnalysisError(f"{column.name}: found text in it; wanted numbers in every row")
        xs = [f"{_named(column.name)}::DOUBLE" for column in columns]
        if covariate is not None:
            mean = self._all(f"SELECT avg({xs[-1]}) FROM file")[0][0]
            xs[-1] = f"coalesce({xs[-1]}, '{mean}'::DOUBLE)" if mean is not None else xs[-1]
        told = [f"{_named(variant)}::VARCHAR AS variant_", f"{_named(unit or variant)}::VARCHAR AS unit_"]
        told += [f"{_named(name)}::VARCHAR AS segment{index}" for index, name in enumerate(segments)]
        told += [f"{x} AS x{index}" for index, x in enumerate(xs)]
        connection.execute(f"CREATE TEMP VIEW rows AS SELECT {', '.join(told)} FROM file")
        self.repeated = 0 if unit is None else self._put_together(len(segments))

    def moments(self, at: Sequence[int], segment: int | None = None) -> dict[Place, Moments]:
        """
        Give the moments of some columns by variant, and by a segment's values.

        DuckDB's covariances are updated value by value (Welford 1962), so nothing large is subtracted from anything large.
        """
        by = ["variant_", *([] if segment is None else [f"segment{segment}"])]
        pairs = [(i, j) for i in range(len(at)) for j in range(i, len(at))]
        told = [f"favg(x{one})" for one in at] + [f"covar_pop(x{at[i]}, x{at[j]})" for i, j in pairs]
        faults = [f"count(*) - count(x{one})" for one in at]
        faults += [f"count_if(x{one} NOT IN (0, 1))" for one in at if self._columns[one].together == "any"]
        limit = MAX_VARIANTS * (1 if segment is None else MAX_VALUES) + 1
        asked = ", ".join([*by, "count(*)", *told, *faults])
        rows = self._all(f"SELECT {asked} FROM {self._rows} GROUP BY {', '.join(by)} LIMIT {limit}")
        if len(rows) == limit:
            option = "--variant" if segment is None else "--segment"
            raise AnalysisError(f"{option}: found more than {limit - 1:,} values; wanted a column of a few")
        if any(row[0] is None or any(row[len(row) - len(faults) :]) for row in rows):
            self._refuse_faulty()
        found = {}
        for row in rows:
            n, means, covariances = row[len(by)], row[len(by) + 1 :][: len(at)], row[len(by) + 1 + len(at) :]
            scatter = np.empty((len(at), len(at)))
            for (i, j), covariance in zip(pairs, covariances, strict=False):
                scatter[i, j] = scatter[j, i] = covariance * n
            if not ((np.abs(means) < TOO_LARGE).all() and np.isfinite(scatter).all()):
                self._refuse_faulty()
                raise AnalysisError("found values too large to square and add up; wanted numbers below 1e150")
            found[row[: len(by)]] = Moments(n, np.array(means, float), scatter)
        return found

    def between(self, column: int, ranks: Mapping[str, tuple[int, int]]) -> dict[str, list[tuple[int, float]]]:
        """
        Give each variant's values of a column between two ranks, in rising order, each with its last rank.

        Prices stand on few points: counting them is quicker than sorting all rows.
        """
        wanted = [
            f"variant_ = {_text(key)} AND upto >= {first} AND upto - n < {last}" for key, (first, last) in ranks.items()
        ]
        counted = f"SELECT variant_, x{column} AS x, count(*) AS n FROM {self._rows} GROUP BY ALL"
        ranked = f"SELECT *, sum(n) OVER (PARTITION BY variant_ ORDER BY x) AS upto FROM ({counted})"
        rows = self._all(f"SELECT variant_, upto, x FROM ({ranked}) WHERE {' OR '.join(wanted)} ORDER BY x")
        found: dict[str, list[tuple[int, float]]] = {key: [] for key in ranks}
        for key, upto, x in rows:
            found[key].append((int(upto), x))
        return found

    def _put_together(self, segments: int) -> int:
        """Put the rows of each unit together; leave out the units of several variants, and count them."""
        self._refuse_faulty()
        told = [f"{_TOGETHER[one.together]}(x{index}) AS x{index}" for index, one in enumerate(self._columns)]
        told += [f"min(segment{index}) AS segment{index}" for index in range(segments)]
        asked = ", ".join(["min(variant_) AS variant_", "max(variant_) AS last_", *told])
        self._connection.execute(f"CREATE TEMP TABLE units AS SELECT {asked} FROM rows GROUP BY unit_")
        self._rows = "(FROM units WHERE variant_ = last_)"
        return int(self._all("SELECT count_if(variant_ <> last_) FROM units")[0][0])

    def _refuse_faulty(self) -> None:
        checks = [(name, f"{column} IS NULL", _EMPTY) for column, name in self._names.items()]
        for index, column in enumerate(self._columns):
            checks.append((column.name, f"x{index} IS NULL", _EMPTY))
            checks.append((column.name, f"NOT isfinite(x{index})", "values that are not finite; wanted numbers"))
            if column.together == "any":
                wanted = "values other than 0 and 1; wanted a proportion's"
                checks.append((column.name, f"x{index} NOT IN (0, 1)", wanted))
        counts = self._all(f"SELECT {', '.join(f'count_if({fault})' for _, fault, _ in checks)} FROM rows")[0]
        for (name, _, sentence), count in zip(checks, counts, strict=True):
            if count:
                raise AnalysisError(f"{name}: found {count:,} {sentence}")

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        """Give all rows; values stand quoted in the query, since DuckDB imports pandas to look at parameters."""
        return self._connection.execute(query).fetchall()


def _open(connection: duckdb.DuckDBPyConnection, path: Path, texts: Sequence[str]) -> dict[str, str]:
    """
    Make a view `file`; ids and variants are text, or 1.10 would be 1.1 and long ids would lose their last digits.

    Returns:
        The columns' types by name.
    """
    if not path.is_file():
        raise AnalysisError(f"{path}: found no such file; wanted CSV or Parquet")
    if not path.stat().st_size:
        raise AnalysisError(f"{path}: found an empty file; wanted CSV or Parquet")
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
        raise AnalysisError(f"{path}: cannot be read as UTF-8 CSV or Parquet: {_told(error)}") from None


def _view(connection: duckdb.DuckDBPyConnection, read: str) -> dict[str, str]:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW file AS FROM {read}")
    return {row[0]: row[1] for row in connection.execute("DESCRIBE file").fetchall()}


def _told(error: Exception) -> str:
    """Give what an engine says of a file, without its advice on options."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    advice = ("*", "Possible", "LINE", "^", "file =", "delimiter =", "quote =")
    kept = [line for line in lines if not line.startswith(advice)]
    return " ".join(kept[:3])[:300] or type(error).__name__


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
