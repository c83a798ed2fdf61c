"""
What happened, as records: validated values whose fields are the columns of the store's tables.

Every money field may be given in minor units (`gross_minor: 1990`) or as decimal text (`gross: "19.90"`), every time in
milliseconds (`ordered_at_ms`) or as RFC 3339 text (`ordered_at: 2026-05-01T12:00:00Z`), and the unit as `unit_id` or
`visitor_id`. CSV files and HTTP bodies are read by the same function, `parse`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experiments.errors import RequestError
from experiments.money import MAX_MINOR, to_minor

Id = Annotated[str, Field(min_length=1, max_length=256)]
ShortText = Annotated[str, Field(max_length=256)]
Minor = Annotated[int, Field(ge=-MAX_MINOR, le=MAX_MINOR)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
# From 2000 to 2100: seconds or microseconds taken for milliseconds fall outside.
Milliseconds = Annotated[int, Field(ge=946_684_800_000, le=4_102_444_800_000)]

Model = TypeVar("Model", bound=BaseModel)

InteractionKind = Literal["impression", "click", "add_to_cart", "decline", "dismiss"]


class Record(BaseModel):
    """The base of all records: no unknown fields, no later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, str_strip_whitespace=True)


class Exposure(Record):
    """A unit met an experiment's trigger while assigned to a variant."""

    experiment: Id
    unit_id: Id
    variant: Id
    epoch: Annotated[int, Field(ge=1)] = 1
    exposed_at_ms: Milliseconds
    attributes: Annotated[dict[ShortText, Any], Field(max_length=50)] = {}
    bot: bool = False


class Interaction(Record):
    """Something seen or done at a placement."""

    event_id: Id
    kind: InteractionKind
    experiment: Id
    variant: Id
    unit_id: Id
    placement: ShortText = ""
    product_id: ShortText = ""
    quantity: Count = 1
    value_minor: Minor = 0
    occurred_at_ms: Milliseconds


class OrderLine(Record):
    """One line of an order; amounts are of the whole line, without tax."""

    line_id: Id
    product_id: ShortText = ""
    sku: ShortText = ""
    quantity: Count = 1
    gross_minor: Minor = 0
    discount_minor: Minor = 0
    refunded_minor: Minor = 0
    cost_minor: Minor | None = None
    offer_experiment: ShortText | None = None
    offer_variant: ShortText | None = None
    bundle_id: ShortText | None = None


class Order(Record):
    """
    The newest known state of an order.

    `gross_minor` is the product revenue before discounts, without tax and shipping; net revenue is gross - discount -
    refunded. `cost_minor` is None where the cost of goods is not known, `excluded` the reason why an order does not count.
    """

    shop: Id = "default"
    order_id: Id
    unit_id: Id | None = None
    customer_id: ShortText | None = None
    company_id: ShortText | None = None
    ordered_at_ms: Milliseconds
    updated_at_ms: Milliseconds
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    gross_minor: Minor
    discount_minor: Minor = 0
    shipping_minor: Minor = 0
    tax_minor: Minor = 0
    refunded_minor: Minor = 0
    cost_minor: Minor | None = None
    units: Count = 1
    source: ShortText = "api"
    verified: bool = True
    excluded: ShortText | None = None
    lines: Annotated[list[OrderLine], Field(max_length=1000)] = []


AnyRecord = Exposure | Interaction | Order

KINDS: Mapping[str, type[AnyRecord]] = {"exposures": Exposure, "interactions": Interaction, "orders": Order}

_MONEY = {"gross", "discount", "shipping", "tax", "refunded", "cost", "value"}
_TIMES = {"exposed_at", "occurred_at", "ordered_at", "updated_at"}
_WANTED = {
    "missing": "a value",
    "extra_forbidden": "no such field",
    "literal_error": "one of {expected}",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} characters",
    "string_type": "text",
    "string_pattern_mismatch": "a currency of ISO 4217 such as USD",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "dict_type": "an object",
    "list_type": "a list",
    "too_long": "at most {max_length} of them",
}


