"""
Parses what others send, files and requests alike, into records.

Every amount comes in minor units (`gross_minor: 1990`) or as decimal text (`gross: "19.90"`), every time in milliseconds
(`ordered_at_ms`) or as RFC 3339 text (`ordered_at: 2026-05-01T12:00:00Z`), and the unit as `unit_id` or `visitor_id`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

from pydantic.fields import FieldInfo

from events.clock import now_ms
from events.records import FUTURE_MS, WHOLE, Exposure, Interaction, Order, OrderLine, Record, Refund, Spelling, parse
from experiments.errors import RequestError
from experiments.money import MAX_MINOR, convert, to_minor
from experiments.refusals import describe

Priced = TypeVar("Priced", Order, Refund)
Converted = TypeVar("Converted", bound=Record)


def _spelling(field: FieldInfo) -> Spelling | None:
    """Return the spelling that a field's type is marked with; of an optional type too."""
    marks = (*field.metadata, *(mark for part in get_args(field.annotation) for mark in get_args(part)))
    return next((mark for mark in marks if isinstance(mark, Spelling)), None)


def plain_name(column: str) -> str:
    """Return a column's name without the suffix of its unit: `gross` for `gross_minor`."""
    return column.removesuffix("_minor").removesuffix("_ms")


_SPELLINGS = {
    name: _spelling(field)
    for record in (Exposure, Interaction, Order, OrderLine, Refund)
    for name, field in record.model_fields.items()
}
_AMOUNTS = {name for name, spelling in _SPELLINGS.items() if spelling is Spelling.MONEY}
_TIMES = {name for name, spelling in _SPELLINGS.items() if spelling is Spelling.TIME}
_PLAIN_AMOUNTS, _PLAIN_TIMES = ({plain_name(name) for name in names} for names in (_AMOUNTS, _TIMES))
_COLUMNS = {"visitor_id": "unit_id", **{plain_name(name): name for name in (*_AMOUNTS, *_TIMES)}}
_CONVERTED = _PLAIN_AMOUNTS | _PLAIN_TIMES | _TIMES


# Columns that `RecordParser.order` fills; and fields that files never have: they are of one row a record, and belong to the epoch
# of the declaration that they are imported with.
_FILLED = {"updated_at_ms", "currency"}
_NOT_IN_FILES = {"lines", "epoch"}


