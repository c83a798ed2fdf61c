"""The embedded store: one SQLite file in WAL mode, durable at every commit."""

import fcntl
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from events.records import EventRecord
from events.stores.group_commit import GroupCommit
from events.stores.protocol import Fetch
from events.stores.sql_store import Execute, SqlStore
from events.stores.sqlite.migrations import SCHEMA_VERSION, migrate
from events.stores.sqlite.writes import GroupWrite
from events.stores.urls import SqliteUrl
from experiments.errors import StoreBusy, StoreError

BUSY_S = 10.0  # how long a writer waits for another process
FETCHED_AT_ONCE = 10_000
_RECORD_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)


class SqliteStore(SqlStore):
    """The Store on SQLite: one connection that writes, shared by the threads of a process, and one that reads."""

    def __init__(self, url: SqliteUrl) -> None:
        self.url = url.text
        self.path = str(url.path)
        self._lock = threading.Lock()
        self._synchronous = ""
        self._groups = GroupCommit(self._commit, self._turn)
        with ExitStack() as opened:  # on failure, closes what was opened before it
            try:
                self._connection = opened.enter_context(closing(self._connect()))
                self._enter_wal()
                self._connection.execute("PRAGMA secure_delete = ON")  # no forgotten id stays in a free page
                # SQLite lets waiting processes poll, and some starve; they wait for the locks of these files instead.
                self._writing = opened.enter_context(open(f"{self.path}-lock", "ab"))
                self._next = opened.enter_context(open(f"{self.path}-next", "ab"))
                if not self._is_current():
                    self._migrate()
                self._reading = opened.enter_context(
                    closing(self._connect())
                )  # readers of a write-ahead log wait for no writer
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"{self.url}: cannot be opened: {error}") from None
            self._opened = opened.pop_all()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    def _enter_wal(self) -> None:
        """Switch to the write-ahead log; where several processes do so at once, SQLite fails instead of waiting."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """Write records in one transaction, with those of other threads; see Store.write."""
        return self._groups.write(records, durable) if records else []

    def _commit(self, batches: Sequence[Sequence[EventRecord]], durable: bool) -> list[list[bool]]:
        group = GroupWrite(batches)
        with self._store_errors():
            self._synchronise("FULL" if durable else "NORMAL")
            execute = self._connection.execute
            if not group.write_at_once(execute):
                with self._begun(execute):
                    group.write(execute)
        return group.fresh

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        """Open a transaction; other processes wait until it ends."""
        execute = self._connection.execute
        with self._turn(), self._store_errors():
            self._synchronise("FULL")
            with self._begun(execute):
                yield execute

    @contextmanager
    def _begun(self, execute: Execute) -> Iterator[None]:
        execute("BEGIN IMMEDIATE")  # takes the write lock at the start, so that no later statement fails for it
        try:
            yield
            execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # a full disk has rolled back by itself
                execute("ROLLBACK")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other thread or process writes."""
        if not self._lock.acquire(timeout=BUSY_S):
            raise StoreBusy(f"{self.url}: another thread has been writing for {BUSY_S:g} s")
        try:
            if self._writing.closed:
                raise StoreError(f"{self.url}: has been closed")
            # The holder of `next` writes next: without it, the last writer would overtake those who wait.
            fcntl.flock(self._next, fcntl.LOCK_EX)
            fcntl.flock(self._writing, fcntl.LOCK_EX)
            fcntl.flock(self._next, fcntl.LOCK_UN)
            yield
        finally:
            if not self._writing.closed:
                fcntl.flock(self._writing, fcntl.LOCK_UN)
            self._lock.release()

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raise StoreError for a full disk, a lock or a damaged file; a record's own fault passes."""
        try:
            yield
        except _RECORD_FAULTS:
            raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.url}: {error}") from None

    def _synchronise(self, level: str) -> None:
        """Set whether a commit waits for the disk (FULL), or only for the operating system (NORMAL)."""
        if level != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._synchronous = level

    @contextmanager
    def snapshot(self) -> Iterator[Fetch]:
        """Open one consistent view of all tables; rows come in a stream."""
        with closing(self._connect()) as connection:
            connection.create_function("content_hash", -1, _content_hash, deterministic=True)
            connection.execute("BEGIN")

            def fetch(query: str, *values: object) -> Iterator[tuple[Any, ...]]:
                cursor = connection.execute(query, values)
                while rows := cursor.fetchmany(FETCHED_AT_ONCE):
                    yield from rows

            try:
                yield fetch
            except sqlite3.Error as error:
                raise StoreError(f"{self.url}: {error}") from None

    def backup(self, path: Path) -> None:
        """Copy the whole store while it is written to; the copy is the state of one moment."""
        try:
            with closing(self._connect()) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)  # all pages in one read transaction: writers go on, and do not restart it
                target.execute("PRAGMA journal_mode = DELETE")  # a single file
        except sqlite3.Error as error:
            raise StoreError(f"{path}: the backup cannot be written: {error}") from None

    def rename(self, pseudonyms: Mapping[str, str], quarantined: Sequence[int]) -> dict[str, int]:
        """Replace ids by pseudonyms, in the log too."""
        changed = super().rename(pseudonyms, quarantined)
        with self._lock:
            is_busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise StoreError(
                f"{self.url}: the ids are replaced in the tables, but another process is reading the store, and its log,"
                f" {self.path}-wal, still holds them: when that process has finished, run the command again"
            )
        return changed

    def close(self) -> None:
        """Close the connections."""
        self._groups.close()
        with self._lock:
            self._opened.close()

    def _wait_for_exposures(self, execute: Execute) -> None:
        """Return at once: one transaction writes at a time."""

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._reading.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.url}: {error}") from None

    def _is_current(self) -> bool:
        try:
            query = "SELECT MAX(name) FROM _sqlite_migrations WHERE migration_set = 'crosslift'"
            newest = self._connection.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # no tables yet
            return False
        if newest is not None and newest > SCHEMA_VERSION:
            raise StoreError(
                f"{self.url}: was written by a newer crosslift (schema {newest}; this one supports {SCHEMA_VERSION}): upgrade"
            )
        return bool(newest == SCHEMA_VERSION)

    def _migrate(self) -> None:
        with self._transaction():  # of several processes that start at once, one migrates and the others wait
            if not self._is_current():
                migrate(self._connection)


def _content_hash(*values: object) -> int:
    return zlib.crc32(repr(values).encode())
