"""crosslift reconcile: the store against the shop's own export, and every difference with its likely cause."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from events import Order, Refund, Store
from events.stores.protocol import Rejected
from tests.conftest import WriteConfigs

AT = 1_777_543_200_000  # 2026-04-30 12:00 in Berlin
SHOP = "currency: USD\ntime_zone: Europe/Berlin\norders: {exclude_sources: [pos]}\n"
COLUMNS = ("Name", "Id", "Financial Status", "Created at", "Currency", "Subtotal", "Shipping", "Taxes", "Total",
           "Discount Amount", "Refunded Amount", "Cancelled at", "Source", "Lineitem quantity", "Lineitem name",
           "Lineitem price", "Lineitem discount")  # fmt: skip


def order(order_id: str, gross: int, discount: int = 0, refunded: int = 0, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "shop": "demo",
        "order_id": order_id,
        "ordered_at_ms": AT,
        "updated_at_ms": AT,
        "currency": "USD",
    }
    fields |= {"gross_minor": gross, "discount_minor": discount, "refunded_minor": refunded, "source": "web"}
    return Order(**(fields | changes))


def exported(
    order_id: str, price: str, discount: str = "0.00", refunded: str = "0.00", **changes: str
) -> dict[str, str]:
    """Return a row as Shopify exports it: of one line, without tax and shipping."""
    total = f"{float(price) - float(discount):.2f}"
    row = {"Name": f"#{order_id}", "Id": order_id, "Financial Status": "paid", "Currency": "USD", "Source": "web"}
    row |= {"Created at": "2026-04-30 12:00:00 +0200", "Subtotal": total, "Shipping": "0.00", "Taxes": "0.00"}
    row |= {"Total": total, "Discount Amount": discount, "Refunded Amount": refunded, "Lineitem quantity": "1"}
    return row | {"Lineitem name": "x", "Lineitem price": price, "Lineitem discount": "0.00", **changes}


@pytest.fixture
def compare(
    run: Callable[..., Result], write_configs: WriteConfigs, store: Store, store_url: str, tmp_path: Path
) -> Callable[..., Any]:
    """Compare rows of an export with the store; give the JSON and the exit code."""
    configs = write_configs(files={"shop.yaml": SHOP})

    def compared(*rows: dict[str, str], options: tuple[str, ...] = (), text: bool = False) -> Any:
        path = tmp_path / "export.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        format_ = () if text else ("--format", "json")
        result = run("reconcile", path, "--configs", configs, "--store", store_url, *format_, *options)
        return (result.output, result.exit_code) if text else (json.loads(result.output), result.exit_code)

    return compared


def test_what_agrees_is_said_in_one_table(store: Store, compare: Callable[..., Any]) -> None:
    """Counts and sums of both sides; what neither counts is no difference."""
    cancelled = {"Cancelled at": "2026-04-30 13:00:00 +0200"}
    store.write(
        [
            order("1", 3000, 500, 1000),
            order("2", 1050),
            order("3", 700, excluded="cancelled"),
            order("4", 1, excluded="test"),
        ]
    )
    rows = [exported("1", "30.00", "5.00", "10.00"), exported("2", "10.50"), exported("3", "7.00", **cancelled)]
    output, code = compare(*rows, text=True)
    assert code == 0
    assert output.splitlines() == [
        "Shop demo, 2026-04-30 to 2026-04-30",
        "                       export              store     store - export",
        "orders                      2                  2                 +0",
        "gross                  $40.50             $40.50              $0.00",
        "discounts               $5.00              $5.00              $0.00",
        "refunds                $10.00             $10.00              $0.00",
        "net                    $25.50             $25.50              $0.00",
        "0 orders differ.",
    ]


def test_every_difference_has_its_likely_cause(store: Store, compare: Callable[..., Any]) -> None:
    """By hand: one of each kind, and the sums with them."""
    store.write(
        [
            order("known-here", 100),
            order("refunded-here", 2000, refunded=500),
            order("refunded-there", 2000),
            order("upsold", 2500, units=2),
            order("gift-card", 1000),
            order("cancelled-there", 900),
            order("test-here", 800, excluded="test"),
            order("forged", 700, verified=False),
            order("till", 600, source="pos"),
            order("netted", 1900),
            order("rounded", 999),
            order("restocked", 2000, refunded=1500),
            Refund(shop="demo", order_id="restocked", refund_id="1", refunded_at_ms=AT, currency="USD",
                   refunded_minor=1500, paid_minor=1000, discrepancy_minor=-500),
            order("elsewhere", 100, ordered_at_ms=AT - 40 * 3_600_000),
        ]
    )  # fmt: skip
    store.quarantine([Rejected(AT, "shopify:demo:orders/create", "currency: must be USD, got EUR", '{"id": "held"}')])
    rows = [
        exported("never-came", "5.00"),
        exported("held", "6.00"),
        exported("refunded-here", "20.00"),
        exported("refunded-there", "20.00", refunded="7.00"),
        exported("upsold", "20.00"),
        exported("gift-card", "15.00", **{"Lineitem quantity": "2"}, Subtotal="30.00", Total="30.00"),
        exported("cancelled-there", "9.00", **{"Cancelled at": "2026-04-30 13:00:00 +0200"}),
        exported("test-here", "8.00"),
        exported("forged", "7.00"),
        exported("till", "6.00", Source="pos"),
        exported("netted", "20.00", "1.00"),
        exported("rounded", "10.00"),
        exported("restocked", "20.00", refunded="10.00"),
        exported("elsewhere", "1.00"),
    ]
    found, code = compare(*rows)
    assert code == 1
    causes = {one["order_id"]: (one["what"], one["cause"].split(":")[0][:42]) for one in found["differences"]}
    assert causes == {
        "never-came": ("missing", "never received"),
        "held": ("missing", "in quarantine"),
        "known-here": ("unknown", "deleted in the shop, placed through anothe"),
        "refunded-here": ("refunds", "refunded after the export was made, or ref"),
        "refunded-there": ("refunds", "a refund is missing in the store"),
        "upsold": ("gross", "edited after the purchase"),
        "gift-card": ("gross", "lines that are not products (gift cards, t"),
        "cancelled-there": ("counted", "cancelled in the shop, but not in the stor"),
        "test-here": ("counted", "not counted in the store"),
        "forged": ("counted", "not counted in the store"),
        "netted": ("gross, discounts", "the same net before refunds"),
        "rounded": ("gross", "rounding"),
        "restocked": ("refunds", "a refund's payments and lines differ"),
    }
    by_id = {one["order_id"]: one for one in found["differences"]}
    assert (by_id["upsold"]["export"], by_id["upsold"]["store"]) == (2000, 2500)
    assert by_id["held"]["cause"].endswith("`crosslift quarantine replay`")
    # 5 + 6 + 20 + 20 + 20 + 30 + 8 + 7 + 20 + 10 + 20 + 1 of twelve counted orders; the till's count on neither side.
    assert found["export"] == {"orders": 12, "gross": 16700, "discounts": 100, "refunds": 1700, "net": 14900}
    # 1 + 20 + 20 + 25 + 10 + 9 + 19 + 9.99 + 20 + 1 of ten.
    assert found["store"] == {"orders": 10, "gross": 13499, "discounts": 0, "refunds": 2000, "net": 11499}
    sums = {side: sum(one[side] or 0 for one in found["differences"]) for side in ("export", "store")}
    assert found["store"]["net"] - found["export"]["net"] == sums["store"] - sums["export"]


def test_a_period_is_days_of_the_shop(store: Store, compare: Callable[..., Any]) -> None:
    """Of an export of months, only what was asked for is compared."""
    store.write([order("1", 1000), order("2", 1000, ordered_at_ms=AT + 86_400_000)])
    rows = [exported("1", "10.00"), exported("0", "4.00", **{"Created at": "2026-03-01 12:00:00 +0100"})]
    found, code = compare(*rows, options=("--since", "2026-04-30", "--until", "2026-04-30"))
    assert (code, found["differences"], found["since"]) == (0, [], "2026-04-30")
    found, code = compare(rows[0], options=("--until", "2026-05-01"))
    assert [one["order_id"] for one in found["differences"]] == ["2"]


def test_wrong_use_is_said(
    store: Store, run: Callable[..., Result], write_configs: WriteConfigs, store_url: str, tmp_path: Path
) -> None:
    """A shop that has no orders, a file that is none."""
    options = ("--configs", write_configs(files={"shop.yaml": SHOP}), "--store", store_url)
    path = tmp_path / "own.csv"
    path.write_text("order_id,ordered_at,gross\n1,2026-04-30T12:00:00Z,10.00\n")
    result = run("reconcile", path, *options)
    assert (result.exit_code, "must be a shop with orders (none has any), got none" in str(result.exception)) == (
        2,
        True,
    )
    store.write([order("1", 1000), order("1", 1000, shop="second")])
    assert "must be a shop with orders (demo, second), got none" in str(run("reconcile", path, *options).exception)
    assert run("reconcile", path, "--shop", "second", *options).exit_code == 0  # our own columns will do
    assert run("reconcile", tmp_path / "missing.csv", "--shop", "demo", *options).exit_code == 2
    path.write_text("order_id,ordered_at,gross\n1,2026-04-30T12:00:00Z,ten\n")
    assert "own.csv:2: gross: found `ten`" in str(run("reconcile", path, "--shop", "demo", *options).exception)
