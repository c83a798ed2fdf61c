"""
The quick way for requests whose events are all alike: read as one list.

Reading one event at a time costs several times as much, but says what is wrong with each. So whatever is unusual is left to that:
the quick way takes a request whole or not at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from events.records import FUTURE_MS, EventRecord, Exposure, Interaction, InteractionKind
from experiments.assignment.draw import assign, unit_of
from experiments.assignment.tokens import Claim, Signer
from experiments.declarations.model import HOLDOUT
from experiments.errors import RequestError
from server.assign.declarations import Live
from server.assign.service import plain

_KINDS = get_args(InteractionKind)
_INTERACTIONS = TypeAdapter(list[Interaction])
_EXPOSURES = TypeAdapter(list[Exposure])
_INTERACTION = frozenset(Interaction.model_fields) - {"kind", "unit_id"} | {"visitor_id", "type"}
_CLAIMED = frozenset({"type", "exposure_token", "exposed_at_ms", "attributes"})
_DERIVED = frozenset({"type", "experiment", "visitor_id", "variant", "exposed_at_ms", "attributes"})
_NOTHING: Mapping[str, Any] = {}

Event = Mapping[str, Any]


def read_alike(
    live: Live, events: Sequence[Event], signer: Signer, now_ms: int, earliest_ms: int
) -> Sequence[EventRecord] | None:
    """
    Read events that are all interactions, or all exposures.

    Args:
        live: The declarations.
        events: As they were sent.
        signer: Verifies exposure tokens.
        now_ms: The time of events that say none.
        earliest_ms: Before it an event is too late.

    Returns:
        A record for each event; None where each must be looked at.
    """
    try:
        if events[0].get("type") in _KINDS:
            return _interactions(live, events, now_ms, earliest_ms)
        if HOLDOUT in live.epochs:  # an exposure may be two
            return None
        return _exposures(live, events, signer, now_ms, earliest_ms)
    except (ValidationError, RequestError, KeyError, TypeError, AttributeError):
        return None


def _interactions(live: Live, events: Sequence[Event], now_ms: int, earliest_ms: int) -> Sequence[Interaction] | None:
    told = []
    for event in events:
        fields = dict(event)
        if not _INTERACTION.issuperset(fields):
            return None
        fields["kind"] = fields.pop("type")
        fields["unit_id"] = fields.pop("visitor_id")
        fields.setdefault("occurred_at_ms", now_ms)
        told.append(fields)
    read = _INTERACTIONS.validate_python(told)
    experiments, latest_ms = live.configs.experiments, now_ms + FUTURE_MS
    for one in read:
        if one.variant not in experiments[one.experiment].variants:
            return None
        if not earliest_ms <= one.occurred_at_ms <= latest_ms:
            return None
    return read


def _exposures(
    live: Live, events: Sequence[Event], signer: Signer, now_ms: int, earliest_ms: int
) -> Sequence[Exposure] | None:
    told = []
    latest_ms = now_ms + FUTURE_MS
    for event in events:
        at_ms = event.get("exposed_at_ms", now_ms)
        if event["type"] != "exposure" or not earliest_ms <= at_ms <= latest_ms:
            return None
        claim = _claimed(signer, event, at_ms) if "exposure_token" in event else _derived(live, event)
        attributes = event.get("attributes", _NOTHING)
        if claim is None or len(plain(attributes)) < len(attributes):
            return None
        told.append(
            {
                "experiment": claim.experiment,
                "variant": claim.variant,
                "unit_id": claim.unit_id,
                "epoch": claim.epoch,
                "exposed_at_ms": at_ms,
                "attributes": attributes,
            }
        )
    return _EXPOSURES.validate_python(told)


def _claimed(signer: Signer, event: Event, at_ms: int) -> Claim | None:
    return signer.verify(event["exposure_token"], at_ms // 1000) if _CLAIMED.issuperset(event) else None


def _derived(live: Live, event: Event) -> Claim | None:
    if not _DERIVED.issuperset(event):
        return None
    experiment = live.configs.experiments[event["experiment"]]
    if experiment.audience or experiment.unit != "visitor_id":  # the context decides
        return None
    unit_id = unit_of(experiment, event["visitor_id"], _NOTHING)
    given = assign(experiment, unit_id)
    if given.variant is None or not given.exposable or event.get("variant", given.variant) != given.variant:
        return None
    return Claim(experiment.key, given.variant, unit_id, live.epochs[experiment.key])
