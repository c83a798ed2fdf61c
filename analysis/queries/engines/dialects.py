"""
What differs between the engines that Ibis speaks to: one class an engine.

`Dialect` does without any knowledge of an engine, through Ibis alone. The others run SQL on the engine's own cursor: Ibis would
take the rows through pandas, which costs more than most of these queries do.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import ibis
from ibis import udf

from analysis.queries.engines import spark
from analysis.queries.engines.second_connection import SecondConnection, begin_reading
from events.lake import TABLES
from experiments.errors import StoreError

SAMPLED = 500  # rows
_TEXTS = (("string", "string"), "string")

Rows = list[dict[str, Any]]


@udf.scalar.builtin(name="json_extract", signature=(("string", "string"), "int64"))
def _sqlite_json(text, path):  # type: ignore[no-untyped-def]
    """SQLite's function, which returns values of any type: declared as numbers, they are cast to text."""


@udf.scalar.builtin(name="json_type", signature=_TEXTS)
def _sqlite_json_type(text, path):  # type: ignore[no-untyped-def]
    """SQLite's function."""


@udf.scalar.builtin(name="json_extract_string", signature=_TEXTS)
def _duckdb_json(text, path):  # type: ignore[no-untyped-def]
    """DuckDB's function."""


@udf.scalar.builtin(name="likely", signature=(("boolean",), "boolean"))
def _sqlite_likely(condition):  # type: ignore[no-untyped-def]
    """SQLite's hint that nearly all rows meet a condition."""


@udf.scalar.builtin(name="jsonb_extract_path_text", signature=(("jsonb", "string"), "string"))
def _postgres_json(value, name):  # type: ignore[no-untyped-def]
    """PostgreSQL's function."""


@udf.scalar.builtin(name="get_json_object", signature=_TEXTS)
def _spark_json(text, path):  # type: ignore[no-untyped-def]
    """Spark's function."""


class Dialect:
    """
    An engine of which nothing is known but that Ibis speaks to it.

    Args:
        backend: A connected Ibis backend.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def table_names(self) -> set[str]:
        """Return the names of all tables."""
        return set(self.backend.list_tables())

    def begin_snapshot(self) -> SecondConnection | None:
        """Let all later queries see one moment, where the engine can; return a second connection that sees it too."""
        return None

    def fetch(self, expression: Any) -> Rows:
        """
        Run an expression with few rows.

        Raises:
            StoreError: The engine cannot answer.
        """
        try:
            rows: Rows = self.backend.to_pyarrow(expression).to_pylist()
        except Exception as error:  # noqa: BLE001  every driver has errors of its own
            message = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise StoreError(f"--store: {self.backend.name} cannot answer: {message}") from None
        return rows

    def materialise(self, expression: Any, name: str) -> Any:  # noqa: ARG002  others need the name
        """Store the rows of an expression for this connection, if the engine can; return what to query in its place."""
        return expression

    def shallow(self, expression: Any, name: str) -> Any:  # noqa: ARG002
        """Return an expression that others can be built on."""
        return expression

    def json_text(self, column: Any, name: str) -> Any:
        """Return an attribute of a column of JSON text, as text; null where there is none."""
        value = column.cast("json")[name]
        truth = ibis.cases((value.bool, "true"), (~value.bool, "false"))
        return ibis.coalesce(value.str, value.int.cast("string"), truth, value.float.cast("string"))

    def likely(self, condition: Any) -> Any:
        """Mark a condition that nearly all rows meet; most engines count for themselves."""
        return condition

    def is_common(self, table: Any, column: str, value: str) -> bool:  # noqa: ARG002
        """Check whether a good part of a large table's rows have a value, for an engine that cannot know."""
        return False


class _OwnSql(Dialect):
    """An engine whose SQL we know."""

    def fetch(self, expression: Any) -> Rows:
        return named(expression, self.backend.raw_sql(self.backend.compile(expression)).fetchall())

    def materialise(self, expression: Any, name: str) -> Any:
        self.backend.raw_sql(f"CREATE TEMPORARY TABLE {name} AS {self.backend.compile(expression)}")
        return ibis.table(expression.schema(), name=name)


class Sqlite(_OwnSql):
    """The embedded store."""

    def begin_snapshot(self) -> SecondConnection | None:
        return begin_reading(self.backend.con)

    def shallow(self, expression: Any, name: str) -> Any:
        return self.materialise(expression, name)  # SQLite's parser gives up on selections nested deeply

    def json_text(self, column: Any, name: str) -> Any:
        path = f'$."{name}"'
        kind = _sqlite_json_type(column, path)  # SQLite returns 1 and 0 for what others call true and false
        return kind.isin(["true", "false"]).ifelse(kind, _sqlite_json(column, path).cast("string"))

    def likely(self, condition: Any) -> Any:
        return _sqlite_likely(condition)

    def is_common(self, table: Any, column: str, value: str) -> bool:
        """
        Check a sample of the rows.

        SQLite supposes that few rows have a value, and goes by an index, row by row, which takes ten times as long
        where it is most of them.
        """
        name, connection = table.get_name(), self.backend.con
        last = connection.execute(f'SELECT max(rowid) FROM "{name}"').fetchone()[0] or 0  # noqa: S608
        rows = ", ".join(str(row) for row in range(1, last + 1, max(1, last // SAMPLED)))
        sample = f'SELECT count(*), ifnull(sum("{column}" = ?), 0) FROM "{name}" WHERE rowid IN ({rows})'  # noqa: S608
        read, having = connection.execute(sample, (value,)).fetchone()
        return bool(having > read / 8)


class DuckDb(_OwnSql):
    """A lake, or a file of DuckDB: nobody writes to it meanwhile, so it needs no snapshot."""

    def table_names(self) -> set[str]:
        query = "SELECT table_name FROM information_schema.tables"  # Ibis calls what DuckDB has deprecated
        return {row[0] for row in self.backend.con.execute(query).fetchall()}

    def begin_snapshot(self) -> SecondConnection | None:
        return SecondConnection(self.backend.con.cursor())

    def json_text(self, column: Any, name: str) -> Any:
        return _duckdb_json(column, f'$."{name}"')


class Postgres(_OwnSql):
    """The store for several servers."""

    def begin_snapshot(self) -> SecondConnection | None:
        self.backend.con.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        return None

    def json_text(self, column: Any, name: str) -> Any:
        return _postgres_json(column.cast("jsonb"), name)


class Spark(Dialect):
    """A lake, read by a cluster."""

    def table_names(self) -> set[str]:
        return set(TABLES)  # each has a view, even if of no rows; Ibis would run two jobs to list them

    def fetch(self, expression: Any) -> Rows:
        return named(expression, spark.fetch(self.backend, self.backend.compile(expression)))

    def materialise(self, expression: Any, name: str) -> Any:
        spark.materialise(self.backend, self.backend.compile(expression), name)
        return ibis.table(expression.schema(), name=name)

    def json_text(self, column: Any, name: str) -> Any:
        return _spark_json(column, f"$['{name}']")


_DIALECTS = {"sqlite": Sqlite, "duckdb": DuckDb, "postgres": Postgres, "pyspark": Spark}


def dialect_of(backend: Any) -> Dialect:
    """Return the dialect of a connected Ibis backend."""
    return _DIALECTS.get(backend.name, Dialect)(backend)


def named(expression: Any, rows: Iterable[Sequence[Any]]) -> Rows:
    """Return the rows of an expression by the names of its columns."""
    return [dict(zip(expression.columns, row, strict=True)) for row in rows]
