"""The engines that Ibis speaks to: connecting, one snapshot for all queries, and the few rows of an expression."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import ibis
from ibis import udf

from analysis import spark
from events.lake import MANIFEST, TABLES
from events.sql import is_integer
from experiments.errors import StoreError

_TEXTS = (("string", "string"), "string")


@udf.scalar.builtin(name="json_extract", signature=(("string", "string"), "int64"))
def _sqlite_json(text, path):  # type: ignore[no-untyped-def]
    """SQLite's function, which gives values of any type: declared as numbers, they are cast to text."""


@udf.scalar.builtin(name="json_type", signature=_TEXTS)
def _sqlite_json_type(text, path):  # type: ignore[no-untyped-def]
    """SQLite's function."""


@udf.scalar.builtin(name="json_extract_string", signature=_TEXTS)
def _duckdb_json(text, path):  # type: ignore[no-untyped-def]
    """DuckDB's function."""


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
    if url.startswith("spark:"):
        with spark.connected(url) as backend:
            yield backend, "the lake"
        return
    backend, shown = _connect(url)
    try:
        yield backend, shown
    finally:
        backend.disconnect()


def _connect(url: str) -> tuple[Any, str]:
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.is_file():
            raise StoreError(f"--store: found no file {path}; wanted a store that events were written to")
        try:
            backend = ibis.sqlite.connect(path)
            backend.list_tables()
        except sqlite3.DatabaseError as error:
            found = f"found {path}, which cannot be read as SQLite ({error})"
            raise StoreError(f"--store: {found}; wanted a crosslift store") from None
        return backend, str(path)
    if url.startswith(("postgresql://", "postgres://")):
        return _connect_postgres(url), "the database"
    if url.startswith("parquet:"):
        return _connect_lake(Path(url.removeprefix("parquet:"))), url.removeprefix("parquet:")
    raise StoreError(f"--store: found {url!r}; wanted sqlite:///FILE, postgresql://... or parquet:DIR")


def _connect_lake(folder: Path) -> Any:
    """Open a lake in DuckDB: a view of every table's files, or an empty table where it has none."""
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"--store: found no {MANIFEST} in {folder}; wanted a lake that `crosslift export` wrote")
    backend = ibis.duckdb.connect()
    for name, table in TABLES.items():
        files = f"{escape(str(folder / name))}/**/*.parquet".replace("'", "''")
        if any((folder / name).glob("**/*.parquet")):
            backend.raw_sql(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}', hive_partitioning = false)")  # noqa: S608
        else:
            columns = ", ".join(f"{one} {'BIGINT' if is_integer(one) else 'VARCHAR'}" for one in table.columns)
            backend.raw_sql(f"CREATE TABLE {name} ({columns})")
    return backend


def _connect_postgres(url: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise StoreError(f"--store: PostgreSQL wants the extra: pip install 'crosslift[postgres]' ({error})") from None
    try:
        return ibis.postgres.from_connection(psycopg.connect(url, autocommit=True, connect_timeout=5))
    except psycopg.Error as error:
        raise StoreError(f"--store: the database cannot be reached: {' '.join(str(error).split())}") from None


def table_names(backend: Any) -> set[str]:
    """Give the names of all tables; Ibis asks DuckDB in a way that DuckDB has deprecated."""
    if backend.name == "duckdb":
        return {row[0] for row in backend.con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    return set(backend.list_tables())


def begin_snapshot(backend: Any) -> None:
    """Let all later queries see one moment, where an engine has that."""
    if backend.name not in ("sqlite", "duckdb", "postgres"):
        return
    how = " ISOLATION LEVEL REPEATABLE READ" if backend.name == "postgres" else ""
    backend.con.execute(f"BEGIN{how}")


def json_text(backend: Any, column: Any, name: str) -> Any:
    """Give an attribute of a column of JSON text, as text; null where it is not there. Each engine has a function of its own."""
    if backend.name == "postgres":
        return _postgres_json(column.cast("jsonb"), name)
    path = f'$."{name}"'
    if backend.name == "pyspark":
        return _spark_json(column, f"$['{name}']")
    if backend.name != "sqlite":
        return _duckdb_json(column, path)
    kind = _sqlite_json_type(column, path)  # SQLite gives 1 and 0 for what others call true and false
    return kind.isin(["true", "false"]).ifelse(kind, _sqlite_json(column, path).cast("string"))


def materialise(backend: Any, expression: Any, name: str) -> Any:
    """Run an expression into a temporary table of the connection, and give that table."""
    if backend.name == "pyspark":
        spark.materialise(backend, backend.compile(expression), name)
    else:
        backend.raw_sql(f"CREATE TEMPORARY TABLE {name} AS {backend.compile(expression)}")
    return ibis.table(expression.schema(), name=name)


def fetch(backend: Any, expression: Any) -> list[dict[str, Any]]:
    """
    Run an expression on its engine.

    The SQL goes to the engine's own cursor: Ibis would take the rows through pandas, which costs more than most of these
    queries do.

    Args:
        backend: A connected Ibis backend with a DB-API cursor.
        expression: A table expression with few rows.
    """
    query = backend.compile(expression)
    rows = spark.fetch(backend, query) if backend.name == "pyspark" else backend.raw_sql(query).fetchall()
    names = expression.columns
    return [dict(zip(names, row, strict=True)) for row in rows]
