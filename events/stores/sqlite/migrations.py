"""The tables, as migrations that sqlite-utils applies and records; docs/schema.md says what each column means."""

from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import Table
from sqlite_utils.migrations import Migrations

from events.stores.sql_store import EXPOSURE, is_integer, quarantine_digest

MIGRATIONS = Migrations("crosslift")


def _create(db: Database, name: str, columns: dict[str, Any], pk: str | tuple[str, ...], optional: str = "") -> None:
    table = db[name]
    assert isinstance(table, Table)  # noqa: S101  a view has no create(); none has this name
    required = set(columns) - set(optional.split())
    table.create(columns, pk=pk, not_null=required, strict=True)


@MIGRATIONS(name="001_tables")
def create_tables(db: Database) -> None:
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


@MIGRATIONS(name="002_identities")
def create_identities(db: Database) -> None:
    """Remember which unit a customer is, so that a second device joins it."""
    identities = {"customer_id": str, "unit_id": str, "company_id": str, "linked_at_ms": int}
    _create(db, "identities", identities, pk="customer_id", optional="company_id")


@MIGRATIONS(name="003_refunds")
def create_refunds(db: Database) -> None:
    """Let refunds add up beside what orders state, tell a repeated payload, and remember where lakes are."""
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


@MIGRATIONS(name="004_paid_refunds")
def add_paid_refunds(db: Database) -> None:
    """Keep what a refund's transactions paid back beside what its lines say."""
    db.execute("ALTER TABLE refunds ADD COLUMN paid_minor INTEGER")
    db.execute("ALTER TABLE refunds ADD COLUMN discrepancy_minor INTEGER")


@MIGRATIONS(name="005_kept_tallies")
def keep_tallies(db: Database) -> None:
    """Let reports keep what they counted of days that are over, and log whatever changes such a day's exposures."""
    kept = {"experiment": str, "announced_at_ms": int, "until_ms": int, "content": str}
    _create(db, "kept_tallies", kept, pk="experiment")
    columns = {name: int if is_integer(name) else str for name in EXPOSURE}
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


def _create_orders(db: Database) -> None:
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
