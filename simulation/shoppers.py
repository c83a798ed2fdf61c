"""What made-up shoppers do, the same for the same seed: one visit each, and the orders that follow from it."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from experiments.declarations.loading import Configs
from experiments.declarations.model import Product
from experiments.money import to_minor
from simulation.truth import Truth, bundle_discount, mains, page_context

Event = dict[str, Any]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PREFIX = "simulated-"  # what reports know made-up visitors by


def past_start_ms(days: int) -> int:
    """Return when the first of `days` days may begin, so long ago that the last shopper's week is over."""
    today = int(time.time() * 1000) // DAY_MS * DAY_MS
    return today - (days + 8) * DAY_MS


@dataclass(frozen=True, slots=True)
class Visit:
    """One shopper on one product's page."""

    visitor_id: str
    at_ms: int
    context: dict[str, Any]


def visit(truth: Truth, configs: Configs, seed: int, number: int, start_ms: int) -> Visit:
    """Make shopper `number` of a seed."""
    dice = random.Random(f"visit:{seed}:{number}")
    popular = mains(configs.products)
    product = configs.products[dice.choices(list(popular), list(popular.values()))[0]]
    context = page_context(product) | {
        "device": dice.choices(["mobile", "desktop", "tablet"], [60, 35, 5])[0],
        "customer_type": "b2c",
        "simulated": True,
    }
    return Visit(f"{PREFIX}{seed}-{number}", start_ms + int(dice.random() * truth.days * DAY_MS), context)


def browse(shopper: Visit, key: str, assignment: Mapping[str, Any]) -> Iterator[Event]:
    """Return the exposure and what is seen and clicked; a variant that shows nothing has an exposure all the same."""
    dice = random.Random(f"browse:{shopper.visitor_id}:{key}")
    yield {
        "type": "exposure",
        "exposure_token": assignment["exposure_token"],
        "exposed_at_ms": shopper.at_ms,
        "attributes": {name: value for name, value in shopper.context.items() if name != "product_id"},
    }
    if assignment["offer"] is None:
        return
    seen: Event = {
        "experiment": key,
        "variant": assignment["variant"],
        "visitor_id": shopper.visitor_id,
        "placement": assignment["placement"],
        "product_id": (assignment["offer"].get("products") or [{"id": ""}])[0]["id"],
    }
    for kind, chance, delay_ms in (("impression", 0.8, 1000), ("click", 0.15, 5000)):
        if dice.random() >= chance:
            return
        yield seen | {
            "type": kind,
            "event_id": f"{shopper.visitor_id}-{key}-{kind}",
            "occurred_at_ms": shopper.at_ms + delay_ms,
        }


def buy(shopper: Visit, truth: Truth, configs: Configs, key: str | None, variant: str | None) -> Iterator[Event]:
    """Return the shopper's orders and their later refunds; the variant changes how many buy, and what they add."""
    dice = random.Random(f"buy:{shopper.visitor_id}")
    behaviour = truth.behaviour(key or "", variant or "")
    if dice.random() >= truth.conversion * (1 + behaviour.conversion):
        return
    at_ms, count = shopper.at_ms + int(dice.random() * 12 * HOUR_MS), 1
    while True:
        order = _order(dice, shopper, configs, key, variant, behaviour.attach)
        order |= {"order_id": f"{shopper.visitor_id}-{count}", "ordered_at_ms": at_ms, "updated_at_ms": at_ms}
        yield order
        if dice.random() < truth.refunded:
            yield _refunded(order, at_ms + 3 * DAY_MS)
        if dice.random() >= truth.repeat or count == 5:
            return
        at_ms, count = at_ms + 12 * HOUR_MS + int(dice.random() * 12 * HOUR_MS), count + 1


def _order(
    dice: random.Random, shopper: Visit, configs: Configs, key: str | None, variant: str | None, attach: float
) -> Event:
    main = configs.products[shopper.context["product_id"]]
    lines = [_line("1", main, configs.shop.currency)]
    known = [configs.products[other] for other in main.complements if other in configs.products]
    if known and dice.random() < attach:
        lines.append(_line("2", dice.choice(known), configs.shop.currency))
        if key is not None and variant is not None:
            lines[1] |= {"offer_experiment": key, "offer_variant": variant}
            off = bundle_discount(configs.experiments[key].variants[variant])
            lines = [line | {"discount_minor": round(off * line["gross_minor"])} for line in lines]
    return {
        "type": "order",
        "visitor_id": shopper.visitor_id,
        "gross_minor": sum(line["gross_minor"] for line in lines),
        "discount_minor": sum(line.get("discount_minor", 0) for line in lines),
        "cost_minor": sum(line["cost_minor"] for line in lines),
        "units": len(lines),
        "source": "simulated",
        "lines": lines,
    }


def _line(line_id: str, product: Product, currency: str) -> Event:
    cost = product.cost if product.cost is not None else Decimal(0)
    return {
        "line_id": line_id,
        "product_id": product.id,
        "gross_minor": to_minor(product.price, currency),
        "cost_minor": to_minor(cost, currency),
    }


def _refunded(order: Event, at_ms: int) -> Event:
    """Return the order's later state: the money back, and the goods too."""
    paid = order["gross_minor"] - order["discount_minor"]
    return order | {"updated_at_ms": at_ms, "refunded_minor": paid, "cost_minor": 0}
