"""Which orders are left out, and for what reason; the same whichever way an order comes in."""

from collections.abc import Iterable

from experiments.declarations.model import OrderRules

DRAFT_SOURCES = ("shopify_draft_order",)
RENEWAL_SOURCES = ("subscription_contract", "subscription")


def reason_of_source(source: str) -> str | None:
    """Tell why orders of a source are left out: staff typed them in, or a subscription made them; no visitor did."""
    if source in DRAFT_SOURCES:
        return "draft"
    return "renewal" if source in RENEWAL_SOURCES else None


def excluded(rules: OrderRules, reasons: Iterable[str | None], tags: Iterable[str] = ()) -> str | None:
    """
    Give the reason why an order does not count; None where it does.

    Args:
        rules: The shop's.
        reasons: What speaks against the order, the weightiest first.
        tags: Of the order and of its customer.
    """
    unwanted = {tag.casefold() for tag in rules.exclude_tags}
    tagged = (f"tag: {tag.strip()}"[:256] for tag in tags if tag.strip().casefold() in unwanted)
    return next((reason for reason in (*reasons, *tagged) if reason and reason not in rules.count), None)
