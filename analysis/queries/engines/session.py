"""Puts questions to one store: its tables as expressions, and the few rows of an answer."""

from collections.abc import Callable
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import Table

from analysis.queries.engines.connections import fetch, is_common, likely, materialise, named, table_names
from analysis.queries.engines.second_connection import Beside


class Reader:
    """Reads one store within one snapshot, in which nothing changes: what was asked once is known."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.tables = table_names(backend)
        self._held: dict[str, bool] = {}
        self._temporary = 0
        self.beside: Beside | None = None

    def table(self, name: str) -> Table:
        """Give one of the store's tables."""
        table: Table = self._backend.table(name)
        return table

    def rows(self, expression: Any) -> list[dict[str, Any]]:
        """Run an expression with few rows."""
        return fetch(self._backend, expression)

    def begin(self, expression: Any) -> Callable[[], list[dict[str, Any]]]:
        """Begin to run an expression with few rows, beside what is asked next if the engine can; what is given waits for them."""
        if self.beside is None:
            return lambda: self.rows(expression)
        wait = self.beside.begin(self._backend.compile(expression))
        return lambda: named(expression, wait())

    def temporary(self, expression: Table) -> Table:
        """Run an expression into a temporary table of the engine's, and give that."""
        self._temporary += 1
        table: Table = materialise(self._backend, expression, f"report_{self._temporary}_")
        return table

    def shallow(self, expression: Table) -> Table:
        """Give an expression that others can be built on: SQLite's parser gives up on selections nested deeply."""
        return self.temporary(expression) if self._backend.name == "sqlite" else expression

    def equals(self, table: Table, column: str, value: str) -> Any:
        """Give the condition that a column has a value, for a query that reads all rows that have it."""
        condition = table[column] == value
        return self.likely(condition) if is_common(self._backend, table, column, value) else condition

    def likely(self, condition: Any) -> Any:
        """Tell the engine that nearly all rows meet a condition, so that it need not look for them."""
        return likely(self._backend, condition)

    def holds(self, name: str) -> bool:
        """Tell whether a table has rows; most stores link nobody, and need no joins for it."""
        if name not in self._held:
            self._held[name] = bool(self.rows(self.table(name).limit(1)))
        return self._held[name]

    def as_units(self, table: Table) -> Table:
        """Put the unit that a visitor is an alias of in the place of the visitor, in the column `unit_id`."""
        if not self.holds("aliases"):
            return table
        aliases = self.table("aliases").select(alias_of_=_.visitor_id, alias_unit_=_.unit_id)
        joined = table.left_join(aliases, table.unit_id == aliases.alias_of_)
        return joined.mutate(unit_id=joined.alias_unit_.coalesce(joined.unit_id)).drop("alias_of_", "alias_unit_")


def union_of(parts: list[Table]) -> Table:
    """Put tables of the same columns together."""
    if len(parts) == 1:
        return parts[0]
    # A union wants equal types, and one part may be known never to be null.
    return ibis.union(*(one.cast({name: kind(nullable=True) for name, kind in one.schema().items()}) for one in parts))
