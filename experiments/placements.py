"""
The placements, triggers and kinds of offers that every shop has: each is declared once, here.

The schema, the lint rules, the documentation's tables and the browser tests all read these tables.
`python -m experiments.placements docs` writes the tables into the documentation.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trigger:
    """
    A moment at which every arm of an experiment enters.

    Attributes:
        name: As it is declared.
        moment: Its order on the way to a purchase; None if it can happen on any page.
        meaning: One phrase for the documentation.
    """

    name: str
    moment: int | None
    meaning: str


@dataclass(frozen=True, slots=True)
class PlacementKind:
    """
    A place where an offer can appear.

    Attributes:
        name: As it is declared.
        moment: When a visitor can first see it, on the scale of the triggers; None if it has no moment of its own.
        slot: Whether the theme has to provide an element for it.
        meaning: One phrase for the documentation.
    """

    name: str
    moment: int | None
    slot: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class OfferKind:
    """
    A kind of offer.

    Attributes:
        name: As it is declared.
        needs_products: Whether the offer has to name products.
        meaning: One phrase for the documentation.
    """

    name: str
    needs_products: bool
    meaning: str


TRIGGER_TABLE = (
    Trigger("product_page", 1, "a product's page is opened"),
    Trigger("add_to_cart", 2, "a product is put into the cart"),
    Trigger("cart", 3, "the cart is opened"),
    Trigger("checkout", 4, "the checkout is opened"),
    Trigger("order_completed", 5, "the page after the order is opened"),
    Trigger("exit_intent", None, "the visitor is about to leave the page"),
)
PLACEMENT_TABLE = (
    PlacementKind("none", None, False, "no offer"),
    PlacementKind("below_product", 1, True, "below the product, on its page"),
    PlacementKind("sidebar", 1, True, "beside the product, on its page"),
    PlacementKind("after_add_to_cart", 2, False, "a dialog after a product is put into the cart, or a slot of that name"),
    PlacementKind("popup", None, False, "a dialog over the page"),
    PlacementKind("cart", 3, True, "on the cart's page"),
    PlacementKind("checkout", 4, True, "on the checkout's page"),
    PlacementKind("post_purchase", 5, True, "on the page after the order"),
    PlacementKind("announcement_bar", 0, True, "a bar at the top of every page"),
)  # fmt: skip
OFFER_TABLE = (
    OfferKind("cross_sell", True, "products that complement the current one, each with its own button"),
    OfferKind("upsell", True, "a better product in place of the current one"),
    OfferKind("bundle", True, "the current product and its complements at one price"),
    OfferKind("build_your_own", True, "a bundle from which the visitor chooses"),
    OfferKind("free_shipping", False, "free shipping from a threshold"),
    OfferKind("discount", False, "a percentage or an amount off"),
    OfferKind("gift", True, "a free product from a threshold"),
    OfferKind("loyalty", False, "an invitation to a loyalty programme"),
    OfferKind("chat", False, "an invitation to a chat"),
    OfferKind("custom", False, "whatever the shop's own renderer makes of it"),
)

PLACEMENTS = tuple(placement.name for placement in PLACEMENT_TABLE)
OFFER_KINDS = tuple(offer.name for offer in OFFER_TABLE)
OFFERS_OF_PRODUCTS = frozenset(offer.name for offer in OFFER_TABLE if offer.needs_products)

_PLACEMENTS = {placement.name: placement for placement in PLACEMENT_TABLE}
_TRIGGERS = {trigger.name: trigger for trigger in TRIGGER_TABLE}


def is_seen_before(placement: str, trigger: str) -> bool:
    """
    Return whether visitors can see a placement before they meet a trigger.

    A trigger or placement of the shop's own has no known moment, so the answer is no.

    Raises:
        KeyError: The placement is neither in the table nor `custom:NAME`.
    """
    seen = None if placement.startswith("custom:") else _PLACEMENTS[placement].moment
    met = _TRIGGERS[trigger].moment if trigger in _TRIGGERS else None
    return seen is not None and met is not None and seen < met


def documentation_tables() -> dict[str, str]:
    """Return the Markdown table of each marker: placements, triggers, offers."""
    placements = [(row.name, "yes" if row.slot else "no", row.meaning) for row in PLACEMENT_TABLE]
    placements.append(("custom:NAME", "yes", "a slot of your own"))
    triggers = [(row.name, row.meaning) for row in TRIGGER_TABLE]
    offers = [(row.name, "required" if row.needs_products else "optional", row.meaning) for row in OFFER_TABLE]
    return {
        "placements": _table(("placement", "needs a slot", "where visitors see it"), placements),
        "triggers": _table(("trigger", "when it happens"), triggers),
        "offers": _table(("kind", "`products`", "what is offered"), offers),
    }


def with_tables(text: str) -> str:
    """Return a page with every marked table rewritten."""
    for name, table in documentation_tables().items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda match, table=table: match[1] + table + match[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *((f"`{name}`", *cells) for name, *cells in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main(folder: Path) -> None:
    """Write the tables into every page of a folder."""
    for page in folder.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if (updated := with_tables(text)) != text:
            page.write_text(updated, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
