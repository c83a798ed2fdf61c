"""Which orders do not count, and why; the same for webhooks, events and files."""

from collections.abc import Iterable

from experiments.declarations.model import OrderRules

DRAFT_SOURCES = ("shopify_draft_order",)
RENEWAL_SOURCES = ("subscription_contract", "subscription")


def reason_of_source(source: str) -> str | None:
    """Return why orders of a source do not count: staff entered them, or a subscription placed them, but no visitor."""
    if source in DRAFT_SOURCES:
        return "draft"
    return "renewal" if source in RENEWAL_SOURCES else None


def excluded(rules: OrderRules, reasons: Iterable[str | None], tags: Iterable[str] = ()) -> str | None:
    """
    Return the reason why an order does not count; None where it counts.

    Args:
        rules: The shop's rules.
        reasons: Reasons that were found for this order, the most important first.
        tags: Tags of the order and of its customer.
    """
    unwanted = {tag.casefold() for tag in rules.exclude_tags}
    tagged = (f"tag: {tag.strip()}"[:256] for tag in tags if tag.strip().casefold() in unwanted)
    return next((reason for reason in (*reasons, *tagged) if reason and reason not in rules.count), None)
