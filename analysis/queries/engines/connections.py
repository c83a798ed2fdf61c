"""The engines that Ibis speaks to: connecting, one snapshot for all queries, and the few rows of an expression."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import duckdb
import ibis
from ibis import udf

from analysis.queries.engines import spark
from analysis.queries.engines.second_connection import Beside, begin_reading
from events.lake import MANIFEST, REPEATS, TABLES, LakeTable
from events.stores.urls import (
    READABLE,
    LakeUrl,
    OtherUrl,
    PostgresUrl,
    SparkUrl,
    SqliteUrl,
    missing_extra,
    parse_store_url,
    require_store,
    wrong_url,
)
from experiments.errors import StoreError

SAMPLED = 500  # rows
_SQL_TYPES = {"integer": "BIGINT", "text": "VARCHAR"}  # DuckDB's
_TEXTS = (("string", "string"), "string")
_OURS = ("sqlite", "duckdb", "postgres")  # whose SQL we know


@udf.scalar.builtin(name="json_extract", signature=(("string", "string"), "int64"))
def _sqlite_json(text, path):  # type: ignore[no-untyped-def]
    """SQLite's function, which gives values of any type: declared as numbers, they are cast to text."""


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


@contextmanager
def connected(url: str) -> Iterator[tuple[Any, str]]:
    """
    Connect to a store while it is read.

    Returns:
        The Ibis backend, and the store's name as it may be shown.

    Raises:
        StoreError: There is no store at the URL.
    """
    parsed = parse_store_url(url)
    if isinstance(parsed, SparkUrl):
        with spark.connected(parsed) as backend:
            yield backend, "the lake"
        return
    backend, shown = _connect(parsed)
    try:
        yield backend, shown
    finally:
        backend.disconnect()


def _connect(url: SqliteUrl | PostgresUrl | LakeUrl | OtherUrl) -> tuple[Any, str]:
    if isinstance(url, SqliteUrl):
        require_store(url.text)
        try:
            backend = ibis.sqlite.connect(url.path)
            backend.list_tables()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"--store: must be a crosslift store, got {url.label} ({error})") from None
        return backend, url.label
    if isinstance(url, PostgresUrl):
        return _connect_postgres(url.text), "the database"
    if isinstance(url, LakeUrl):
        return _connect_lake(url.folder), url.label
    return _connect_other(url)


def _connect_lake(folder: Path) -> Any:
    """
    Open a lake in DuckDB: a view of every table's files.

    Columns are read by name, so that files of an older version may stand among newer ones: what they lack is null.
    """
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"--store: found no {MANIFEST} in {folder}; wanted a lake that `crosslift export` wrote")
    backend = ibis.duckdb.connect()
    try:
        for name, table in TABLES.items():
            backend.raw_sql(f"CREATE VIEW {name} AS {_lake_query(backend, folder / name, name, table)}")
    except duckdb.Error as error:
        backend.disconnect()
        raise StoreError(f"--store: {folder} cannot be read: {str(error).splitlines()[0]}") from None
    return backend


def _lake_query(backend: Any, folder: Path, name: str, table: LakeTable) -> str:
    """Return the query that reads a table's files, with every declared column."""
    has_files = any(folder.glob("**/*.parquet"))
    if not has_files and name == "repeats":
        return REPEATS
    pattern = f"{escape(str(folder))}/**/*.parquet".replace("'", "''")
    files = _files_by_column(backend, pattern) if has_files else {}
    columns = ", ".join(
        column.name if column.name in files else f"CAST(NULL AS {_SQL_TYPES[column.kind]}) AS {column.name}"
        for column in table.columns
    )
    if not has_files:
        return f"SELECT {columns} LIMIT 0"
    # Where all files have the same columns DuckDB may take them from the first file, which costs less.
    is_mixed = any(files.get(column.name, files[None]) != files[None] for column in table.columns)
    return f"SELECT {columns} FROM read_parquet('{pattern}', hive_partitioning = false, union_by_name = {is_mixed})"  # noqa: S608


def _files_by_column(backend: Any, pattern: str) -> dict[str | None, int]:
    """Return how many files have each column; under None, how many files there are."""
    query = (
        "SELECT name, count(DISTINCT file_name)"  # noqa: S608
        f" FROM parquet_schema('{pattern}') GROUP BY GROUPING SETS ((name), ())"
    )
    return dict(backend.raw_sql(query).fetchall())


