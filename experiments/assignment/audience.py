"""Who may take part: conditions over the attributes of a visitor's context."""

from collections.abc import Mapping
from typing import Any

from experiments.declarations.conditions import Context, holds
from experiments.declarations.model import Condition

Prepared = tuple[tuple[str, frozenset[str] | None, Condition], ...]


def prepare(audience: Mapping[str, Condition]) -> Prepared:
    """Return the conditions for `meets`: each attribute's, and the texts that meet it where nothing but a list is asked for."""
    return tuple((attribute, _texts(condition), condition) for attribute, condition in audience.items())


def meets(audience: Prepared, context: Context) -> bool:
    """Check whether all conditions hold."""
    for attribute, texts, condition in audience:
        value = context.get(attribute)
        if texts is not None and value.__class__ is str:
            if value not in texts:
                return False
        elif not holds(condition, attribute, context):
            return False
    return True


def listed(condition: Condition) -> list[Any] | None:
    """Return the values besides which nothing meets a condition; None where it names none."""
    if condition.equals is not None:
        return [condition.equals]
    return condition.in_


def _texts(condition: Condition) -> frozenset[str] | None:
    values = listed(condition)
    if values is None or len(condition.model_fields_set) > 1:
        return None
    return frozenset(value for value in values if isinstance(value, str))
