"""Connects to the store or lake that a URL names, through Ibis."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import ibis

from analysis.queries.engines import spark
from analysis.queries.engines.dialects import Dialect, dialect_of
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

_SQL_TYPES = {"integer": "BIGINT", "text": "VARCHAR"}  # DuckDB's


@contextmanager
def connected(url: str) -> Iterator[Dialect]:
    """
    Connect to a store while it is read.

    Raises:
        StoreError: There is no store at the URL.
    """
    parsed = parse_store_url(url)
    if isinstance(parsed, SparkUrl):
        with spark.connected(parsed) as backend:
            yield dialect_of(backend)
        return
    backend = _connect(parsed)
    try:
        yield dialect_of(backend)
    finally:
        backend.disconnect()


def _connect(url: SqliteUrl | PostgresUrl | LakeUrl | OtherUrl) -> Any:
    if isinstance(url, SqliteUrl):
        require_store(url.text)
        try:
            backend = ibis.sqlite.connect(url.path)
            backend.list_tables()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"--store: must be a crosslift store, got {url.label} ({error})") from None
        return backend
    if isinstance(url, PostgresUrl):
        return _connect_postgres(url.text)
    if isinstance(url, LakeUrl):
        return _connect_lake(url.folder)
    return _connect_other(url)


def _connect_lake(folder: Path) -> Any:
    """
    Open a lake in DuckDB: a view of every table's files.

    Columns are read by name, so that files of an older version may stand among newer ones: what they lack is null.
    """
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"--store: {folder} must be a lake that `crosslift export` wrote, but has no {MANIFEST}")
    import duckdb  # stores of SQLite and PostgreSQL do without

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


def _connect_other(url: OtherUrl) -> Any:
    """Connect to any other engine that Ibis supports."""
    if url.scheme not in {entry.name for entry in entry_points(group="ibis.backends")}:
        raise wrong_url(url.label, READABLE)
    read_only = {"read_only": True} if url.scheme == "duckdb" else {}  # else it makes a file where there is none
    try:
        return ibis.connect(url.text, **read_only)
    except ImportError:
        raise StoreError(
            f"--store: {url.scheme} needs Ibis's extra: pip install 'ibis-framework[{url.scheme}]'"
        ) from None
    except Exception as error:  # noqa: BLE001  every driver has errors of its own
        raise StoreError(f"--store: {url.label} cannot be opened: {_without_secrets(error, url.text)}") from None


def _without_secrets(error: Exception, url: str) -> str:
    """Return the first line of a driver's message, without the passwords and tokens of the URL."""
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    parts = urlsplit(url)
    secrets = [parts.password or "", *(value for _name, value in parse_qsl(parts.query))]
    for secret in {form for text in secrets for form in (text, unquote(text), quote(text, safe=""))} - {""}:
        message = message.replace(secret, "***")
    return message
