"""Reads what platforms send: exact JSON, and its parts in whatever shape they come."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from experiments.errors import RequestError
from experiments.money import to_minor
from experiments.refusals import describe

Fields = dict[str, Any]


def read_json(content: bytes | str) -> Any:
    """
    Read JSON with every decimal as it is written.

    Raises:
        RequestError: Not JSON, or nested too deeply.
    """
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: found text that is not JSON ({str(error)[:100]}); wanted a JSON object") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def mapping(value: object) -> Mapping[str, Any]:
    """Give an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """Give the objects of a list; what is none of either is passed over."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def needed_objects(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """
    Give the objects of a list that money depends on.

    Raises:
        RequestError: Not a list of objects.
    """
    value = holder.get(name)
    found = objects(value)
    if not isinstance(value, list) or len(found) < len(value):
        raise RequestError(f"{name}: found {describe(value)}; wanted a list of objects")
    return found


def quantity(value: object, place: str) -> int:
    """
    Read a number of pieces.

    Raises:
        RequestError: Not a whole number from 0 to a million.
    """
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value <= 1_000_000 and not value % 1:
        return int(value)
    raise RequestError(f"{place}: found {describe(value)}; wanted a whole number from 0 to 1000000")


def amount(value: object, currency: str, place: str) -> int:
    """
    Read an amount in major units into minor units; nothing is 0.

    Raises:
        RequestError: Not an amount.
    """
    try:
        return 0 if value is None or value == "" else to_minor(value, currency)
    except RequestError as error:
        raise RequestError(f"{place}: {error}") from None


def named(pairs: object, key: str, name: str) -> str | None:
    """
    Find the text of a name among `[{key: ..., "value": ...}]`, or in an object.

    Buyers can write these: what cannot be an id of ours is passed over, rather than holding up the order. Leading underscores,
    which platforms take as a sign to hide the entry, make no difference.
    """
    entries: Iterable[tuple[object, object]] = (
        pairs.items() if isinstance(pairs, dict) else ((one.get(key), one.get("value")) for one in objects(pairs))
    )
    for told, value in entries:
        if isinstance(told, str) and told.lstrip("_") == name and isinstance(value, str):
            text = value.strip()
            if 0 < len(text) <= 256 and text.isprintable():
                return text
    return None


def offer(pairs: object, key: str) -> Fields:
    """Give whose offer a line was, from `_crosslift_offer`: `experiment:variant`."""
    experiment, _, variant = (named(pairs, key, "crosslift_offer") or "").partition(":")
    return {"offer_experiment": experiment, "offer_variant": variant} if experiment and variant else {}


def identity(value: object) -> object:
    """Give an id; platforms write 0 or nothing for nobody."""
    return value or None
