"""Events: records, the stores that hold them, files that come in and go out."""

from events.parser import RecordParser
from events.records import Exposure, Interaction, Order, OrderLine, Refund
from events.stores.open_store import open_store
from events.stores.protocol import Store

__all__ = ["Exposure", "Interaction", "Order", "OrderLine", "RecordParser", "Refund", "Store", "open_store"]
