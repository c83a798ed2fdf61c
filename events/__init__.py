"""What happened: records, the stores that keep them, files in and out."""

from events.records import Exposure, Interaction, Order, OrderLine, Reader, Refund
from events.store import Store, open_store

__all__ = ["Exposure", "Interaction", "Order", "OrderLine", "Reader", "Refund", "Store", "open_store"]
