"""Reads the JSON of other systems: exact decimals, and parts of any shape."""

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
    Parse JSON, with every decimal as it is written.

    Raises:
        RequestError: Not JSON, or nested too deeply.
    """
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: must be a JSON object, got text that is not JSON ({str(error)[:100]})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list; anything else is skipped."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def required_objects(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """
    Return the objects of a list that amounts depend on.

    Raises:
        RequestError: Not a list of objects.
    """
    value = holder.get(name)
    items = objects(value)
    if not isinstance(value, list) or len(items) < len(value):
        raise RequestError(f"{name}: must be a list of objects, got {describe(value)}")
    return items


def quantity(value: object, place: str) -> int:
    """
    Parse a number of pieces.

    Raises:
        RequestError: Not a whole number from 0 to a million.
    """
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value <= 1_000_000 and not value % 1:
        return int(value)
    raise RequestError(f"{place}: must be a whole number from 0 to 1000000, got {describe(value)}")


def amount(value: object, currency: str, place: str) -> int:
    """
    Convert an amount from major to minor units; nothing is 0.

    Raises:
        RequestError: Not an amount.
    """
    try:
        return 0 if value is None or value == "" else to_minor(value, currency)
    except RequestError as error:
        raise RequestError(f"{place}: {error}") from None


def text_property(pairs: object, key: str, name: str) -> str | None:
    """
    Return the text of a name among `[{key: ..., "value": ...}]`, or in an object.

    Buyers can write these, so text that cannot be an id is skipped instead of rejecting the order. Leading underscores, by which
    platforms hide an entry from buyers, make no difference.
    """
    entries: Iterable[tuple[object, object]] = (
        pairs.items() if isinstance(pairs, dict) else ((item.get(key), item.get("value")) for item in objects(pairs))
    )
    for entry, value in entries:
        if isinstance(entry, str) and entry.lstrip("_") == name and isinstance(value, str):
            text = value.strip()
            if 0 < len(text) <= 256 and text.isprintable():
                return text
    return None


def offer_fields(pairs: object, key: str) -> Fields:
    """Return the offer that a line was bought from, as `_crosslift_offer` says it: `experiment:variant`."""
    experiment, _, variant = (text_property(pairs, key, "crosslift_offer") or "").partition(":")
    return {"offer_experiment": experiment, "offer_variant": variant} if experiment and variant else {}


def identity(value: object) -> object:
    """Return an id, or None for the 0 or the empty text that platforms write for nobody."""
    return value or None
