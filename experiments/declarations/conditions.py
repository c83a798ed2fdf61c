"""Whether the attributes of a visitor's context meet the conditions of an audience."""

from collections.abc import Mapping
from typing import Any

from experiments.declarations.model import Condition

Context = Mapping[str, Any]

_ABSENT = Condition.model_validate({"exists": False})


def holds(condition: Condition, attribute: str, context: Context) -> bool:
    """
    Return whether one attribute of the context meets a condition.

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
    if condition.in_ is not None and not any(_same(value, item) for item in condition.in_):
        return False
    if condition.not_in is not None and any(_same(value, item) for item in condition.not_in):
        return False
    return _within(value, condition.at_least, condition.at_most)


def first_failing(audience: Mapping[str, Condition], context: Context) -> str | None:
    """Return the first attribute whose condition does not hold, or None when all hold."""
    return next(
        (attribute for attribute, condition in audience.items() if not holds(condition, attribute, context)), None
    )


def _same(value: object, wanted: object) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _within(value: object, low: float | None, high: float | None) -> bool:
    if low is None and high is None:
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (low is None or value >= low) and (high is None or value <= high)
