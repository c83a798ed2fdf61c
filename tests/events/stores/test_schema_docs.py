"""The documented tables are those of the declarations."""

import shutil
from pathlib import Path

import pytest

from events.stores import schema_docs
from events.stores.tables import TABLES
from tests.conftest import ROOT


@pytest.mark.parametrize("name", schema_docs.sections())
def test_the_documented_tables_are_the_declared_ones(name: str, tmp_path: Path) -> None:
    """Else run `python -m events.stores.schema_docs`."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    schema_docs.main(tmp_path / "docs")
    assert (tmp_path / "docs" / name).read_text() == (ROOT / "docs" / name).read_text()


def test_every_column_is_documented() -> None:
    """With its name, type and meaning."""
    page = (ROOT / "docs" / "schema.md").read_text()
    for table in TABLES:
        section = page.partition(f"### `{table.name}`")[2].partition("###")[0]
        for column in table.columns:
            assert f"| `{column.name}` | {column.kind}" in section, f"{table.name}.{column.name}"
            assert column.meaning in section
