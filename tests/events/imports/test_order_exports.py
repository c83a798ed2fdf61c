"""Order exports of Shopify and WooCommerce, row by row as their shops write them."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

from events import open_store
from tests.conftest import WriteConfigs

Run = Callable[..., Result]
COLUMNS = (
    "order_id, unit_id, customer_id, ordered_at_ms, currency, gross_minor, discount_minor, shipping_minor, tax_minor, "
    "refunded_minor, units, source, excluded"
)
LINES = "order_id, line_id, product_id, quantity, gross_minor, discount_minor, refunded_minor"
AT = 1_714_572_672_000  # 2024-05-01 10:11:12 -0400

SHOPIFY = [
    "Name",
    "Email",
    "Financial Status",
    "Paid at",
    "Currency",
    "Subtotal",
    "Shipping",
    "Taxes",
    "Total",
    "Discount Code",
    "Discount Amount",
    "Created at",
    "Lineitem quantity",
    "Lineitem name",
    "Lineitem price",
    "Lineitem sku",
    "Note Attributes",
    "Cancelled at",
    "Refunded Amount",
    "Vendor",
    "Id",
    "Source",
    "Lineitem discount",
]


def written(header: list[str], *rows: Mapping[str, object]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def shopify(*rows: Mapping[str, object], header: list[str] = SHOPIFY) -> str:
    common = {"Name": "#1001", "Created at": "2024-05-01 10:11:12 -0400"}
    return written(header, *({**common, **row} for row in rows))


ORDER = {
    "Financial Status": "paid", "Currency": "USD", "Subtotal": "72.00", "Shipping": "5.00", "Taxes": "6.16",
    "Total": "83.16", "Discount Amount": "8.00", "Id": "'5550001", "Source": "web", "Paid at": "2024-05-01 10:11:15 -0400",
    "Note Attributes": 'gift: yes\n__crosslift_visitor: anna\nnote: "a: b"',
    "Lineitem quantity": "2", "Lineitem price": "25.00", "Lineitem sku": "MUG", "Lineitem discount": "0.00",
}  # fmt: skip
SECOND = {"Lineitem quantity": "1", "Lineitem price": "30.00", "Lineitem sku": "PLATE", "Lineitem discount": "0.00"}


class Imports:
    """Imports a file, and reads what became of it."""

    def __init__(self, run: Run, configs: Path, store_url: str, folder: Path) -> None:
        self.run, self.configs, self.store_url, self.path = run, configs, store_url, folder / "orders.csv"

    def __call__(self, content: str, *options: str) -> Result:
        self.path.write_text(content, encoding="utf-8")
        return self.run("import", "orders", self.path, "--configs", self.configs, "--store", self.store_url, *options)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        store = open_store(self.store_url)
        with store.snapshot() as fetch:
            found = list(fetch(query))
        store.close()
        return found

    def orders(self) -> list[tuple[object, ...]]:
        return self.rows(f"SELECT {COLUMNS} FROM orders ORDER BY order_id")

    def lines(self) -> list[tuple[object, ...]]:
        return self.rows(f"SELECT {LINES} FROM order_lines ORDER BY order_id, line_id")


@pytest.fixture
def imports(run: Run, write_configs: WriteConfigs, store_url: str, tmp_path: Path) -> Imports:
    return Imports(run, write_configs(files={"shop.yaml": "time_zone: America/New_York\n"}), store_url, tmp_path)


def test_a_shopify_order_of_two_lines(imports: Imports) -> None:
    """The code's discount is spread over the lines; the visitor stands among the note's attributes."""
    result = imports(shopify(ORDER, SECOND))
    assert "Recognised as Shopify's order export.\n1 row of orders imported" in result.output
    assert imports.orders() == [
        ("5550001", "anna", None, AT, "USD", 8000, 800, 500, 616, 0, 3, "web", None),
    ]  # fmt: skip
    assert imports.lines() == [
        ("5550001", "1", "MUG", 2, 5000, 500, 0),
        ("5550001", "2", "PLATE", 1, 3000, 300, 0),
    ]
    assert "0 rows of orders imported, 1 stored already" in imports(shopify(ORDER, SECOND)).output


def test_an_export_made_later_knows_of_refunds_and_cancellations(imports: Imports) -> None:
    """They carry no time of their own; an older file that is imported again does not undo them."""
    imports(shopify(ORDER, SECOND))
    assert "1 row of orders imported" in imports(shopify({**ORDER, "Refunded Amount": "83.16"}, SECOND)).output
    assert imports.orders()[0][9] == 7200  # what the products had brought, of what was given back with tax and shipping
    cancelled = {**ORDER, "Refunded Amount": "83.16", "Cancelled at": "2024-05-02 10:00:00 -0400"}
    assert "Of these orders: 1 left out (cancelled)." in imports(shopify(cancelled, SECOND)).output
    imports(shopify(ORDER, SECOND))
    assert (imports.orders()[0][9], imports.orders()[0][12]) == (7200, "cancelled")


def test_a_shopify_shop_whose_prices_include_tax(imports: Imports) -> None:
    """Then Total is Subtotal and Shipping; product revenue is what is left without tax."""
    taxed = {**ORDER, "Subtotal": "108.00", "Shipping": "12.00", "Taxes": "20.00", "Total": "120.00",
             "Discount Amount": "12.00", "Lineitem price": "60.00"}  # fmt: skip
    imports(shopify(taxed))
    (order,) = imports.orders()
    assert order[5:9] == (10000, 1000, 1000, 2000)
    assert imports.lines() == [("5550001", "1", "MUG", 2, 10000, 1000, 0)]


def test_old_shopify_files_have_no_id_and_no_source(imports: Imports) -> None:
    """Then the order's name stands for it."""
    header = [name for name in SHOPIFY if name not in ("Id", "Source", "Lineitem discount", "Currency")]
    old = {name: value for name, value in ORDER.items() if name in header}
    imports(shopify({**old, "Financial Status": "voided"}, {"Name": "#1001", "Lineitem quantity": "1",
            "Lineitem price": "30.00"}, header=header), "--shop", "main")  # fmt: skip
    assert imports.orders()[0][0::12] == ("#1001", "voided")
    assert imports.rows("SELECT shop FROM orders") == [("main",)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([SECOND], "orders.csv:2: Total, Subtotal: an order's first row must have both"),
        ([{**ORDER, "Total": "12,00"}], "orders.csv:2: total: found `12,00`; wanted an amount"),
        (
            [{**ORDER, "Currency": "EUR"}],
            "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR",
        ),
        ([{**ORDER, "Created at": "May 1"}], "must be a time such as 2026-05-01T12:00:00Z, got `May 1`"),
        ([{**ORDER, "Lineitem quantity": "two"}], "quantity: must be a whole number, got `two`"),
    ],
)
def test_a_shopify_row_that_cannot_be_read_says_why(
    imports: Imports, rows: list[Mapping[str, object]], message: str
) -> None:
    """With its line, and nothing is imported."""
    result = imports(shopify(*rows))
    assert (result.exit_code, message in result.output) == (1, True), result.output
    assert imports.orders() == []