@dataclass(frozen=True, slots=True)
class FileColumns:
    """
    The columns of a file of one kind, by their plain names.

    Attributes:
        needed, optional: In the order of the record's fields.
        spellings: The plain name of every name that is accepted.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    spellings: Mapping[str, str]


def file_columns(record: type[Record]) -> FileColumns:
    """Return the columns of files with one record a row."""
    fields = {name: field for name, field in record.model_fields.items() if name not in _NOT_IN_FILES}
    needed = [name for name, field in fields.items() if field.is_required() and name not in _FILLED]
    spellings = {"visitor_id": "unit_id", **{plain_name(name): plain_name(name) for name in fields}}
    return FileColumns(
        tuple(map(plain_name, needed)),
        tuple(plain_name(name) for name in fields if name not in needed),
        spellings | {name: plain_name(name) for name in fields},
    )


class RecordParser:
    """
    Parses what others send into records.

    Amounts without a currency, and times without an offset, are the shop's. Orders in a currency of `rates` are converted; a rate
    is what 1 of the currency is worth in the shop's. A line without a cost gets that of its product or SKU from `costs_minor`.
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
        """Parse one exposure; see `order` for the errors."""
        return parse(Exposure, self.spelled_out(fields))

    def interaction(self, fields: Mapping[str, Any]) -> Interaction:
        """Parse one interaction; see `order` for the errors."""
        return parse(Interaction, self.spelled_out(fields))

    def order(self, fields: Mapping[str, Any]) -> Order:
        """
        Parse one order; gross, discount, refunded, cost and units are the sums of its lines where the order has none.

        Raises:
            RequestError: A field is wrong, or in the future, or the currency is not the shop's.
        """
        currency = self._currency_of(fields)
        values = {"currency": currency, **self.spelled_out(fields, currency)}
        if "ordered_at_ms" not in values:
            raise RequestError("ordered_at: must be a time such as 2026-05-01T12:00:00Z, got nothing")
        values.setdefault("updated_at_ms", values["ordered_at_ms"])
        rows = values.get("lines")
        if not isinstance(rows, list) or not rows:
            return self._in_currency(parse(Order, values))
        lines = [self._line(number, row, currency) for number, row in enumerate(rows[:1001], 1)]
        if len({line.line_id for line in lines}) < len(lines):
            raise RequestError("lines: each line_id must be unique, got a line_id twice")
        sums = _sums(lines)
        order = self._in_currency(parse(Order, {**sums, **values, "lines": lines}))
        return order.model_copy(update={name: value for name, value in sums.items() if name not in values})

    def refund(self, fields: Mapping[str, Any]) -> Refund:
        """Parse one refund; see `order` for the errors."""
        currency = self._currency_of(fields)
        return self._in_currency(parse(Refund, {"currency": currency, **self.spelled_out(fields, currency)}))

    def _currency_of(self, fields: Mapping[str, Any]) -> str:
        currency = fields.get("currency")
        if currency == self._currency or not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
            return self._currency  # what is no currency is refused with the other fields
        if currency not in self._rates:
            raise RequestError(
                f"currency: must be {self._currency}, the shop's, or one of orders.rates in shop.yaml, got {currency}"
            )
        return currency

    def _in_currency(self, record: Priced) -> Priced:
        """Convert an order or a refund into the shop's currency; an order's lines are converted already."""
        if record.currency == self._currency:
            return record
        return self._converted(record, record.currency).model_copy(update={"currency": self._currency})

    def _converted(self, record: Converted, currency: str) -> Converted:
        if currency == self._currency:
            return record
        amounts = {
            name: convert(value, currency, self._rates[currency], self._currency)
            for name, value in record
            if name in _AMOUNTS and value is not None
        }
        if any(abs(amount) > MAX_MINOR for amount in amounts.values()):
            raise RequestError(f"currency: converted amounts must be at most {MAX_MINOR} minor units, got more")
        return record.model_copy(update=amounts)

    def _line(self, number: int, row: object, currency: str) -> OrderLine:
        if not isinstance(row, dict):
            raise RequestError(f"lines.{number}: must be an object, got {describe(row)}")
        try:
            values = {"line_id": str(number), **self.spelled_out(row, currency)}
            line = self._converted(parse(OrderLine, values), currency)
        except RequestError as error:
            raise RequestError(f"lines.{number}: {error}") from None
        cost_minor = self._costs_minor.get(line.product_id, self._costs_minor.get(line.sku))
        if line.cost_minor is not None or cost_minor is None:
            return line
        return line.model_copy(update={"cost_minor": cost_minor * line.quantity})

    def spelled_out(self, fields: Mapping[str, Any], currency: str | None = None) -> dict[str, Any]:
        """
        Return the fields under the names and in the units of the columns; null counts as absent.

        Args:
            fields: As they were sent.
            currency: The currency of decimal amounts; the shop's by default.

        Raises:
            RequestError: An amount or a time cannot be read, is there in two spellings, or is in the future.
        """
        values: dict[str, Any] = {}
        for name, value in fields.items():
            if value is None:
                continue
            column = _COLUMNS.get(name, name)
            if column in values:
                raise RequestError(f"{name}: must have one spelling, got two")
            is_converted = name in _CONVERTED
            values[column] = self._value(name, value, currency or self._currency) if is_converted else value
        return values

    def _value(self, name: str, value: object, currency: str) -> object:
        try:
            if name in _PLAIN_AMOUNTS:
                return to_minor(value, currency)
            moment = to_ms(value, self._zone) if name in _PLAIN_TIMES else value
        except RequestError as error:
            raise RequestError(f"{name}: {error}") from None
        if isinstance(moment, str) and WHOLE.match(moment.strip()):
            moment = int(moment)
        if isinstance(moment, int) and moment > self._clock_ms() + FUTURE_MS:
            raise RequestError(f"{name}: may be at most five minutes in the future, got {describe(value)}")
        return moment


def to_ms(value: object, zone: ZoneInfo) -> int:
    """
    Convert RFC 3339 text into milliseconds UTC; text without an offset is in `zone`.

    Raises:
        RequestError: The text is not a time.
    """
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
        return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise RequestError(f"must be a time such as 2026-05-01T12:00:00Z, got {describe(value)}") from None


def _sums(lines: list[OrderLine]) -> dict[str, int]:
    sums = {
        "gross_minor": sum(line.gross_minor for line in lines),
        "discount_minor": sum(line.discount_minor for line in lines),
        "refunded_minor": sum(line.refunded_minor for line in lines),
        "units": sum(line.quantity for line in lines),
    }
    costs = [line.cost_minor for line in lines]
    return sums if None in costs else sums | {"cost_minor": sum(cost for cost in costs if cost is not None)}
