"""Takes what was held in quarantine, once it can be understood."""

import os
from collections.abc import Callable, Collection, Mapping

import orjson

from events.clock import now_ms
from events.stores.protocol import Store
from experiments.assignment.tokens import Signer
from experiments.declarations.loading import load
from experiments.errors import RequestError
from server.assign.declarations import Declarations
from server.ingest.collector import Collector
from server.ingest.payloads import read_json
from server.ingest.tracking import READERS as TRACKED
from server.ingest.tracking import Sender
from server.ingest.webhooks.records import READERS, records_of

Take = Callable[[str, str, int], None]  # a source, a payload, and when it had come


def replay(store: Store, configs: str, ids: Collection[int] = ()) -> tuple[int, list[tuple[int, str]]]:
    """
    Try what is held again; what is taken leaves the quarantine.

    Args:
        store: Where it is held, and goes.
        configs: Folder of the declarations.
        ids: Only these; all where there are none.

    Returns:
        How many were taken, and (id, reason) of those still refused.

    Raises:
        RequestError: An id is not held.
        StoreError: The store cannot be written; what was taken before stays taken.
    """
    held = {row.id: row for row in store.quarantined()}
    unknown = [str(one) for one in ids if one not in held]
    if unknown:
        raise RequestError(f"quarantine: found nothing held as {', '.join(unknown)}; wanted ids that `list` shows")
    sources = _sources(store, configs)
    taken, refused = 0, []
    for number in dict.fromkeys(ids) or held:
        row = held[number]
        try:
            takes = sources.get(row.source.partition(":")[0])
            if takes is None:
                raise RequestError(f"source: found {row.source!r}; wanted one of {', '.join(sources)}")
            takes(row.source, row.payload, row.received_at_ms)
        except RequestError as error:
            refused.append((number, str(error)))
        else:
            store.release([number])
            taken += 1
    return taken, refused


def _sources(store: Store, configs: str) -> Mapping[str, Take]:
    signer = Signer(store.secret("signing", os.urandom(32).hex()))
    declarations = Declarations(load(configs), store, now_ms)

    def take_event(_: str, payload: str, received_at_ms: int) -> None:
        # An event without a time of its own happened when it came.
        Collector(declarations, store, signer, lambda: received_at_ms).take(orjson.loads(payload))

    def take_webhook(source: str, payload: str, received_at_ms: int) -> None:
        store.write(records_of(source, payload, declarations.live, store, received_at_ms))

    def take_tracked(source: str, payload: str, received_at_ms: int) -> None:
        vocabulary, _, shop = source.partition(":")
        sender = Sender(declarations.live, store, shop, vocabulary, True, received_at_ms)
        store.write(sender.records(read_json(payload)) or [])

    others = dict.fromkeys(TRACKED, take_tracked)
    return {"events": take_event, **others, **dict.fromkeys(READERS, take_webhook)}
