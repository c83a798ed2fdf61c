"""Runs an Ibis expression and gives its few rows."""

from typing import Any


def fetch(backend: Any, expression: Any) -> list[dict[str, Any]]:
    """
    Run an expression on its engine.

    The SQL goes to the engine's own cursor: Ibis would take the rows through pandas, which costs more than most of these
    queries do.

    Args:
        backend: A connected Ibis backend with a DB-API cursor.
        expression: A table expression with few rows.
    """
    cursor = backend.raw_sql(backend.compile(expression))
    names = expression.columns
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
