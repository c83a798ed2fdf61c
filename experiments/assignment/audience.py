"""Who may take part: conditions over the attributes of a visitor's context."""

from collections.abc import Mapping
from typing import Any

from experiments.declarations.model import Condition

Context = Mapping[str, Any]

_ABSENT = Condition.model_validate({"exists": False})


def holds(condition: Condition, attribute: str, context: Context) -> bool:
    """
    Tell whether one attribute of the context meets a condition.

    An attribute that is missing (or null) meets only `exists: false`; a number never equals text, nor true a 1.
    """
    value = context.get(attribute)
    if value is None:
        return condition == _ABSENT
    if condition.exists is False:
        return False
    if condition.equals is not None and not _same(value, condition.equals):
        return False
    if condition.not_ is not None and _same(value, condition.not_):
        return False
    if condition.in_ is not None and not any(_same(value, one) for one in condition.in_):
        return False
    if condition.not_in is not None and any(_same(value, one) for one in condition.not_in):
        return False
    return _within(value, condition.at_least, condition.at_most)


def first_failing(audience: Mapping[str, Condition], context: Context) -> str | None:
    """Give the first attribute whose condition does not hold, or None when all hold."""
    return next(
        (attribute for attribute, condition in audience.items() if not holds(condition, attribute, context)), None
    )


Prepared = tuple[tuple[str, frozenset[str] | None, Condition], ...]


def prepare(audience: Mapping[str, Condition]) -> Prepared:
    """Give the conditions for `meets`: each attribute's, and the texts that meet it where nothing but a list is asked for."""
    return tuple((attribute, _texts(condition), condition) for attribute, condition in audience.items())


def meets(audience: Prepared, context: Context) -> bool:
    """Tell whether all conditions hold."""
    for attribute, texts, condition in audience:
        value = context.get(attribute)
        if texts is not None and value.__class__ is str:
            if value not in texts:
                return False
        elif not holds(condition, attribute, context):
            return False
    return True


def listed(condition: Condition) -> list[Any] | None:
    """Give the values besides which nothing meets a condition; None where it names none."""
    if condition.equals is not None:
        return [condition.equals]
    return condition.in_


def _texts(condition: Condition) -> frozenset[str] | None:
    values = listed(condition)
    if values is None or len(condition.model_fields_set) > 1:
        return None
    return frozenset(value for value in values if isinstance(value, str))


def _same(value: object, wanted: object) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _within(value: object, low: float | None, high: float | None) -> bool:
    if low is None and high is None:
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (low is None or value >= low) and (high is None or value <= high)