def test_a_broken_row_stops_an_export_even_when_bad_rows_are_skipped(imports: Imports) -> None:
    """Of some order a line would be missing."""
    result = imports(shopify(ORDER, SECOND) + "#1002,x\n", "--skip-bad-rows")
    assert result.exit_code == 2
    assert "must have 23 cells, as the header has, got 2" in str(result.exception)
    assert imports.orders() == []


WOO = {
    "order_id": "188", "order_number": "188", "status": "completed", "shipping_total": "5.00", "shipping_tax_total": "0.40",
    "fee_total": "0.00", "fee_tax_total": "0.00", "tax_total": "6.16", "discount_total": "8.00", "order_total": "83.16",
    "order_currency": "USD",
}  # fmt: skip
ITEMS = (
    "id:31|name:Mug; blue|product_id:9|sku:MUG|quantity:2|subtotal:50.00|subtotal_tax:4.00|total:45.00|total_tax:3.60"
    "|refunded:22.50|refunded_qty:-1|meta:;id:32|name:Plate|product_id:10|sku:PLATE|quantity:1|subtotal:30.00"
    "|subtotal_tax:2.40|total:27.00|total_tax:2.16|refunded:0.00|refunded_qty:0|meta:"
)
EXPECTED = ("188", None, "4", AT, "USD", 8000, 800, 500, 616, 2250, 3, "woocommerce", None)
EXPECTED_LINES = [("188", "1", "9", 2, 5000, 500, 2250), ("188", "2", "10", 1, 3000, 300, 0)]


def test_woocommerce_a_row_an_order(imports: Imports) -> None:
    """The official extension: items in one cell, the refund from its lines, without tax."""
    row = {**WOO, "date": "2024-05-01 10:11:12", "refunded_total": "24.30", "customer_id": "4", "line_items": ITEMS}
    assert "Recognised as WooCommerce's order export." in imports(written(list(row), row)).output
    assert imports.orders() == [EXPECTED]
    assert imports.lines() == EXPECTED_LINES


def test_woocommerce_a_row_an_item(imports: Imports) -> None:
    """The columns of the order stand in every row, and are counted once."""
    order = {**WOO, "date": "2024-05-01 10:11:12", "refunded_total": "24.30", "customer_id": "4"}
    rows = [
        {**order, "item_product_id": "9", "item_sku": "MUG", "item_quantity": "2", "item_subtotal": "50.00",
         "item_total": "45.00", "item_refunded": "22.50"},
        {**order, "item_product_id": "10", "item_sku": "PLATE", "item_quantity": "1", "item_subtotal": "30.00",
         "item_total": "27.00", "item_refunded": "0.00"},
        {**order, "order_id": "189", "status": "failed", "item_quantity": "1", "item_total": "9.00"},
    ]  # fmt: skip
    imports(written(list(rows[0]), *rows))
    first, second = imports.orders()
    assert first == EXPECTED
    assert (second[5], second[12]) == (8000, "failed")
    assert imports.lines() == EXPECTED_LINES  # the failed one's do not add up to it, and are left out


