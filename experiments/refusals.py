"""What a reader is told when pydantic refuses a value: what was found, and what is wanted."""

from typing import Any

from pydantic_core import ErrorDetails

_WANTED = {
    "missing": "a value here",
    "extra_forbidden": "no such field",
    "string_type": "text",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "literal_error": "one of {expected}",
    "greater_than_equal": "a number of at least {ge:.15g}",
    "less_than_equal": "a number of at most {le:.15g}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}


def describe(value: object) -> str:
    """Describe any value in at most some 60 characters; never its depths."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.encode(
        errors="replace"
    ).decode()  # half a surrogate pair can be in JSON, and in nothing that is written
    return f"`{text[:60]}{'…' if len(text) > 60 else ''}`"


def found(details: ErrorDetails) -> str:
    """Say what stands at the place of an error."""
    return "nothing" if details["type"] == "missing" else describe(details["input"])


def wanted(details: ErrorDetails) -> str:
    """Say what should stand there."""
    context: dict[str, Any] = details.get("ctx", {})
    if details["type"] == "wanted":
        return str(context["wanted"])
    kind = details["type"]
    if kind in ("too_short", "too_long") and isinstance(details["input"], str):
        kind = f"string_{kind}"
    if kind in _WANTED:
        return _WANTED[kind].format(**context)
    return details["msg"].removeprefix("Input should be ").lower()


def sentence(details: ErrorDetails) -> str:
    """Say place, what was found and what is wanted, in one sentence."""
    place = ".".join(str(part) for part in details["loc"])
    return f"{place + ': ' if place else ''}found {found(details)}; wanted {wanted(details)}"
