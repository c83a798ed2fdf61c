"""One session of queries to a store: its tables as expressions, and the few rows of a result."""

from collections.abc import Callable
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import Table

from analysis.queries.engines.dialects import Dialect, named
from analysis.queries.engines.second_connection import SecondConnection


class Session:
    """Reads one store within one snapshot, in which nothing changes: no query need run twice."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.tables = dialect.table_names()
        self._has_rows: dict[str, bool] = {}
        self._temporary = 0
        self.second: SecondConnection | None = None

    def table(self, name: str) -> Table:
        """Return one of the store's tables."""
        table: Table = self.dialect.backend.table(name)
        return table

    def rows(self, expression: Any) -> list[dict[str, Any]]:
        """Run an expression with few rows."""
        return self.dialect.fetch(expression)

    def begin(self, expression: Any) -> Callable[[], list[dict[str, Any]]]:
        """Begin to run an expression, on a second connection if the engine has one; the function returned waits for its rows."""
        if self.second is None:
            return lambda: self.rows(expression)
        wait = self.second.begin(self.dialect.backend.compile(expression))
        return lambda: named(expression, wait())

    def temporary(self, expression: Table) -> Table:
        """Run an expression into a temporary table of the engine, and return that table."""
        table: Table = self.dialect.materialise(expression, self._new_name())
        return table

    def shallow(self, expression: Table) -> Table:
        """Return an expression that others can be built on: SQLite's parser gives up on selections nested deeply."""
        table: Table = self.dialect.shallow(expression, self._new_name())
        return table

    def _new_name(self) -> str:
        self._temporary += 1
        return f"report_{self._temporary}_"

    def equals(self, table: Table, column: str, value: str) -> Any:
        """Return the condition that a column has a value, for a query that reads all rows that have it."""
        condition = table[column] == value
        return self.likely(condition) if self.dialect.is_common(table, column, value) else condition

    def likely(self, condition: Any) -> Any:
        """Mark a condition that nearly all rows meet, so that the engine does not search for them."""
        return self.dialect.likely(condition)

    def has_rows(self, name: str) -> bool:
        """Check whether a table has rows; most stores link no visitors, and need no joins for it."""
        if name not in self._has_rows:
            self._has_rows[name] = bool(self.rows(self.table(name).limit(1)))
        return self._has_rows[name]

    def as_units(self, table: Table) -> Table:
        """Replace visitors by the unit that they are an alias of, in the column `unit_id`."""
        if not self.has_rows("aliases"):
            return table
        aliases = self.table("aliases").select(alias_of_=_.visitor_id, alias_unit_=_.unit_id)
        joined = table.left_join(aliases, table.unit_id == aliases.alias_of_)
        return joined.mutate(unit_id=joined.alias_unit_.coalesce(joined.unit_id)).drop("alias_of_", "alias_unit_")


def union_of(parts: list[Table]) -> Table:
    """Return the rows of several tables of the same columns."""
    if len(parts) == 1:
        return parts[0]
    # A union needs equal types, and one part may be known never to be null.
    return ibis.union(
        *(part.cast({name: kind(nullable=True) for name, kind in part.schema().items()}) for part in parts)
    )
