"""
The fast path for requests whose events are all of one kind: the list is validated as a whole.

Validating one event at a time costs several times as much, but says what is wrong with each. This path applies the rules of
`server.ingest.rules` and accepts a request as a whole or not at all; at any doubt the events are read one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from events.records import EventRecord, Exposure, Interaction
from experiments.declarations.model import HOLDOUT
from experiments.errors import RequestError
from server.assign.exposures import exposure_fields, segment_attributes
from server.ingest.rules import INTERACTIONS, Event, EventRules

_INTERACTIONS = TypeAdapter(list[Interaction])
_EXPOSURES = TypeAdapter(list[Exposure])
# Fields whose values the list validation checks as well; an event with any other field is read by itself.
_TOKEN_FIELDS = frozenset({"type", "exposure_token", "exposed_at_ms", "attributes"})
_DERIVED_FIELDS = frozenset({"type", "experiment", "visitor_id", "variant", "exposed_at_ms", "attributes"})
_NO_ATTRIBUTES: Mapping[str, Any] = {}


def read_batch(rules: EventRules, events: Sequence[Event]) -> Sequence[EventRecord] | None:
    """
    Read events that are all interactions, or all exposures.

    Returns:
        A record for each event; None where the events must be read one by one.
    """
    try:
        if events[0].get("type") in INTERACTIONS:
            return _read_interactions(rules, events)
        if HOLDOUT in rules.live.epochs:  # an exposure may become two records
            return None
        return _read_exposures(rules, events)
    except (ValidationError, RequestError, KeyError, TypeError, AttributeError):
        return None


def _read_interactions(rules: EventRules, events: Sequence[Event]) -> Sequence[Interaction]:
    interactions = _INTERACTIONS.validate_python([_named(rules.interaction_fields(event)) for event in events])
    for interaction in interactions:
        rules.check_interaction(interaction)
    return interactions


def _read_exposures(rules: EventRules, events: Sequence[Event]) -> Sequence[Exposure] | None:
    fields = []
    for event in events:
        at_ms, attributes = event.get("exposed_at_ms", rules.now_ms), event.get("attributes", _NO_ATTRIBUTES)
        rules.check_time(at_ms, "exposed_at")
        if event["type"] != "exposure" or len(segment_attributes(attributes)) < len(attributes):
            return None
        if _TOKEN_FIELDS.issuperset(event):
            claim = rules.claim_of_token(event["exposure_token"], at_ms)
        elif _DERIVED_FIELDS.issuperset(event):
            claim = rules.claim_of_assignment(event["experiment"], event["visitor_id"], event.get("variant"))
        else:
            return None
        fields.append(exposure_fields(claim, at_ms, attributes))
    return _EXPOSURES.validate_python(fields)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Rename the visitor's id to the column's name; the models refuse every other spelling, so those are read one by one."""
    if "visitor_id" in fields:
        if "unit_id" in fields:
            raise RequestError("visitor_id: must be sent once, got unit_id too")
        fields["unit_id"] = fields.pop("visitor_id")
    return fields
