"""`POST /v1/events`: reads events, refuses false ones, and answers once the others are durable."""

import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from events.clock import now_ms
from events.records import EventRecord
from events.stores.protocol import Rejected, Store
from experiments.assignment.tokens import Signer
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Declarations
from server.http.bodies import EventsBody, read_body, read_content
from server.http.keys import KeyKind, Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, Reply, json_reply
from server.ingest.batch import read_batch
from server.ingest.outcome import Outcome, Rejection
from server.ingest.quarantine import EVENTS, Source
from server.ingest.rules import MONEY, Event, EventRules


class Collector:
    """Reads events into records and writes them in one transaction."""

    def __init__(
        self, declarations: Declarations, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._declarations = declarations
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms
        # One request at a time: threads that read at once would only take the interpreter's lock from each other.
        self._reading = threading.Lock()

    def collect(self, body: EventsBody, key_kind: KeyKind, durable: bool = True) -> Outcome:
        """
        Write a request's events.

        Args:
            body: The events.
            key_kind: What the request's key allows.
            durable: Whether to wait for the disk.

        Returns:
            accepted + duplicates + rejected = the events sent.

        Raises:
            Problem: 403 for an order with a publishable key; nothing is written.
            StoreError: Nothing is written.
        """
        if key_kind != "secret":
            _refuse_money(body)
        rules = EventRules(self._declarations.live, self._signer, key_kind, self._clock_ms())
        with self._reading:
            batch = read_batch(rules, body.events)
        if batch is not None:
            return Outcome.of(self._store.write(batch, durable))
        return self._collect_singly(rules, body, durable)

    def _collect_singly(self, rules: EventRules, body: EventsBody, durable: bool) -> Outcome:
        records: list[EventRecord] = []
        first_record: list[int] = []  # of each event: an exposure may become two records
        rejected: list[Rejection] = []
        with self._reading:
            for index, event in enumerate(body.events):
                try:
                    read = rules.records(event)
                    first_record.append(len(records))
                    records += read
                except RequestError as error:
                    rejected.append(Rejection(index, str(error)))
        if rejected and rules.key_kind == "secret":  # a shop can mend its own events; anybody can make up a browser's
            source = Source(EVENTS).to_text()
            self._store.quarantine(
                [Rejected(rules.now_ms, source, each.error, _payload(body.events[each.index])) for each in rejected]
            )
        is_new = self._store.write(records, durable)
        return Outcome.of([is_new[index] for index in first_record], rejected)

    def take(self, event: Event) -> None:
        """
        Write one event from quarantine, as if a secret key sent it.

        Raises:
            RequestError: It still cannot be read.
            StoreError: It cannot be written.
        """
        rules = EventRules(self._declarations.live, self._signer, "secret", self._clock_ms())
        self._store.write(rules.records(event))


def events_handler(keyring: Keyring, collector: Collector, counts: Counts) -> Callable[[dict[str, Any]], Reply]:
    """Return the handler of `POST /v1/events`."""

    def post_events(environ: dict[str, Any]) -> Reply:
        """{events: [...]} -> 202 {accepted, duplicates, rejected}; orders and refunds only with a secret key."""
        key_kind = authorise(environ, keyring)
        body = read_body(EventsBody, read_content(environ))
        outcome = collector.collect(body, key_kind, durable=_is_durable(environ))
        counts.count_events(outcome.accepted, outcome.duplicates, len(outcome.rejected))
        return json_reply(outcome.to_dict(), 202)

    return post_events


def _is_durable(environ: Mapping[str, Any]) -> bool:
    query = environ.get("QUERY_STRING")
    levels = parse_qs(query, keep_blank_values=True).get("durability", ["disk"]) if query else ["disk"]
    if levels not in (["disk"], ["os"]):
        raise Problem(400, f"durability: must be disk or os, got {', '.join(levels)[:40]!r}")
    return levels == ["disk"]


def _payload(event: Event) -> str:
    try:
        return orjson.dumps(event).decode()
    except TypeError:  # orjson reads deeper nesting than it writes
        return describe(event)


def _refuse_money(body: EventsBody) -> None:
    for index, event in enumerate(body.events):
        if event.get("type") in MONEY:
            detail = f"must be sent with a secret key (sk_), got {event['type']} with a publishable key"
            raise Problem(403, f"events.{index}: {detail}; send it from a server")
