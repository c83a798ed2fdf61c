"""Tries again what is in quarantine, once it can be read."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import orjson

from events.clock import now_ms
from events.stores.protocol import Store
from experiments.assignment.tokens import Signer
from experiments.declarations.loading import load
from experiments.errors import RequestError
from server.assign.declarations import Declarations
from server.ingest.collector import Collector
from server.ingest.payloads import read_json
from server.ingest.quarantine import EVENTS, Source
from server.ingest.tracking.sender import VOCABULARIES, Sender
from server.ingest.webhooks.platform import Webhook
from server.ingest.webhooks.records import records_of
from server.ingest.webhooks.registry import PLATFORMS

Take = Callable[[Source, str, int], None]  # a source, a payload, and when it came


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events were accepted, and why the others are still refused, by id."""

    accepted: int
    refused: Mapping[int, str] = field(default_factory=dict)


def replay(store: Store, configs: str, ids: Collection[int] = ()) -> Replayed:
    """
    Try events in quarantine again; the accepted ones leave it.

    Args:
        store: Where they are, and go.
        configs: Folder of the declarations.
        ids: Only these; all by default.

    Raises:
        RequestError: An id is not in quarantine.
        StoreError: The store cannot be written; events accepted before stay accepted.
    """
    rows = {row.id: row for row in store.quarantined()}
    check_ids(ids, rows)
    takers = _takers(store, configs)
    accepted, refused = 0, {}
    for number in dict.fromkeys(ids) or rows:
        row = rows[number]
        source = Source.parse(row.source)
        try:
            take = takers.get(source.channel)
            if take is None:
                raise RequestError(f"source: must begin with one of {', '.join(takers)}, got {row.source!r}")
            take(source, row.payload, row.received_at_ms)
        except RequestError as error:
            refused[number] = str(error)
        else:
            store.release([number])
            accepted += 1
    return Replayed(accepted, refused)


def check_ids(ids: Collection[int], known: Collection[int]) -> None:
    """
    Check that ids are in quarantine.

    Raises:
        RequestError: Some are not.
    """
    unknown = [str(number) for number in ids if number not in known]
    if unknown:
        raise RequestError(f"ID: must be one that `crosslift quarantine list` shows, got {', '.join(unknown)}")


def _takers(store: Store, configs: str) -> Mapping[str, Take]:
    """Return what reads and writes the events of each channel."""
    signer = Signer(store.secret("signing", os.urandom(32).hex()))
    declarations = Declarations(load(configs), store, now_ms)

    def take_event(_: Source, payload: str, received_at_ms: int) -> None:
        # An event without a time of its own happened when it came.
        Collector(declarations, store, signer, lambda: received_at_ms).take(orjson.loads(payload))

    def take_webhook(source: Source, payload: str, received_at_ms: int) -> None:
        webhook = Webhook(PLATFORMS[source.channel], source.shop, source.topic, payload.encode(), received_at_ms)
        store.write(records_of(webhook, declarations.live, store))

    def take_tracked(source: Source, payload: str, received_at_ms: int) -> None:
        sender = Sender(declarations.live, store, source.shop, source.channel, True, received_at_ms)
        store.write(sender.records(read_json(payload)) or [])

    return {EVENTS: take_event, **dict.fromkeys(VOCABULARIES, take_tracked), **dict.fromkeys(PLATFORMS, take_webhook)}
