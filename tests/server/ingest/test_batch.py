"""Requests whose events are all of one kind are read as one list; it must make no difference."""

from contextlib import closing
from typing import Any

import pytest

from events import Exposure, Store, open_store
from experiments.assignment.tokens import Signer
from server import create_app
from server.assign.declarations import Declarations
from server.http.keys import KeyKind, create_key
from server.ingest.batch import read_batch
from server.ingest.rules import EventRules
from tests.server.conftest import NOW, Api

DAY = 86_400_000
CLICK = {"type": "click", "event_id": "e1", "experiment": "ab", "variant": "offer", "visitor_id": "anna"}
NAMED = {"type": "exposure", "experiment": "ab", "visitor_id": "anna"}
ODD: dict[str, Any] = {"type": "clck"}  # an event that makes the server read each one by itself

CASES: list[dict[str, Any]] = [
    CLICK,
    {**CLICK, "occurred_at_ms": NOW - DAY},
    {**CLICK, "occurred_at_ms": NOW + DAY},
    {**CLICK, "occurred_at_ms": NOW - 8 * DAY},
    {**CLICK, "occurred_at": "2026-05-01T11:00:00Z"},
    {**CLICK, "variant": "x"},
    {**CLICK, "experiment": "x"},
    {**CLICK, "experiment": []},
    {**CLICK, "unit_id": "anna"},
    {**CLICK, "visitor_id": None},
    {**CLICK, "visitor_id": " anna\n"},
    {**CLICK, "kind": "click"},
    {**CLICK, "value": "1.50"},
    {"type": "click"},
    NAMED,
    {**NAMED, "visitor_id": " anna\n"},
    {**NAMED, "visitor_id": 17},
    {**NAMED, "visitor_id": "17"},
    {**NAMED, "visitor_id": True},
    {**NAMED, "visitor_id": ""},
    {**NAMED, "visitor_id": "\x00"},
    {**NAMED, "variant": "x"},
    {**NAMED, "variant": None},
    {**NAMED, "exposed_at_ms": NOW - DAY, "attributes": {"device": "mobile", "cart": 3}},
    {**NAMED, "attributes": {"device": ["mobile"], "text": "x" * 300}},
    {**NAMED, "attributes": {str(number): number for number in range(51)}},
    {**NAMED, "attributes": [1]},
    {**NAMED, "attributes": None},
    {**NAMED, "context": {"device": "mobile"}},
    {**NAMED, "exposed_at_ms": True},
    {**NAMED, "exposed_at_ms": float(NOW)},
    {**NAMED, "exposed_at_ms": str(NOW)},
    {**NAMED, "exposed_at_ms": NOW - 8 * DAY},
    {**NAMED, "exposed_at_ms": NOW + DAY},
    {**NAMED, "unit_id": "anna"},
    *({**NAMED, "experiment": key} for key in ("phones", "stopped", "won", "new", "members", "x", 1, "ab ")),
    {**NAMED, "experiment": "phones", "context": {"device": "mobile"}},
    {"type": "exposure"},
    {"type": "exposure", "exposure_token": "x.y"},
    {"type": "exposure", "exposure_token": 1},
    {"type": ["exposure"]},
]


def _stored(store: Store) -> list[Any]:
    with store.snapshot() as fetch:
        tables = {"exposures": "unit_id", "interactions": "event_id"}
        return [sorted(fetch(f"SELECT * FROM {table} ORDER BY {key}")) for table, key in tables.items()]


@pytest.mark.parametrize("kind", ["publishable", "secret"])
@pytest.mark.parametrize("event", CASES, ids=str)
def test_it_makes_no_difference(api: Api, store: Store, tmp_path: Any, configs: Any, event: Any, kind: KeyKind) -> None:
    """An event sent alone, and beside one that cannot be read: the same answer, the same rows."""
    alone = api.events(event, key=getattr(api, kind))
    with closing(open_store(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        second = Api(create_app(configs, other, lambda: NOW).test_client(), create_key(other, kind, 1), "")
        beside = second.events(event, ODD)
        beside["rejected"] = [one for one in beside["rejected"] if one["index"] == 0]
        assert alone == beside
        assert _stored(store) == _stored(other)


def test_tokens_are_read_as_one_list_too(api: Api, store: Store) -> None:
    """What carries one, whole or changed, is read as the others are."""
    token = api.assign("anna")["ab"]["exposure_token"]
    carrying = {"type": "exposure", "exposure_token": token}
    for change in ({}, {"attributes": {"a": 1}}, {"visitor_id": "anna"}, {"visitor_id": "ben"}, {"variant": "x"}):
        alone, beside = api.events({**carrying, **change}), api.events({**carrying, **change}, ODD)
        beside["rejected"] = [one for one in beside["rejected"] if one["index"] == 0]
        assert alone["rejected"] == beside["rejected"]
    assert store.counts()["exposures"] == 1


def test_usual_requests_take_the_fast_path(configs: Any, store: Store) -> None:
    """A list of clicks, or of exposures with or without tokens, is validated as a whole."""
    live, signer = Declarations(configs, store, lambda: NOW).live, Signer("x" * 32)
    rules = EventRules(live, signer, "publishable", NOW)
    assert read_batch(rules, [CLICK, CLICK])
    exposures = read_batch(rules, [NAMED, {**NAMED, "attributes": {"device": "mobile"}}])
    attributes = [exposure.attributes for exposure in exposures or [] if isinstance(exposure, Exposure)]
    assert attributes == [{}, {"device": "mobile"}]
    token = signer.sign(("ab", "offer", "anna", 1), NOW // 1000)
    assert read_batch(rules, [{"type": "exposure", "exposure_token": token}])
