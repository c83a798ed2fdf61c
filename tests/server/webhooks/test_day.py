"""A day of 10,000 orders: what the store holds is what the shop's own books say, to the cent."""

from concurrent.futures import ThreadPoolExecutor

from tests.server.webhooks.conftest import MakeShop
from tests.server.webhooks.day import synthetic_day


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
