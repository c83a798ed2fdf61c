"""A made-up day of a Shopify shop: the webhooks that it sends, and the books that it keeps itself."""

import random
from dataclasses import dataclass, field
from typing import Any

from tests.server.ingest.webhooks.conftest import line, order, refund, refunded

START_MINUTES = 24 * 60


@dataclass
class Books:
    """What the shop itself knows of an order, in cents; never worked out of a payload."""

    gross: int = 0
    discount: int = 0
    refunded: int = 0
    excluded: str | None = None
    ordered_at: str = ""

    @property
    def net(self) -> int:
        return self.gross - self.discount - self.refunded


@dataclass
class Bought:
    """A line, in cents, as the shop's books have it."""

    line_id: int
    price: int
    quantity: int
    discount_each: int
    removed: int = 0
    returned: int = 0
    kind: str = "product"

    def payload(self) -> dict[str, Any]:
        allocated = [{"amount": money(self.discount_each * self.quantity)}] if self.discount_each else []
        more: dict[str, Any] = {"gift_card": self.kind == "gift_card"}
        if self.kind == "tip":
            more |= {"tip": {"payment_method": "x"}, "product_id": None}
        left = self.quantity - self.removed - self.returned
        told = line(self.line_id, money(self.price), self.quantity, discount_allocations=allocated)
        return told | more | {"current_quantity": left}


@dataclass
class Day:
    """All webhooks of a day in no order, some repeated, and the books of every order by its id."""

    sent: list[tuple[Any, str]] = field(default_factory=list)
    books: dict[str, Books] = field(default_factory=dict)


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def synthetic_day(orders: int, seed: int) -> Day:
    """Make a day of so many orders."""
    dice, day = random.Random(seed), Day()
    for number in range(1, orders + 1):
        _one_order(day, dice, number)
    day.sent += dice.choices(day.sent, k=len(day.sent) // 10)
    dice.shuffle(day.sent)
    return day


def _one_order(day: Day, dice: random.Random, number: int) -> None:
    ids = iter(range(number * 100, number * 100 + 99))
    lines = [_bought(dice, next(ids)) for _ in range(dice.choice([1, 1, 2, 3]))]
    if dice.random() < 0.05:
        lines.append(Bought(next(ids), dice.randint(100, 900), 1, 0, kind="tip"))
    if dice.random() < 0.03:
        lines.append(Bought(next(ids), 2500, 1, 0, kind="gift_card"))
    minute = dice.randrange(START_MINUTES - 60)
    refunds: list[dict[str, Any]] = []
    kept: dict[str, Any] = {"id": number, "test": dice.random() < 0.01, "created_at": _at(minute)}
    products = [one for one in lines if one.kind == "product"]

    def tell(topic: str) -> None:
        nonlocal minute
        body = {**kept, "updated_at": _at(minute), "refunds": list(refunds)}
        day.sent.append((order(**body, line_items=[one.payload() for one in lines]), topic))
        minute += dice.randint(1, 9)

    tell("orders/create")
    if dice.random() < 0.10:  # an upsell on the page after the purchase
        products.append(_bought(dice, next(ids)))
        lines.append(products[-1])
        tell("orders/updated")
    if dice.random() < 0.05:  # a piece is taken off before it is sent
        chosen = dice.choice(products)
        chosen.removed = dice.randint(1, chosen.quantity)
        tell("orders/updated")
    for _ in range(dice.choice([0] * 8 + [1, 2])):
        chosen = dice.choice(products)
        left = chosen.quantity - chosen.removed - chosen.returned
        if left:
            refunds.append(_refund(dice, chosen, dice.randint(1, left), number, _at(minute), next(ids)))
            if dice.random() < 0.7:
                day.sent.append((refunds[-1], "refunds/create"))
            tell("orders/updated")
    if dice.random() < 0.04:
        kept["cancelled_at"] = _at(minute)
        tell("orders/cancelled")
    day.books[str(number)] = _booked(products, kept)


def _bought(dice: random.Random, line_id: int) -> Bought:
    price = dice.choice([0, dice.randint(1, 30_000), dice.randint(100, 9_999)])
    return Bought(line_id, price, dice.randint(1, 4), dice.choice([0, 0, price // 10]))


def _refund(dice: random.Random, bought: Bought, pieces: int, number: int, at: str, refund_id: int) -> dict[str, Any]:
    bought.returned += pieces
    cents = pieces * (bought.price - bought.discount_each)
    told = {**refunded(bought.line_id, cents / 100, pieces), "line_item": bought.payload()}
    paid = [money(cents if dice.random() < 0.9 else cents // 2)]
    return refund(refund_id, told, paid=paid, order_id=number, created_at=at, processed_at=at)


def _booked(products: list[Bought], kept: dict[str, Any]) -> Books:
    is_cancelled = "cancelled_at" in kept
    sold = [(one, one.quantity - (0 if is_cancelled else one.removed)) for one in products]
    return Books(
        sum(one.price * pieces for one, pieces in sold),
        sum(one.discount_each * pieces for one, pieces in sold),
        sum((one.price - one.discount_each) * one.returned for one in products),
        "test" if kept["test"] else "cancelled" if is_cancelled else None,
        kept["created_at"],
    )


def _at(minute: int) -> str:
    return f"2026-04-30T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z" if minute < 24 * 60 else "2026-04-30T23:59:59Z"