def test_woocommerce_with_numbered_item_columns(imports: Imports) -> None:
    """Another extension: order_date, a column an item, refunds in a cell with tax."""
    row = {**WOO, "order_date": "2024-05-01 10:11:12", "customer_user": "4", "status": "wc-processing",
           "refund_items": "amount:83.16|reason:broken; sorry|date:2024-05-03 09:00:00",
           "line_item_1": "name:Mug|product_id:9|sku:MUG|quantity:2|total:45.00|sub_total:50.00|tax:3.60",
           "line_item_2": "name:Plate|product_id:10|sku:PLATE|quantity:1|total:27.00|sub_total:30.00",
           "meta:__crosslift_visitor": "anna"}  # fmt: skip
    imports(written(list(row), row))
    assert imports.orders() == [(*EXPECTED[:1], "anna", *EXPECTED[2:9], 7200, *EXPECTED[10:])]


def test_woocommerce_advanced(imports: Imports) -> None:
    """A row an item; statuses and columns by their titles."""
    order = {"Order Number": "188", "Order Status": "Completed", "Order Date": "2024-05-01 10:11", "Cart Discount Amount": "8",
             "Order Shipping Amount": "5", "Order Refund Amount": "83.16", "Order Total Amount": "83.16",
             "Order Total Tax Amount": "6.16", "SKU": "MUG", "Quantity (- Refund)": "2"}  # fmt: skip
    imports(written(list(order), order, {**order, "SKU": "PLATE", "Quantity (- Refund)": "1"},
            {**order, "Order Number": "189", "Order Status": "On hold"}))  # fmt: skip
    first, second = imports.orders()
    assert first == (*EXPECTED[:2], None, AT - 12_000, *EXPECTED[4:9], 7200, *EXPECTED[10:])
    assert second[12] == "on-hold"


def test_woocommerce_analytics(imports: Imports) -> None:
    """Net sales alone; a refund is a row of its own below zero, wherever it stands."""
    order = {"Date": "2024-05-01 10:11:12", "Order #": "188", "Status": "completed", "Items sold": "3", "Net sales": "72",
             "Product(s)": "2× Mug, 1× Plate"}  # fmt: skip
    back = {**order, "Date": "2024-05-03 09:00:00", "Items sold": "-1", "Net sales": "-25"}
    for _ in range(2):
        imports(written(list(order), back, {**order, "Order #": "190"}, order))
    found = [(row[0], row[5], row[9], row[10]) for row in imports.orders()]
    assert found == [("188", 7200, 2500, 3), ("190", 7200, 0, 3)]


def test_rows_of_one_order_stand_together(imports: Imports) -> None:
    """One that comes back after others, or has no name, is refused: of an order a part would be missing."""
    other = {**ORDER, "Name": "#1002", "Id": "5550002"}
    back = imports(shopify(ORDER, other, SECOND))
    assert (
        back.exit_code,
        "name: rows of one order must stand together, got `#1001` again after other orders" in back.output,
    ) == (1, True)
    nameless = imports(shopify({**ORDER, "Name": ""}, {**other, "Name": ""}))
    assert (nameless.exit_code, nameless.output.count("name: must be the order's, got nothing")) == (1, 2)
    assert imports.orders() == []


def test_the_rules_are_those_of_webhooks(imports: Imports, write_configs: WriteConfigs) -> None:
    """Drafts, tags and other currencies: 72.00 euros at 1.5 are 108.00 dollars, line by line."""
    header = [*SHOPIFY, "Tags"]
    rows = [
        {**ORDER, "Source": "shopify_draft_order"},
        {**ORDER, "Name": "#1002", "Id": "2", "Tags": "vip, Staff"},
        {**ORDER, "Name": "#1003", "Id": "3", "Currency": "EUR"},
        {**SECOND, "Name": "#1003", "Currency": "EUR"},
    ]
    assert imports(shopify(*rows, header=header)).exit_code == 1  # no rate for euros
    write_configs(files={"shop.yaml": "orders: {exclude_tags: [staff], rates: {EUR: 1.5}}\n"})
    assert imports(shopify(*rows, header=header)).exit_code == 0
    found = imports.rows("SELECT order_id, currency, gross_minor, discount_minor, excluded FROM orders ORDER BY 1")
    assert found[0] == ("2", "USD", 8000, 800, "tag: Staff")
    assert found[1] == ("3", "USD", 12000, 1200, None)
    assert found[2][-1] == "draft"
    assert imports.rows("SELECT sum(gross_minor), sum(discount_minor) FROM order_lines WHERE order_id = '3'") == [
        (12000, 1200)
    ]
