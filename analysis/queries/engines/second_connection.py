"""
A second connection to a store, which counts exposures while the first adds up orders.

SQLite uses one processor for each, and DuckDB leaves one idle while Python writes the next query.
"""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ATTEMPTS = 20


class SecondConnection:
    """
    Runs queries in a thread, on the state of the store that another connection sees.

    Args:
        connection: SQLite's or DuckDB's; it has begun to read.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1)

    def begin(self, query: str) -> Callable[[], list[Any]]:
        """Begin to run a query; the function returned waits for its rows."""
        return self._thread.submit(lambda: self._connection.execute(query).fetchall()).result

    def close(self) -> None:
        """Stop what still runs."""
        self._connection.interrupt()
        self._thread.shutdown(cancel_futures=True)
        self._connection.close()


def begin_reading(one: sqlite3.Connection) -> SecondConnection | None:
    """
    Begin a snapshot on a connection, and open another connection that sees the same snapshot.

    Returns:
        None where the store can be opened only once, or others write to it without pause.
    """
    try:
        path = one.execute("PRAGMA database_list").fetchone()[2]
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error:
        one.execute("BEGIN")
        return None
    for _attempt in range(ATTEMPTS):
        before = _version(other)
        for connection in (one, other):
            connection.execute("BEGIN")
            connection.execute(
                "SELECT 1 FROM sqlite_master LIMIT 1"
            ).fetchone()  # the moment of the first reading is seen
        if _version(other) == before:  # nobody has written between
            return SecondConnection(other)
        one.execute("ROLLBACK")
        other.execute("ROLLBACK")
    one.execute("BEGIN")
    other.close()
    return None


def _version(connection: sqlite3.Connection) -> Any:
    """Return a number that changes when others write."""
    return connection.execute("PRAGMA data_version").fetchone()[0]
