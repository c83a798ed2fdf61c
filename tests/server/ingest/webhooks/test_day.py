"""A day of 10,000 orders: what the store holds is what the shop's own books say, to the cent."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from events import open_store
from tests.server.ingest.webhooks.conftest import MakeShop
from tests.server.ingest.webhooks.day import synthetic_day


def test_a_synthetic_day_reconciles_to_the_cent(make_shop: MakeShop) -> None:
    """Upsells, edits, refunds, cancellations, tests, tips and gift cards; in no order, one webhook of ten repeated."""
    shop, day = make_shop(), synthetic_day(10_000, seed=7)

    def post(webhook: tuple[object, str]) -> int:
        answer = shop.shopify(*webhook)
        return answer.status_code if not answer.get_json()["rejected"] else 0

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(post, day.sent)) == {200}
    query = "SELECT order_id, gross_minor, discount_minor, refunded_minor, excluded FROM orders"
    held = {row[0]: row[1:] for row in shop.rows(query)}
    booked = {key: (one.gross, one.discount, one.refunded, one.excluded) for key, one in day.books.items()}
    assert [key for key in booked if held.get(key) != booked[key]] == []
    assert len(held) == 10_000
    net = shop.rows("SELECT sum(gross_minor - discount_minor - refunded_minor) FROM orders WHERE excluded IS NULL")
    assert net == [(sum(one.net for one in day.books.values() if one.excluded is None),)]
    assert shop.store.quarantined() == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_books_reconcile_by_the_command(
    make_shop: MakeShop, run: Callable[..., Result], tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """In either store; an order whose webhooks are lost, and a refund, are what is left to be said."""
    url = f"sqlite:///{tmp_path / 'day.db'}"
    url = url if kind == "sqlite" else request.getfixturevalue("postgres").new_database()
    with closing(open_store(url)) as store:
        shop, day = make_shop(into=store), synthetic_day(300, seed=11)
        (lost, *others) = [key for key, one in day.books.items() if one.excluded is None]
        for body, topic in day.sent:
            if str(body.get("order_id", body["id"])) != lost:
                assert shop.shopify(body, topic).status_code == 200
    path = tmp_path / "books.csv"
    later = next(key for key in others if day.books[key].net > 100)
    day.books[later].refunded += 77
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["order_id", "ordered_at", "gross_minor", "discount_minor", "refunded_minor", "excluded"])
        for key, one in day.books.items():
            rows.writerow([key, one.ordered_at, one.gross, one.discount, one.refunded, one.excluded or ""])
    result = run("reconcile", path, "--configs", tmp_path / "configs", "--store", url)
    assert (result.exit_code, "2 orders differ." in result.output) == (1, True), result.output
    assert f"{lost}  missing: export" in result.output
    assert f"{later}  refunds: export" in result.output
