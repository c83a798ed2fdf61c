"""Whether a store or a folder of declarations has changed, without reading its rows."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from events.stores.urls import LakeUrl, PostgresUrl, SparkUrl, SqliteUrl, missing_extra, parse_store_url
from experiments.errors import StoreError

STALE_S = 600.0  # a report depends on the time it is computed for, and a store may be quiet for days


@dataclass(frozen=True, slots=True)
class FileState:
    """What differs once a file has been written to; 0 and 0 where there is none."""

    path: str
    modified_ns: int
    size: int


def store_state(url: str) -> Hashable:
    """
    Return a value that differs once anything has been written to a store.

    Raises:
        StoreError: The store cannot be reached.
    """
    store = parse_store_url(url)
    if isinstance(store, SqliteUrl):
        path = store.path
        return tuple(_file_state(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))
    if isinstance(store, (LakeUrl, SparkUrl)) and store.folder is not None:
        return tuple(_file_state(path) for path in sorted(store.folder.rglob("*")))
    if not isinstance(store, PostgresUrl):
        raise StoreError(f"--watch: must be a store of SQLite or PostgreSQL, or a folder, got {store.label}")
    return _written_rows(url)


def configs_state(folder: str | Path) -> Hashable:
    """Return a value that differs once a declaration or a catalogue has been written."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".yaml", ".yml", ".csv"))
    return tuple(_file_state(path) for path in paths)


def _written_rows(url: str) -> Hashable:
    """Read how many rows PostgreSQL has written since it began to count."""
    try:
        import psycopg
    except ImportError as error:
        raise missing_extra("PostgreSQL", "postgres", error) from None
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables"
            return connection.execute(changes).fetchone()
    except psycopg.Error as error:
        raise StoreError(f"--store: cannot connect to the database: {error}") from None


def _file_state(path: Path) -> FileState:
    try:
        state = path.stat()
    except FileNotFoundError:
        return FileState(str(path), 0, 0)
    return FileState(str(path), state.st_mtime_ns, state.st_size)