def _connect_postgres(url: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise missing_extra("PostgreSQL", "postgres", error) from None
    try:
        return ibis.postgres.from_connection(psycopg.connect(url, autocommit=True, connect_timeout=5))
    except psycopg.Error as error:
        raise StoreError(f"--store: the database cannot be reached: {' '.join(str(error).split())}") from None


def _connect_other(url: OtherUrl) -> tuple[Any, str]:
    """Connect to any other engine that Ibis supports."""
    if url.scheme not in {one.name for one in entry_points(group="ibis.backends")}:
        raise wrong_url(url.label, READABLE)
    read_only = {"read_only": True} if url.scheme == "duckdb" else {}  # else it makes a file where there is none
    try:
        return ibis.connect(url.text, **read_only), url.label
    except ImportError:
        raise StoreError(
            f"--store: {url.scheme} needs Ibis's extra: pip install 'ibis-framework[{url.scheme}]'"
        ) from None
    except Exception as error:  # noqa: BLE001  every driver has errors of its own
        raise StoreError(f"--store: {url.label} cannot be opened: {_without_secrets(error, url.text)}") from None


def _without_secrets(error: Exception, url: str) -> str:
    """Give the first line of a driver's message, without what the URL says of passwords and tokens."""
    told = next(iter(str(error).strip().splitlines()), type(error).__name__)
    parts = urlsplit(url)
    secrets = [parts.password or "", *(value for _name, value in parse_qsl(parts.query))]
    for secret in {form for one in secrets for form in (one, unquote(one), quote(one, safe=""))} - {""}:
        told = told.replace(secret, "***")
    return told


def table_names(backend: Any) -> set[str]:
    """Give the names of all tables; Ibis asks DuckDB in a way that DuckDB has deprecated, and Spark by two jobs."""
    if backend.name == "pyspark":
        return set(TABLES)  # each has a view, be it of no rows
    if backend.name == "duckdb":
        return {row[0] for row in backend.con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    return set(backend.list_tables())


def begin_snapshot(backend: Any) -> Beside | None:
    """Let all later queries see one moment, where an engine has that, and give a second connection that sees it too."""
    if backend.name == "sqlite":
        return begin_reading(backend.con)
    # Nobody writes a file of DuckDB's that others read, and a lake's files know no moments.
    if backend.name == "duckdb":
        return Beside(backend.con.cursor())
    if backend.name == "postgres":
        backend.con.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    return None


def json_text(backend: Any, column: Any, name: str) -> Any:
    """Give an attribute of a column of JSON text, as text; null where it is not there. Engines have functions of their own."""
    path = f'$."{name}"'
    if backend.name == "postgres":
        return _postgres_json(column.cast("jsonb"), name)
    if backend.name == "duckdb":
        return _duckdb_json(column, path)
    if backend.name == "pyspark":
        return _spark_json(column, f"$['{name}']")
    if backend.name == "sqlite":
        kind = _sqlite_json_type(column, path)  # SQLite gives 1 and 0 for what others call true and false
        return kind.isin(["true", "false"]).ifelse(kind, _sqlite_json(column, path).cast("string"))
    value = column.cast("json")[name]
    truth = ibis.cases((value.bool, "true"), (~value.bool, "false"))
    return ibis.coalesce(value.str, value.int.cast("string"), truth, value.float.cast("string"))


def likely(backend: Any, condition: Any) -> Any:
    """Tell the engine that nearly all rows meet a condition; others than SQLite count for themselves."""
    return _sqlite_likely(condition) if backend.name == "sqlite" else condition


def is_common(backend: Any, table: Any, column: str, value: str) -> bool:
    """
    Tell by a sample whether a good part of a large table's rows have a value; only SQLite needs to be told.

    It supposes that few have it, and goes by an index, row by row, which takes ten times as long where it is most of them.
    """
    if backend.name != "sqlite":
        return False
    name = table.get_name()
    last = backend.con.execute(f'SELECT max(rowid) FROM "{name}"').fetchone()[0] or 0  # noqa: S608
    rows = ", ".join(str(row) for row in range(1, last + 1, max(1, last // SAMPLED)))
    sample = f'SELECT count(*), ifnull(sum("{column}" = ?), 0) FROM "{name}" WHERE rowid IN ({rows})'  # noqa: S608
    read, having = backend.con.execute(sample, (value,)).fetchone()
    return bool(having > read / 8)


def materialise(backend: Any, expression: Any, name: str) -> Any:
    """Keep an expression's rows for this connection, if the engine can; give what is to be asked in its place."""
    if backend.name == "pyspark":
        spark.materialise(backend, backend.compile(expression), name)
    elif backend.name in _OURS:
        backend.raw_sql(f"CREATE TEMPORARY TABLE {name} AS {backend.compile(expression)}")
    else:
        return expression
    return ibis.table(expression.schema(), name=name)


def fetch(backend: Any, expression: Any) -> list[dict[str, Any]]:
    """
    Run an expression on its engine.

    The SQL goes to the engine's own cursor where we know it: Ibis would take the rows through pandas, which costs more than most
    of these queries do.

    Args:
        backend: A connected Ibis backend.
        expression: A table expression with few rows.

    Raises:
        StoreError: The engine cannot answer.
    """
    if backend.name not in (*_OURS, "pyspark"):
        return _fetch_by_ibis(backend, expression)
    query = backend.compile(expression)
    rows = spark.fetch(backend, query) if backend.name == "pyspark" else backend.raw_sql(query).fetchall()
    return named(expression, rows)


def named(expression: Any, rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Give the rows of an expression by the names of its columns."""
    return [dict(zip(expression.columns, row, strict=True)) for row in rows]


def _fetch_by_ibis(backend: Any, expression: Any) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = backend.to_pyarrow(expression).to_pylist()
    except Exception as error:  # noqa: BLE001  every driver has errors of its own
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StoreError(f"--store: {backend.name} cannot answer: {told}") from None
    return rows
