"""
Every table and column of the stores, declared once: name, type, meaning.

The statements of both stores, the lake, the import of files, the views of the engines and docs/schema.md are derived from here.
Migrations are not: they are history, and a test holds the schema that they end with against these declarations.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Literal, get_args, get_origin

from events.records import Exposure, Interaction, Order, OrderLine, Record, Refund

Kind = Literal["integer", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column.

    Attributes:
        name: As in the store.
        kind: `integer` is of 64 bits, `text` is compared by its bytes.
        meaning: As docs/schema.md says it.
        nullable: Whether the value may be missing.
        exported: Whether lakes have the column; columns that only the store uses stay there.
    """

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    exported: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """
    One table.

    Attributes:
        name: As in the store.
        meaning: What a row is, and which of two rows with one key stays.
        columns: The columns of the key come first.
        key_size: How many columns the key has.
        person: The columns that hold a person's ids.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key_size: int = 1
    person: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return tuple(column.name for column in self.columns)

    @property
    def key(self) -> tuple[str, ...]:
        """Return the names of the key's columns."""
        return self.names[: self.key_size]

    @property
    def values(self) -> tuple[str, ...]:
        """Return the names of the columns outside the key."""
        return self.names[self.key_size :]


def columns_of(record: type[Record], leave_out: Container[str] = ()) -> tuple[Column, ...]:
    """Return a record's fields as columns: types from their annotations, meanings from their docstrings."""
    return tuple(
        _column(name, field.annotation, field.description or "")
        for name, field in record.model_fields.items()
        if name not in leave_out
    )


def _column(name: str, annotation: object, meaning: str) -> Column:
    parts = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    bases = {get_args(part)[0] if get_origin(part) is Annotated else part for part in parts}
    return Column(name, "integer" if bases & {int, bool} else "text", meaning, nullable=NoneType in bases)


def text(name: str, meaning: str, nullable: bool = False) -> Column:
    """Declare a column of text."""
    return Column(name, "text", meaning, nullable)


def integer(name: str, meaning: str, nullable: bool = False) -> Column:
    """Declare a column of whole numbers."""
    return Column(name, "integer", meaning, nullable)


_EXPERIMENT = text("experiment", "The experiment's key")
_LINKED_AT = integer("linked_at_ms", "When the link was made")

EXPOSURES = Table(
    "exposures",
    "A unit reached an experiment's trigger. The earliest stays.",
    columns_of(Exposure),
    key_size=3,
    person=("unit_id",),
)
INTERACTIONS = Table(
    "interactions",
    "A visitor saw or did something at a placement. The earliest stays.",
    columns_of(Interaction),
    person=("unit_id",),
)
ORDERS = Table(
    "orders",
    "The newest state of an order: the newest `updated_at_ms` stays.",
    (
        *columns_of(Order, leave_out=("lines",)),
        Column("stated_refunded_minor", "integer", "Refunds as the order itself states them", exported=False),
        Column("digest", "text", "A digest of the whole state", exported=False),
    ),
    key_size=2,
    person=("unit_id", "customer_id"),
)
ORDER_LINES = Table(
    "order_lines",
    "A line of an order, replaced with its order.",
    (
        text("shop", "The order's shop"),
        text("order_id", "The order's id"),
        *columns_of(OrderLine),
    ),
    key_size=3,
)
REFUNDS = Table(
    "refunds",
    "A refund of an order. The newest `refunded_at_ms` stays.",
    columns_of(Refund),
    key_size=3,
)
ALIASES = Table(
    "aliases",
    "A visitor id that is another device of a unit.",
    (text("visitor_id", "The device's visitor id"), text("unit_id", "The unit"), _LINKED_AT),
    person=("visitor_id", "unit_id"),
)
IDENTITIES = Table(
    "identities",
    "The unit of a customer.",
    (
        text("customer_id", "The customer's id"),
        text("unit_id", "The customer's first visitor id"),
        text("company_id", "The customer's company; null where not known", nullable=True),
        _LINKED_AT,
    ),
    person=("customer_id", "unit_id"),
)
EPOCHS = Table(
    "epochs",
    "A state of a declaration with its own weights and arms.",
    (
        _EXPERIMENT,
        integer("epoch", "The epoch's number, from 1"),
        integer("declared_at_ms", "When the epoch was opened"),
        text("declaration", "The whole declaration, as a JSON object"),
    ),
    key_size=2,
)
QUARANTINE = Table(
    "quarantine",
    "What was signed, or sent with a secret key, and rejected. A repeated payload is stored once.",
    (
        integer("id", "The row's number"),
        integer("received_at_ms", "When it arrived"),
        text("source", "`events`, or platform, shop and topic of a webhook"),
        text("reason", "Why it was rejected"),
        text("payload", "The body as it arrived"),
        text("digest", "A digest of source and payload"),
    ),
)
KEYS = Table(
    "keys",
    "An API key.",
    (
        text("digest", "SHA-256 of the key"),
        text("kind", "`publishable` or `secret`"),
        text("hint", "The first characters, by which the key is named"),
        integer("created_at_ms", "When it was created"),
        integer("revoked_at_ms", "When it was revoked; null where it is valid", nullable=True),
    ),
)
SECRETS = Table(
    "secrets",
    "What exposure tokens are signed with, what shops sign webhooks with, and until when interactions were pruned.",
    (text("name", "What the secret is for"), text("value", "The secret")),
)
LAKES = Table("lakes", "A folder that was exported to.", (text("path", "The folder"),))
KEPT_TALLIES = Table(
    "kept_tallies",
    "What reports of large experiments counted already.",
    (
        _EXPERIMENT,
        integer("announced_at_ms", "Since when changes of past days are logged"),
        integer("until_ms", "Exposures before this time are counted in `content`"),
        text("content", "JSON: exposures by arm, epoch and day, and the units that saw several variants"),
    ),
)
LATE_EXPOSURES = Table(
    "late_exposures",
    "An exposure that was added, changed or deleted when it was more than a day old, since the experiment's tally was stored.",
    (
        integer("id", "The row's number"),
        *EXPOSURES.columns,
        integer("sign", "-1 for the row before the change, 1 for the row after it"),
    ),
)

EVENT_TABLES = (
    EXPOSURES,
    INTERACTIONS,
    ORDERS,
    ORDER_LINES,
    REFUNDS,
    ALIASES,
    IDENTITIES,
    EPOCHS,
    QUARANTINE,
)
TABLES = (*EVENT_TABLES, KEYS, SECRETS, LAKES, KEPT_TALLIES, LATE_EXPOSURES)
IDENTIFYING: Mapping[str, tuple[str, ...]] = {table.name: table.person for table in TABLES if table.person}
