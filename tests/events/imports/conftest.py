"""Imports are tested on SQLite alone: the stores keep one contract."""

from pathlib import Path

import pytest


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """Return the URL of a new store."""
    return f"sqlite:///{tmp_path / 'events.db'}"
