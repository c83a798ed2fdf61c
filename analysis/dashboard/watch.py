"""Tells cheaply whether a store or its declarations have changed, so that nothing is computed twice."""

import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from events.stores.urls import LakeUrl, PostgresUrl, SparkUrl, SqliteUrl, missing_extra, parse_store_url
from experiments.errors import StoreError

if TYPE_CHECKING:
    from analysis.reports.model import Report

EVERY_S = 2.0
STALE_S = 600.0  # a report tells of the day it is read, and days pass without events


def store_state(url: str) -> Hashable:
    """
    Give what differs once anything has been written to a store.

    Raises:
        StoreError: The store cannot be asked.
    """
    parsed = parse_store_url(url)
    if isinstance(parsed, SqliteUrl):
        path = parsed.path
        return tuple(_file_state(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))
    if isinstance(parsed, (LakeUrl, SparkUrl)) and parsed.folder is not None:
        return tuple((str(path), *_file_state(path)) for path in sorted(parsed.folder.rglob("*")))
    if not isinstance(parsed, PostgresUrl):
        raise StoreError(f"--watch: must be a store of SQLite or PostgreSQL, or a folder, got {parsed.label}")
    try:
        import psycopg
    except ImportError as error:
        raise missing_extra("PostgreSQL", "postgres", error) from None
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables"
            row = connection.execute(changes).fetchone()
    except psycopg.Error as error:
        raise StoreError(f"--store: the database cannot be asked: {error}") from None
    return row


def configs_state(folder: str | Path) -> Hashable:
    """Give what differs once a declaration has been written."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".yaml", ".yml", ".csv"))
    return tuple((str(path), *_file_state(path)) for path in paths)


def watch(make: Callable[[], "Report"], store_url: str, configs: str) -> None:
    """Print a report again whenever the store or the declarations have changed, until interrupted."""
    from rich.console import Console

    from analysis.render.terminal import WIDTH, print_report

    console = Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False)
    seen, printed = None, 0.0
    try:
        while True:
            state = (store_state(store_url), configs_state(configs))
            if state != seen or time.monotonic() - printed > STALE_S:
                made = make()
                console.clear()
                print_report(made, console)
                seen, printed = state, time.monotonic()
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return


def _file_state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
