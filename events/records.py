"""
What happened, as records: validated values whose fields are the columns of the store's tables.

Every money field may be given in minor units (`gross_minor: 1990`) or as decimal text (`gross: "19.90"`), every time in
milliseconds (`ordered_at_ms`) or as RFC 3339 text (`ordered_at: 2026-05-01T12:00:00Z`), and the unit as `unit_id` or
`visitor_id`. CSV files and HTTP bodies are read by the same class, `RecordParser`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.clock import now_ms
from experiments.errors import RequestError
from experiments.money import MAX_MINOR, convert, to_minor
from experiments.quantities import Currency, refuse
from experiments.refusals import describe, sentence

FUTURE_MS = 5 * 60_000  # clocks differ

_WHOLE = re.compile(r"[-+]?[0-9]{1,18}\Z")


def _text(value: object) -> object:
    """Take numeric ids for the text that they are; a float has lost its digits already."""
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
    if isinstance(value, str) and _WHOLE.match(value.strip()):
        return int(value)
    raise refuse("a whole number")


def _or_none(value: object) -> object:
    return None if value == "" else value


# Limits stand before what reads the value: pydantic then checks them itself, instead of calling back for each.
Id = Annotated[str, Field(min_length=1, max_length=256), BeforeValidator(_text)]
ShortText = Annotated[str, Field(max_length=256), BeforeValidator(_text)]
OptionalText = Annotated[Id | None, BeforeValidator(_or_none)]
Minor = Annotated[int, Field(ge=-MAX_MINOR, le=MAX_MINOR), BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_whole)]
# From 2000 to 2100: seconds or microseconds taken for milliseconds fall outside.
Milliseconds = Annotated[int, Field(ge=946_684_800_000, le=4_102_444_800_000), BeforeValidator(_whole)]

Model = TypeVar("Model", bound=BaseModel)
InteractionKind = Literal["impression", "click", "add_to_cart", "decline", "dismiss"]


class Record(BaseModel):
    """The base of all records: no unknown fields, no later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Exposure(Record):
    """A unit met an experiment's trigger while assigned to a variant."""

    experiment: Id
    unit_id: Id
    variant: Id
    epoch: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    exposed_at_ms: Milliseconds
    attributes: Annotated[dict[ShortText, Any], Field(max_length=50)] = Field(default_factory=dict)
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
    gross_minor: Minor
    discount_minor: Minor = 0
    refunded_minor: Minor = 0
    cost_minor: Minor | None = None
    offer_experiment: OptionalText = None
    offer_variant: OptionalText = None
    bundle_id: OptionalText = None


class Order(Record):
    """
    The newest known state of an order.

    `gross_minor` is the product revenue before discounts, without tax and shipping; net revenue is gross - discount -
    refunded. `cost_minor` is None where the cost of goods is not known, `excluded` the reason why an order does not count.
    """

    shop: Id = "default"
    order_id: Id
    unit_id: OptionalText = None
    customer_id: OptionalText = None
    company_id: OptionalText = None
    ordered_at_ms: Milliseconds
    updated_at_ms: Milliseconds
    currency: Currency
    gross_minor: Minor
    discount_minor: Minor = 0
    shipping_minor: Minor = 0
    tax_minor: Minor = 0
    refunded_minor: Minor = 0
    cost_minor: Minor | None = None
    units: Count = 1
    source: ShortText = "api"
    verified: bool = True
    excluded: OptionalText = None
    lines: Annotated[list[OrderLine], Field(max_length=1000)] = []


class Refund(Record):
    """
    Money given back on an order, in one of perhaps several refunds.

    An order's `refunded_minor` is the sum of its refunds, or what its newest state says where that is more: a shop may send
    either, or both.

    `refunded_minor` is what came off the products' revenue, without tax and shipping. `paid_minor` is what the payments gave back
    in all, `discrepancy_minor` by how much that is more than lines, tax and shipping say; None where there was no payment.
    """

    shop: Id = "default"
    order_id: Id
    refund_id: Id
    refunded_at_ms: Milliseconds
    currency: Currency
    refunded_minor: Annotated[Minor, Field(ge=0)]
    paid_minor: Minor | None = None
    discrepancy_minor: Minor | None = None


