"""Orders that their shop declares void without saying more: cancelled, or deleted."""

from collections.abc import Mapping
from typing import Any

from events.records import Order
from events.stores.protocol import Store
from events.stores.record_rows import stored_order
from server.assign.declarations import Live


def mark_excluded(reason: str, fields: Mapping[str, Any], live: Live, store: Store) -> Order:
    """
    Return an order as excluded, with the amounts that the store knows.

    An order that is not stored yet becomes a row without amounts, so that a state that comes late is excluded too.

    Args:
        reason: Why it is excluded.
        fields: The order's shop and id, and when it was excluded as `ordered_at` or `ordered_at_ms`.
        live: Whose rules hold.
        store: Where the order may be.

    Raises:
        RequestError: The fields are wrong.
    """
    empty = live.reader.order({**fields, "gross_minor": 0, "units": 0, "excluded": reason})
    known = stored_order(store, empty.shop, empty.order_id)
    if known is None:
        return empty
    if known.excluded == reason:
        return known
    later = max(known.updated_at_ms, empty.updated_at_ms)
    return known.model_copy(update={"excluded": reason, "updated_at_ms": later})
