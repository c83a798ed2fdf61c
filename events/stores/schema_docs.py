"""Writes the tables of docs/schema.md and docs/importing.md: `python -m events.stores.schema_docs`."""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from events.parser import file_columns, plain_name
from events.records import KINDS
from events.stores.tables import EVENT_TABLES, EXPOSURES, INTERACTIONS, ORDERS, TABLES, Table

_FILES: Mapping[str, Table] = {table.name: table for table in (EXPOSURES, INTERACTIONS, ORDERS)}


def _rows(header: str, rows: Iterable[str]) -> str:
    columns = header.count("|") - 1
    return "\n".join([header, f"|{'---|' * columns}", *rows])


def _schema(table: Table) -> str:
    """Return the section of one table."""

    def row(name: str, kind: str, meaning: str, nullable: bool) -> str:
        marks = [kind, *(["key"] if name in table.key else []), *(["may be null"] if nullable else [])]
        return f"| `{name}` | {', '.join(marks)} | {meaning} |"

    rows = (row(column.name, column.kind, column.meaning, column.nullable) for column in table.columns)
    return f"### `{table.name}`\n\n{table.meaning}\n\n{_rows('| column | type | meaning |', rows)}"


def _file(kind: str) -> str:
    """Return the section of one kind of file."""
    meanings = {plain_name(column.name): column.meaning for column in _FILES[kind].columns}
    columns = file_columns(KINDS[kind])
    rows = (
        f"| `{name}`{' or `visitor_id`' if name == 'unit_id' else ''} | {'yes' if name in columns.needed else ''} |"
        f" {meanings[name]} |"
        for name in (*columns.needed, *columns.optional)
    )
    return f"### {kind.capitalize()}\n\n{_rows('| column | needed | meaning |', rows)}"


def sections() -> Mapping[str, str]:
    """Return the generated text of every page, by the page's name."""
    internal = [table for table in TABLES if table not in EVENT_TABLES]
    return {
        "schema.md": "\n\n".join(map(_schema, (*EVENT_TABLES, *internal))),
        "importing.md": "\n\n".join(map(_file, KINDS)),
    }


def written(page: str, section: str) -> str:
    """Return a page with its generated part replaced."""
    begin, end = "<!-- written by python -m events.stores.schema_docs -->", "<!-- end -->"
    return re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n\n{section}\n\n{end}", page, flags=re.DOTALL
    )


def main(folder: Path) -> None:
    """Write the pages of a folder of docs."""
    for name, section in sections().items():
        page = folder / name
        page.write_text(written(page.read_text(encoding="utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