Priced = TypeVar("Priced", Order, Refund)
AnyRecord = Exposure | Interaction | Order | Refund

KINDS: Mapping[str, type[AnyRecord]] = {"exposures": Exposure, "interactions": Interaction, "orders": Order}

_MONEY = {"gross", "discount", "shipping", "tax", "refunded", "paid", "discrepancy", "cost", "value"}
_GROSS = "gross: found nothing; wanted an amount such as 19.99, or lines that have one each"
_TIMES = {"exposed_at", "occurred_at", "ordered_at", "updated_at", "refunded_at"}
_COLUMNS = {
    "visitor_id": "unit_id",
    **{name: f"{name}_minor" for name in _MONEY},
    **{name: f"{name}_ms" for name in _TIMES},
}
_VALUED = {*_MONEY, *_TIMES, *(f"{name}_ms" for name in _TIMES)}


class RecordParser:
    """
    Reads what others send into records.

    Amounts without a currency, and times without an offset, are the shop's; orders in a currency of `rates` are converted, what 1
    of it is worth in the shop's. A line without a cost has that of its product or SKU, from `costs_minor`, where it is known.
    """

    def __init__(
        self,
        currency: str,
        time_zone: str,
        clock_ms: Callable[[], int] = now_ms,
        costs_minor: Mapping[str, int] | None = None,
        rates: Mapping[str, Decimal] | None = None,
    ) -> None:
        self._currency = currency
        self._rates = rates or {}
        self._costs_minor = costs_minor or {}
        self._zone = ZoneInfo(time_zone)
        self._clock_ms = clock_ms

    def exposure(self, fields: Mapping[str, Any]) -> Exposure:
        """Read one exposure; `order` says what may be wrong."""
        return parse(Exposure, self.spelled_out(fields))

    def interaction(self, fields: Mapping[str, Any]) -> Interaction:
        """Read one interaction; `order` says what may be wrong."""
        return parse(Interaction, self.spelled_out(fields))

    def order(self, fields: Mapping[str, Any]) -> Order:
        """
        Read one order; gross, discount, refunded, cost and units are added up from its lines where only they say them.

        Raises:
            RequestError: A field is wrong, or lies in the future, or the currency is not the shop's.
        """
        currency = self._currency_of(fields)
        told = {"currency": currency, **self.spelled_out(fields, currency)}
        if "ordered_at_ms" not in told:
            raise RequestError("ordered_at: found nothing; wanted a time such as 2026-05-01T12:00:00Z")
        told.setdefault("updated_at_ms", told["ordered_at_ms"])
        lines = told.get("lines")
        if not isinstance(lines, list) or not lines:
            return self._in_currency(parse(Order, told))
        read = [self._line(number, line, currency) for number, line in enumerate(lines[:1001], 1)]
        if len({line.line_id for line in read}) < len(read):
            raise RequestError("lines: found a line_id twice; wanted each once")
        sums = _sums(read)
        order = self._in_currency(parse(Order, {**sums, **told, "lines": read}))
        return order.model_copy(update={name: value for name, value in sums.items() if name not in told})

    def refund(self, fields: Mapping[str, Any]) -> Refund:
        """Read one refund; `order` says what may be wrong."""
        currency = self._currency_of(fields)
        return self._in_currency(parse(Refund, {"currency": currency, **self.spelled_out(fields, currency)}))

    def _currency_of(self, fields: Mapping[str, Any]) -> str:
        told = fields.get("currency")
        if told == self._currency or not isinstance(told, str) or not re.fullmatch("[A-Z]{3}", told):
            return self._currency  # what is no currency is refused with the other fields
        if told not in self._rates:
            raise RequestError(f"currency: found {told}; wanted {self._currency}, the shop's currency")
        return told

    def _in_currency(self, record: Priced) -> Priced:
        """Convert an order or a refund into the shop's currency; an order's lines are converted already."""
        if record.currency == self._currency:
            return record
        return self._converted(record, record.currency).model_copy(update={"currency": self._currency})

    def _converted(self, record: Model, currency: str) -> Model:
        if currency == self._currency:
            return record
        converted = {
            name: convert(value, currency, self._rates[currency], self._currency)
            for name, value in record
            if name.endswith("_minor") and value is not None
        }
        if any(abs(value) > MAX_MINOR for value in converted.values()):
            raise RequestError(
                f"currency: found amounts of more than {MAX_MINOR} minor units once converted; wanted less"
            )
        return record.model_copy(update=converted)

    def _line(self, number: int, line: object, currency: str) -> OrderLine:
        if not isinstance(line, dict):
            raise RequestError(f"lines.{number}: found {describe(line)}; wanted an object")
        try:
            told = {"line_id": str(number), **self.spelled_out(line, currency)}
            read = self._converted(parse(OrderLine, told), currency)
        except RequestError as error:
            raise RequestError(f"lines.{number}: {error}") from None
        known = self._costs_minor.get(read.product_id, self._costs_minor.get(read.sku))
        if read.cost_minor is not None or known is None:
            return read
        return read.model_copy(update={"cost_minor": known * read.quantity})

    def spelled_out(self, fields: Mapping[str, Any], currency: str | None = None) -> dict[str, Any]:
        """
        Give the fields under the columns' own names and in their own units; null is as good as absent.

        Args:
            fields: As they were sent.
            currency: Of decimal amounts; the shop's where it is not told.

        Raises:
            RequestError: An amount or a time cannot be read, stands twice, or lies in the future.
        """
        told: dict[str, Any] = {}
        for name, value in fields.items():
            if value is None:
                continue
            column = _COLUMNS.get(name, name)
            if column in told:
                raise RequestError(f"{name}: found it in two spellings; wanted one")
            told[column] = self._valued(name, value, currency or self._currency) if name in _VALUED else value
        return told

    def _valued(self, name: str, value: object, currency: str) -> object:
        try:
            if name in _MONEY:
                return to_minor(value, currency)
            moment = to_ms(value, self._zone) if name in _TIMES else value
        except RequestError as error:
            raise RequestError(f"{name}: {error}") from None
        if isinstance(moment, str) and _WHOLE.match(moment.strip()):
            moment = int(moment)
        if name not in _MONEY and isinstance(moment, int) and moment > self._clock_ms() + FUTURE_MS:
            raise RequestError(f"{name}: found a time in the future; wanted one that has been")
        return moment


def parse(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """
    Validate one record.

    Raises:
        RequestError: Every field that is wrong, with what was found and what is wanted.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        told = "; ".join(sentence(details) for details in error.errors(include_url=False)[:10])
        raise RequestError(told.replace("gross_minor: found nothing; wanted a value here", _GROSS)) from None


def to_ms(value: object, zone: ZoneInfo) -> int:
    """
    Turn RFC 3339 text into milliseconds UTC; text without an offset is in `zone`.

    Raises:
        RequestError: Not a time.
    """
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
        return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise RequestError(f"found {describe(value)}; wanted a time such as 2026-05-01T12:00:00Z") from None


def _sums(lines: list[OrderLine]) -> dict[str, int]:
    sums = {
        "gross_minor": sum(line.gross_minor for line in lines),
        "discount_minor": sum(line.discount_minor for line in lines),
        "refunded_minor": sum(line.refunded_minor for line in lines),
        "units": sum(line.quantity for line in lines),
    }
    costs = [line.cost_minor for line in lines]
    return sums if None in costs else sums | {"cost_minor": sum(cost for cost in costs if cost is not None)}
