"""The kinds of values that a declaration is made of, each with the sentence that a merchant reads when one is wrong."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from experiments.placements import PLACEMENTS

_PERCENT = re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?) ?%\Z")
_DAYS = re.compile(r"([0-9]{1,4}) ?d(?:ays?)?\Z")


def refuse(wanted: str) -> PydanticCustomError:
    """Build the error that says what was wanted; the loader adds file, line, path and what was found."""
    return PydanticCustomError("wanted", "{wanted}", {"wanted": wanted})


@dataclass(frozen=True, slots=True)
class Percent:
    """
    Marks a float as a share that is written as a percentage, such as `50%`.

    Attributes:
        low, high: Bounds of the share, both inside.
        wanted: What a merchant reads who wrote something else.
    """

    low: float
    high: float
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how to read and write one."""
        writing = core_schema.plain_serializer_function_ser_schema(
            _percent_text, return_schema=core_schema.str_schema()
        )
        return core_schema.no_info_before_validator_function(self._parse, handler(source), serialization=writing)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Tell editors how one is written."""
        return {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)? ?%$", "description": self.wanted}

    def _parse(self, value: object) -> float:
        match = _PERCENT.match(value) if isinstance(value, str) else None
        if match is None:
            raise refuse(f"{self.wanted}, written with its sign, such as 50%")
        share = float(Decimal(match[1]) / 100)
        if not self.low <= share <= self.high:
            raise refuse(self.wanted)
        return share


def _percent_text(share: float) -> str:
    text = f"{Decimal(repr(share)) * 100:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def _pattern(pattern: str, wanted: str) -> Callable[[object], str]:
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise refuse(f"text (in quotes), {wanted}")
        if not compiled.fullmatch(value):
            raise refuse(wanted)
        return value

    return parse


def identifier(value: object) -> object:
    """Take numeric ids, as most shops have them, for the text that they are."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _days(value: object) -> int:
    match = _DAYS.match(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= 365:
        raise refuse("a number of days from 1d to 365d")
    return int(match[1])


def _amount_or_percent(value: object) -> str:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?%?", text) or Decimal(text.rstrip("%")) <= 0:
        raise refuse("a percentage such as 10%, or an amount such as 5.00")
    if text.endswith("%") and Decimal(text[:-1]) > 100:
        raise refuse("a percentage of at most 100%")
    return text


def _amount(value: object) -> Decimal:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", text):
        raise refuse("an amount of money such as 19.99")
    return Decimal(text)


def _rate(value: object) -> Decimal:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,12})?", text) or not Decimal(text):
        raise refuse("what 1 of the currency is worth in the shop's, such as 1.0845")
    return Decimal(text)


def _time_zone(value: object) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise refuse("a time zone such as Europe/Berlin or UTC") from None


Share = Annotated[float, Percent(0, 1, "a percentage from 0% to 100%")]
Holdout = Annotated[float, Percent(0, 0.5, "a percentage from 0% to 50%")]
Probability = Annotated[float, Percent(0.5, 0.9999, "a percentage from 50% to 99.99%")]
Effect = Annotated[float, Percent(0.0001, 10, "a percentage above 0%, at most 1000%")]
Margin = Annotated[float, Percent(-1, 0, "the loss that is still accepted, from -100% to 0%")]


def _texts(pattern: str, wanted: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Return what makes a `str` a text of one pattern, for the validator and for editors."""
    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "description": wanted}
    return BeforeValidator(_pattern(pattern, wanted)), WithJsonSchema(schema)


_KEY = r"[a-z0-9][a-z0-9._-]{0,63}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VARIANT = r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?"

ExperimentKey = Annotated[str, *_texts(_KEY, "1 to 64 of a-z 0-9 . _ -, the first a letter or digit")]
VariantKey = Annotated[str, *_texts(_VARIANT, "1 to 64 letters, digits, spaces or . _ -")]
Name = Annotated[str, *_texts(_NAME, "1 to 64 of a-z A-Z 0-9 . _ -")]
Placement = Annotated[
    str, *_texts(f"{'|'.join(PLACEMENTS)}|custom:{_NAME}", f"one of {', '.join(PLACEMENTS)}, or custom:NAME")
]
Identifier = Annotated[
    str,
    BeforeValidator(identifier),
    Field(min_length=1, max_length=256),
    WithJsonSchema({"type": ["string", "integer"], "description": "a product's id"}),
]
Text = Annotated[str, Field(max_length=1000)]
Days = Annotated[
    int,
    BeforeValidator(_days),
    PlainSerializer(lambda days: f"{days}d", return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,4} ?d(ays?)?$", "description": "days, such as 7d"}),
]
Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "description": "an amount of money, such as 19.99"}),
]
Rate = Annotated[
    Decimal,
    BeforeValidator(_rate),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "description": "what 1 of a currency is worth in the shop's"}),
]
Discount = Annotated[
    str,
    BeforeValidator(_amount_or_percent),
    WithJsonSchema(
        {"type": ["number", "string"], "description": "a percentage such as 10%, or an amount such as 5.00"}
    ),
]
Currency = Annotated[str, *_texts("[A-Z]{3}", "a currency of ISO 4217 such as USD")]
TimeZone = Annotated[str, BeforeValidator(_time_zone)]
Origin = Annotated[
    str, *_texts(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?", "an origin such as https://shop.example, without a path")
]
