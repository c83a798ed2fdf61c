"""Backups, and commands that need a store that exists."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from click.testing import Result

from events import Store, open_store
from tests.events.examples import exposure, history

Run = Callable[..., Result]


def test_a_backup_is_a_store(store: Store, store_url: str, run: Run, tmp_path: Path) -> None:
    """Made while others write; a file that is stored already is not overwritten."""
    store.write(history())
    path = tmp_path / "copy"
    done = run("backup", path, "--store", store_url)
    assert done.exit_code == 0, done.output
    store.write([exposure("later")])
    if store_url.startswith("sqlite"):
        with closing(open_store(f"sqlite:///{path}")) as copy:
            assert copy.counts()["exposures"] == 3
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    else:
        assert path.read_bytes()[:5] == b"PGDMP"
    again = run("backup", path, "--store", store_url)
    assert (again.exit_code, "must be a new file, got one that exists" in again.output) == (2, True)


def test_a_store_that_is_not_there_is_not_made(run: Run, tmp_path: Path) -> None:
    """By commands that have nothing to do in a new one."""
    url = f"sqlite:///{tmp_path / 'none.db'}"
    for command in (
        ("export", tmp_path / "lake"),
        ("backup", tmp_path / "b"),
        ("forget", "x"),
        ("prune", "--before", "2026-01-01"),
    ):
        result = run(*command, "--store", url)
        assert (result.exit_code, "must be a store that exists" in str(result.exception)) == (2, True)
    assert list(tmp_path.iterdir()) == []