class Reader:
    """
    Reads what others send into records.

    Attributes:
        currency: The shop's; an order without one is in it, an order in another is refused.
        zone: The shop's time zone, for times that come without an offset.
    """

    def __init__(self, currency: str, time_zone: str) -> None:
        self.currency = currency
        self.zone = ZoneInfo(time_zone)

    def exposure(self, fields: Mapping[str, Any]) -> Exposure:
        """Read one exposure; `parse` says how."""
        return parse(Exposure, self.spelled_out(fields))

    def interaction(self, fields: Mapping[str, Any]) -> Interaction:
        """Read one interaction; `parse` says how."""
        return parse(Interaction, self.spelled_out(fields))

    def order(self, fields: Mapping[str, Any]) -> Order:
        """
        Read one order, filling in what can be told from the rest of it.

        Raises:
            RequestError: A field is wrong, or the currency is not the shop's.
        """
        told = self.spelled_out(fields)
        told.setdefault("currency", self.currency)
        if "ordered_at_ms" in told:
            told.setdefault("updated_at_ms", told["ordered_at_ms"])
        lines = told.get("lines")
        if isinstance(lines, list):
            spelled = [self.spelled_out(line) if isinstance(line, dict) else line for line in lines]
            told["lines"] = [
                {"line_id": str(n), **line} if isinstance(line, dict) else line for n, line in enumerate(spelled, 1)
            ]
        order = parse(Order, _with_sums(told))
        if order.currency != self.currency:
            raise RequestError(f"currency: found {order.currency}; wanted {self.currency}, the shop's currency")
        return order

    def spelled_out(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """
        Give the fields under the columns' own names and in their own units.

        Raises:
            RequestError: An amount or a time cannot be read, or stands twice.
        """
        told: dict[str, Any] = {}
        for name, value in fields.items():
            column = name
            if value is None:
                continue
            if name == "visitor_id":
                column = "unit_id"
            elif name in _MONEY:
                column, value = f"{name}_minor", _named(name, lambda value=value: to_minor(value, self.currency))
            elif name in _TIMES:
                column, value = f"{name}_ms", _named(name, lambda value=value: to_ms(value, self.zone))
            if column in told:
                raise RequestError(f"{name}: found twice, as {column} too; wanted once")
            told[column] = value
        return told


def parse(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """
    Validate one record.

    Raises:
        RequestError: Every field that is wrong, with what was found and what is wanted.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RequestError("; ".join(_message(details) for details in error.errors(include_url=False))) from None


def to_ms(value: object, zone: ZoneInfo) -> int:
    """
    Turn RFC 3339 text into milliseconds UTC; text without an offset is in `zone`.

    Raises:
        RequestError: Not a time.
    """
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise RequestError(f"found {str(value)[:60]!r}; wanted a time such as 2026-05-01T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return round(moment.timestamp() * 1000)


def _named(name: str, read: Any) -> Any:
    try:
        return read()
    except RequestError as error:
        raise RequestError(f"{name}: {error}") from None


def _with_sums(told: dict[str, Any]) -> dict[str, Any]:
    """Fill in an order's gross and units from its lines, where only the lines say them."""
    lines = told.get("lines")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines) or not lines:
        return told
    for column, default in (("gross_minor", 0), ("discount_minor", 0), ("units", 1)):
        part = "quantity" if column == "units" else column
        values = [line.get(part, default) for line in lines]
        if column not in told and all(isinstance(value, int) for value in values):
            told[column] = sum(values)
    return told


def _message(details: Any) -> str:
    name = ".".join(str(part) for part in details["loc"])
    wanted = _WANTED.get(details["type"], details["msg"].lower()).format(**details.get("ctx", {}))
    found = "nothing" if details["type"] == "missing" else repr(details["input"])[:80]
    return f"{name}: found {found}; wanted {wanted}"
