"""
The history of the tables, as migrations that sqlite-utils applies and records; none is ever changed.

sqlite-utils is imported late: it loads pandas where that is installed, and a server's workers never migrate.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from events.stores.sql_store import quarantine_digest

if TYPE_CHECKING:
    from sqlite_utils import Database


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that the database does not have yet."""
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("crosslift")
    for name, migration in MIGRATIONS.items():
        migrations(name=name)(migration)
    migrations.apply(Database(connection, execute_plugins=False))


def _create(db: "Database", name: str, columns: dict[str, Any], pk: str | tuple[str, ...], optional: str = "") -> None:
    from sqlite_utils.db import Table

    table = db[name]
    assert isinstance(table, Table)  # noqa: S101  a view has no create(); none has this name
    required = set(columns) - set(optional.split())
    table.create(columns, pk=pk, not_null=required, strict=True)


def create_tables(db: "Database") -> None:
    """Create every table of the first version."""
    _create(
        db,
        "exposures",
        {
            "experiment": str,
            "unit_id": str,
            "variant": str,
            "epoch": int,
            "exposed_at_ms": int,
            "attributes": str,
            "bot": int,
        },
        pk=("experiment", "unit_id", "variant"),
    )
    _create(
        db,
        "interactions",
        {
            "event_id": str,
            "kind": str,
            "experiment": str,
            "variant": str,
            "unit_id": str,
            "placement": str,
            "product_id": str,
            "quantity": int,
            "value_minor": int,
            "occurred_at_ms": int,
        },
        pk="event_id",
    )
    _create_orders(db)
    _create(db, "aliases", {"visitor_id": str, "unit_id": str, "linked_at_ms": int}, pk="visitor_id")
    epochs = {"experiment": str, "epoch": int, "declared_at_ms": int, "declaration": str}
    _create(db, "epochs", epochs, pk=("experiment", "epoch"))
    quarantine = {"id": int, "received_at_ms": int, "source": str, "reason": str, "payload": str}
    _create(db, "quarantine", quarantine, pk="id")
    keys = {"digest": str, "kind": str, "hint": str, "created_at_ms": int, "revoked_at_ms": int}
    _create(db, "keys", keys, pk="digest", optional="revoked_at_ms")
    _create(db, "secrets", {"name": str, "value": str}, pk="name")


def create_identities(db: "Database") -> None:
    """Store the unit of each customer, so that a second device joins it."""
    identities = {"customer_id": str, "unit_id": str, "company_id": str, "linked_at_ms": int}
    _create(db, "identities", identities, pk="customer_id", optional="company_id")


def create_refunds(db: "Database") -> None:
    """Let refunds add up besides what orders state, recognise a repeated payload, and remember where lakes are."""
    refunds = {"shop": str, "order_id": str, "refund_id": str, "refunded_at_ms": int, "currency": str}
    _create(db, "refunds", {**refunds, "refunded_minor": int}, pk=("shop", "order_id", "refund_id"))
    db.execute("ALTER TABLE orders ADD COLUMN stated_refunded_minor INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE orders ADD COLUMN digest TEXT NOT NULL DEFAULT ''")
    db.execute("UPDATE orders SET stated_refunded_minor = refunded_minor")
    db.execute("ALTER TABLE quarantine ADD COLUMN digest TEXT NOT NULL DEFAULT ''")
    for row in db.execute("SELECT id, source, payload FROM quarantine").fetchall():
        db.execute("UPDATE quarantine SET digest = ? WHERE id = ?", (quarantine_digest(row[1], row[2]), row[0]))
    db.execute("DELETE FROM quarantine WHERE id NOT IN (SELECT MIN(id) FROM quarantine GROUP BY digest)")
    db.execute("CREATE UNIQUE INDEX quarantine_by_digest ON quarantine (digest)")
    _create(db, "lakes", {"path": str}, pk="path")


def add_paid_refunds(db: "Database") -> None:
    """Store what a refund's transactions paid back, besides what its lines say."""
    db.execute("ALTER TABLE refunds ADD COLUMN paid_minor INTEGER")
    db.execute("ALTER TABLE refunds ADD COLUMN discrepancy_minor INTEGER")


def keep_tallies(db: "Database") -> None:
    """Store what reports counted of past days, and log whatever changes the exposures of such a day."""
    kept = {"experiment": str, "announced_at_ms": int, "until_ms": int, "content": str}
    _create(db, "kept_tallies", kept, pk="experiment")
    columns = {
        "experiment": str,
        "unit_id": str,
        "variant": str,
        "epoch": int,
        "exposed_at_ms": int,
        "attributes": str,
        "bot": int,
    }
    _create(db, "late_exposures", {"id": int, **columns, "sign": int}, pk="id")
    db.execute("CREATE INDEX exposures_by_time ON exposures (exposed_at_ms)")
    for event, sides in (("INSERT", {"NEW": 1}), ("UPDATE", {"OLD": -1, "NEW": 1}), ("DELETE", {"OLD": -1})):
        for side, sign in sides.items():
            values = ", ".join(f"{side}.{name}" for name in columns)
            db.execute(f"""
                CREATE TRIGGER late_{event.lower()}_{side.lower()} AFTER {event} ON exposures
                WHEN {side}.exposed_at_ms < (unixepoch() - 86400) * 1000
                  AND EXISTS (SELECT 1 FROM kept_tallies WHERE experiment = {side}.experiment)
                BEGIN INSERT INTO late_exposures ({", ".join(columns)}, sign) VALUES ({values}, {sign}); END
            """)  # noqa: S608


def _create_orders(db: "Database") -> None:
    money = ("gross_minor", "discount_minor", "shipping_minor", "tax_minor", "refunded_minor", "cost_minor")
    _create(
        db,
        "orders",
        {
            "shop": str,
            "order_id": str,
            "unit_id": str,
            "customer_id": str,
            "company_id": str,
            "ordered_at_ms": int,
            "updated_at_ms": int,
            "currency": str,
            **dict.fromkeys(money, int),
            "units": int,
            "source": str,
            "verified": int,
            "excluded": str,
        },
        pk=("shop", "order_id"),
        optional="unit_id customer_id company_id cost_minor excluded",
    )
    db.execute("CREATE INDEX orders_by_unit ON orders (unit_id, ordered_at_ms)")
    _create(
        db,
        "order_lines",
        {
            "shop": str,
            "order_id": str,
            "line_id": str,
            "product_id": str,
            "sku": str,
            "quantity": int,
            "gross_minor": int,
            "discount_minor": int,
            "refunded_minor": int,
            "cost_minor": int,
            "offer_experiment": str,
            "offer_variant": str,
            "bundle_id": str,
        },
        pk=("shop", "order_id", "line_id"),
        optional="cost_minor offer_experiment offer_variant bundle_id",
    )


MIGRATIONS: Mapping[str, Callable[["Database"], None]] = {
    "001_tables": create_tables,
    "002_identities": create_identities,
    "003_refunds": create_refunds,
    "004_paid_refunds": add_paid_refunds,
    "005_kept_tallies": keep_tallies,
}
SCHEMA_VERSION = max(MIGRATIONS)
