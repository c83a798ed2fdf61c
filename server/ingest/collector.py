"""`POST /v1/events`: reads what happened, refuses what is false, and answers once it is durable."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import orjson

from events.clock import now_ms
from events.records import EventRecord, Exposure, Interaction, InteractionKind, parse
from events.stores.protocol import Rejected, Store
from experiments.assignment.draw import assign, unit_of
from experiments.assignment.tokens import Claim, Signer
from experiments.declarations.model import HOLDOUT, Experiment
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Declarations, Live
from server.assign.service import claim_of, exposures_of, plain
from server.http.bodies import DerivedExposure, EventsBody, TokenExposure
from server.http.keys import KeyKind
from server.http.problems import Problem
from server.ingest.batch import read_alike

MONEY = ("order", "refund")  # what only a secret key may send
TYPES = ("exposure", *get_args(InteractionKind), *MONEY)
LATE_MS = 7 * 86_400_000  # how long a browser's outbox may have waited


class Collector:
    """Turns events into records and writes them in one transaction."""

    def __init__(
        self, declarations: Declarations, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._declarations = declarations
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms
        # One at a time: threads that read at once would only take the interpreter's lock from each other, and the writer.
        self._reading = threading.Lock()

    def answer(self, body: EventsBody, kind: KeyKind, durable: bool = True) -> dict[str, Any]:
        """
        Write a request's events.

        Args:
            body: The events.
            kind: What the request's key allows.
            durable: Whether to wait for the disk.

        Returns:
            accepted + duplicates + rejected = the events sent; a rejected one says its index and what to mend.

        Raises:
            Problem: 403 for an order with a publishable key; nothing is written.
            StoreError: Nothing is written.
        """
        if kind != "secret":
            _refuse_money(body)
        live = self._declarations.live
        now = self._clock_ms()
        with self._reading:
            alike = read_alike(live, body.events, self._signer, now, now - LATE_MS if kind == "publishable" else 0)
        if alike is not None:
            fresh = self._store.write(alike, durable)
            return {"accepted": sum(fresh), "duplicates": len(fresh) - sum(fresh), "rejected": []}
        records: list[EventRecord] = []
        sent_as: list[int] = []  # where among the records the first of each event stands
        rejected: list[dict[str, Any]] = []
        with self._reading:
            for index, event in enumerate(body.events):
                try:
                    read = self._records(live, event, kind)
                    sent_as.append(len(records))
                    records += read
                except RequestError as error:
                    rejected.append({"index": index, "error": str(error)})
        if rejected and kind == "secret":  # a shop's own events are kept to be mended; what browsers make up is not
            self._store.quarantine(
                [Rejected(now, "events", one["error"], _payload(body.events[one["index"]])) for one in rejected]
            )
        written = self._store.write(records, durable)
        fresh = [written[index] for index in sent_as]
        return {"accepted": sum(fresh), "duplicates": len(fresh) - sum(fresh), "rejected": rejected}

    def take(self, event: Mapping[str, Any]) -> None:
        """
        Take one event as a secret key would send it: what was rejected once, and is replayed.

        Raises:
            RequestError: It is still not to be understood.
            StoreError: It cannot be written.
        """
        self._store.write(self._records(self._declarations.live, event, "secret"))

    def _records(self, live: Live, event: Mapping[str, Any], kind: KeyKind) -> Sequence[EventRecord]:
        kind_of_event = event.get("type")
        if kind_of_event not in TYPES:
            raise RequestError(f"type: found {describe(kind_of_event)}; wanted one of {', '.join(TYPES)}")
        fields = dict(event)
        del fields["type"]
        if kind_of_event == "order":
            return [live.reader.order(fields)]
        if kind_of_event == "refund":
            return [live.reader.refund(fields)]
        if kind_of_event == "exposure":
            return self._exposure(live, live.reader.spelled_out(fields), kind)
        if "kind" in fields:
            raise RequestError("kind: found it beside type; wanted only type")
        if fields.get("occurred_at") is None and fields.get("occurred_at_ms") is None:
            fields["occurred_at_ms"] = self._clock_ms()
        fields["kind"] = kind_of_event
        interaction = live.reader.interaction(fields)
        self._timely(interaction.occurred_at_ms, "occurred_at", kind)
        _declared(live, interaction)
        return [interaction]

    def _exposure(self, live: Live, fields: Mapping[str, Any], kind: KeyKind) -> list[Exposure]:
        now = self._clock_ms()
        if "exposure_token" in fields:
            carrying = parse(TokenExposure, fields)
            at_ms = carrying.exposed_at_ms or now
            claim, attributes = self._claimed(live, carrying, at_ms), carrying.attributes
        else:
            naming = parse(DerivedExposure, fields)
            at_ms = naming.exposed_at_ms or now
            claim, attributes = _derived(live, naming), naming.context | naming.attributes
        self._timely(at_ms, "exposed_at", kind)
        return exposures_of(live, claim, at_ms, plain(attributes))

    def _claimed(self, live: Live, sent: TokenExposure, at_ms: int) -> Claim:
        claim = self._signer.verify(sent.exposure_token, at_ms // 1000)
        told: dict[str, str | None] = {}
        if claim.experiment != HOLDOUT:  # who is held out was served an experiment, and vouched for as held out
            told = {"experiment": sent.experiment, "variant": sent.variant}
        declared = live.configs.experiments.get(
            claim.experiment
        )  # it may have been taken away since the token was given
        if claim.experiment == HOLDOUT or (declared is not None and declared.unit == "visitor_id"):
            told["unit_id"] = sent.unit_id  # other units are customers, beside whom a visitor may stand
        for name, value in told.items():
            if value is not None and value != getattr(claim, name):
                raise RequestError(
                    f"{name}: found {describe(value)}; wanted {describe(getattr(claim, name))}, as the token says"
                )
        return claim

    def _timely(self, at_ms: int, name: str, kind: KeyKind) -> None:
        if kind == "publishable" and at_ms < self._clock_ms() - LATE_MS:
            raise RequestError(f"{name}: found a time more than 7 days ago; wanted a later one, or a secret key")


def _payload(event: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(event).decode()
    except TypeError:  # it reads deeper nesting than it writes
        return describe(event)


def _refuse_money(body: EventsBody) -> None:
    for index, event in enumerate(body.events):
        if event.get("type") in MONEY:
            article = "an order" if event["type"] == "order" else "a refund"
            wanted = "wanted a secret key (sk_), from a server"
            raise Problem(403, f"events.{index}: found {article} sent with a publishable key; {wanted}")


def _derived(live: Live, sent: DerivedExposure) -> Claim:
    """Assign afresh; what the sender says of the variant must agree."""
    experiment = _experiment(live, sent.experiment)
    unit_id = unit_of(experiment, sent.unit_id, sent.context)
    one = assign(experiment, unit_id, sent.context, holdout=live.configs.shop.holdout)
    claim = claim_of(live, experiment, unit_id, sent.context, one)
    if claim is None:
        found = f"a unit that is not in {experiment.key} ({one.reason})"
        raise RequestError(f"unit_id: found {found}; wanted none of its exposures")
    if sent.variant is not None and sent.variant != one.variant:
        wanted = "none, since the unit is held out" if one.variant is None else f"{describe(one.variant)}, as assigned"
        raise RequestError(f"variant: found {describe(sent.variant)}; wanted {wanted}")
    return claim


def _declared(live: Live, interaction: Interaction) -> None:
    variants = _experiment(live, interaction.experiment).variants
    if interaction.variant not in variants:
        raise RequestError(f"variant: found {describe(interaction.variant)}; wanted one of {', '.join(variants)}")


def _experiment(live: Live, key: str) -> Experiment:
    experiment = live.configs.experiments.get(key)
    if experiment is None:
        raise RequestError(f"experiment: found {describe(key)}; wanted one that is declared")
    return experiment
