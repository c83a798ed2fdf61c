"""Records that the tests of this room write, and what they read back."""

from contextlib import closing
from pathlib import Path

import duckdb

from events import Exposure, Interaction, Order, Refund
from events.records import EventRecord

AT = 1_777_636_800_000
DAY = 86_400_000


def exposure(unit: str = "u1", variant: str = "a", at: int = AT, epoch: int = 1, **attributes: object) -> Exposure:
    return Exposure(
        experiment="ab", unit_id=unit, variant=variant, epoch=epoch, exposed_at_ms=at, attributes=attributes
    )


def order(number: int = 1, updated: int = AT, gross: int = 1000, **fields: object) -> Order:
    values = {
        "order_id": f"o{number}",
        "unit_id": "u1",
        "ordered_at_ms": AT,
        "updated_at_ms": updated,
        "gross_minor": gross,
    }
    return Order.model_validate({"currency": "USD", **values, **fields})


def click(event_id: str = "e1") -> Interaction:
    return Interaction(event_id=event_id, kind="click", experiment="ab", variant="a", unit_id="u1", occurred_at_ms=AT)


def refund(number: int = 1, amount: int = 100, at: int = AT, order_number: int = 1) -> Refund:
    return Refund(
        order_id=f"o{order_number}",
        refund_id=f"r{number}",
        refunded_at_ms=at,
        currency="USD",
        refunded_minor=amount,
    )


def history(days: int = 3) -> list[EventRecord]:
    """Something on each of some days, of visitors `visitor-0`, `visitor-1`, ..."""
    records: list[EventRecord] = []
    for day in range(days):
        unit, at = f"visitor-{day}", AT + day * DAY
        records += [
            exposure(unit, at=at, device="mobile", customer_id=f"customer-{day}"),
            click(f"{unit}:click").model_copy(update={"unit_id": unit, "occurred_at_ms": at}),
            order(
                day,
                at,
                1000 + day,
                unit_id=unit,
                customer_id=f"customer-{day}",
                ordered_at_ms=at,
                lines=[{"line_id": "1", "gross_minor": 1000 + day, "product_id": "p1"}],
            ),
            refund(1, 10, at, day),
        ]
    return records


def lake_rows(lake: Path, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """Read a table of the lake, as any engine does."""
    with closing(duckdb.connect()) as engine:
        query = (
            f"SELECT {columns} FROM read_parquet('{lake}/{table}/**/*.parquet', hive_partitioning=true) ORDER BY ALL"
        )
        return engine.execute(query).fetchall()


def files(lake: Path) -> dict[str, int]:
    return {str(path.relative_to(lake)): path.stat().st_mtime_ns for path in lake.rglob("*.parquet")}
