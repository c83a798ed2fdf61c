"""
Events as records: validated values, whose fields are the columns of the tables (events/stores/tables.py).

A field's docstring is the meaning of its column in docs/schema.md. events/parser.py makes records of what others send.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from experiments.errors import RequestError
from experiments.money import MAX_MINOR
from experiments.quantities import Currency, refuse
from experiments.refusals import sentence

FUTURE_MS = 5 * 60_000  # timestamps may be at most this far in the future: clocks differ

WHOLE = re.compile(r"[-+]?[0-9]{1,18}\Z")


def _text(value: object) -> object:
    """Read text; numeric ids become text, but a float has lost its digits already."""
    if type(value) is str and value.isprintable():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        stripped = value.strip()  # of line breaks too
        if not stripped.isprintable():
            raise refuse("printable text")
        return stripped
    raise refuse("text")


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and WHOLE.match(value.strip()):
        return int(value)
    raise refuse("a whole number")


def _or_none(value: object) -> object:
    return None if value == "" else value


class Spelling(Enum):
    """Marks fields that have a second spelling, without the suffix of their unit."""

    MONEY = "minor"
    TIME = "ms"


# Limits come before the function that reads the value: pydantic then checks them itself, without a call for each.
Id = Annotated[str, Field(min_length=1, max_length=256), BeforeValidator(_text)]
ShortText = Annotated[str, Field(max_length=256), BeforeValidator(_text)]
OptionalText = Annotated[Id | None, BeforeValidator(_or_none)]
Minor = Annotated[int, Field(ge=-MAX_MINOR, le=MAX_MINOR), BeforeValidator(_whole), Spelling.MONEY]
Count = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_whole)]
# From 2000 to 2100: seconds or microseconds mistaken for milliseconds fall outside.
Milliseconds = Annotated[int, Field(ge=946_684_800_000, le=4_102_444_800_000), BeforeValidator(_whole), Spelling.TIME]

Model = TypeVar("Model", bound=BaseModel)
InteractionKind = Literal["impression", "click", "add_to_cart", "decline", "dismiss"]


class Record(BaseModel):
    """The base of all records: no unknown fields, no later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Exposure(Record):
    """A unit reached an experiment's trigger while it was assigned to a variant."""

    experiment: Id
    """The experiment's key"""
    unit_id: Id
    """The unit: a visitor, a customer or a company, whichever the experiment randomises"""
    variant: Id
    """The variant's key"""
    epoch: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """The epoch of the declaration that assigned the unit"""
    exposed_at_ms: Milliseconds
    """When the unit reached the trigger"""
    attributes: Annotated[dict[ShortText, Any], Field(max_length=50)] = Field(default_factory=dict)
    """The context of the visit, as a JSON object"""
    bot: bool = False
    """1 where the request came from a bot"""


class Interaction(Record):
    """A visitor saw or did something at a placement."""

    event_id: Id
    """The event's id, from whoever sent it"""
    kind: InteractionKind
    """`impression`, `click`, `add_to_cart`, `decline` or `dismiss`"""
    experiment: Id
    """The experiment's key"""
    variant: Id
    """The variant's key"""
    unit_id: Id
    """The unit"""
    placement: ShortText = ""
    """Where the offer stood"""
    product_id: ShortText = ""
    """The product that was offered"""
    quantity: Count = 1
    """Pieces that were added to the cart"""
    value_minor: Minor = 0
    """The price of those pieces"""
    occurred_at_ms: Milliseconds
    """When it happened"""


class OrderLine(Record):
    """One line of an order; amounts are of the whole line, without tax."""

    line_id: Id
    """The line's id, unique in its order"""
    product_id: ShortText = ""
    """The product's id, as in the catalogue"""
    sku: ShortText = ""
    """The product's stock-keeping unit"""
    quantity: Count = 1
    """Pieces"""
    gross_minor: Minor
    """Revenue before discounts"""
    discount_minor: Minor = 0
    """Discounts"""
    refunded_minor: Minor = 0
    """Refunds"""
    cost_minor: Minor | None = None
    """Cost of goods; null where it is not known"""
    offer_experiment: OptionalText = None
    """The experiment whose offer sold the line"""
    offer_variant: OptionalText = None
    """The variant whose offer sold the line"""
    bundle_id: OptionalText = None
    """The bundle that the line belongs to"""


class Order(Record):
    """The newest state of an order; its net product revenue is gross - discount - refunded."""

    shop: Id = "default"
    """The shop that sold it"""
    order_id: Id
    """The shop's own id of the order"""
    unit_id: OptionalText = None
    """The visitor who ordered; null where not known"""
    customer_id: OptionalText = None
    """The customer who ordered; null where not known"""
    company_id: OptionalText = None
    """The company that ordered; null where not known"""
    ordered_at_ms: Milliseconds
    """When it was placed"""
    updated_at_ms: Milliseconds
    """When the shop last changed it"""
    currency: Currency
    """The shop's currency, into which all amounts are converted"""
    gross_minor: Minor
    """Product revenue before discounts, without tax and shipping"""
    discount_minor: Minor = 0
    """Discounts on products"""
    shipping_minor: Minor = 0
    """What the customer paid for shipping"""
    tax_minor: Minor = 0
    """Tax"""
    refunded_minor: Minor = 0
    """Refunds of products: the sum of the order's refunds, or `stated_refunded_minor` where that is more"""
    cost_minor: Minor | None = None
    """Cost of goods; null where it is not known"""
    units: Count = 1
    """Pieces"""
    source: ShortText = "api"
    """Where the order came from: a sales channel, `csv` or `api`"""
    verified: bool = True
    """1 where the shop itself sent the order, 0 where a browser did"""
    excluded: OptionalText = None
    """Why the order does not count; null where it counts"""
    lines: Annotated[list[OrderLine], Field(max_length=1000)] = []


class Refund(Record):
    """
    Money paid back on an order, in one of perhaps several refunds.

    A shop may send refunds, or orders with their refunded total, or both: an order's `refunded_minor` is the larger sum.
    """

    shop: Id = "default"
    """The shop that sold the order"""
    order_id: Id
    """The order that was refunded"""
    refund_id: Id
    """The refund's id, unique in its order"""
    refunded_at_ms: Milliseconds
    """When it was paid back"""
    currency: Currency
    """The shop's currency, into which all amounts are converted"""
    refunded_minor: Annotated[Minor, Field(ge=0)]
    """The part that reduces product revenue, without tax and shipping"""
    paid_minor: Minor | None = None
    """What the payments paid back in all; null where nothing was paid"""
    discrepancy_minor: Minor | None = None
    """How much `paid_minor` exceeds lines, tax and shipping; null where nothing was paid"""


EventRecord = Exposure | Interaction | Order | Refund

KINDS: Mapping[str, type[EventRecord]] = {"exposures": Exposure, "interactions": Interaction, "orders": Order}

_NO_GROSS = "gross: must be an amount such as 19.99, or the sum of lines that have one each, got nothing"


def parse(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """
    Validate one record.

    Raises:
        RequestError: Every field that is wrong, with what it must be.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False)[:10]
        missing_gross = {"type": "missing", "loc": ("gross_minor",)}
        sentences = (_NO_GROSS if missing_gross.items() <= fault.items() else sentence(fault) for fault in faults)
        raise RequestError("; ".join(sentences)) from None
