"""OFREP: flags out of experiments, as the protocol says and as the real clients need."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from events import Store
from experiments import Configs
from experiments.declarations.model import Experiment, Shop
from server import create_app
from server.http.keys import create_key
from tests.conftest import WriteConfigs
from tests.server.conftest import NOW, Api

FLAGS = "/ofrep/v1/evaluate/flags"
DAY_MS = 86_400_000


def ask(api: Api, key: str | None, context: Any, **headers: str) -> TestResponse:
    path = FLAGS if key is None else f"{FLAGS}/{key}"
    sent = {"Authorization": f"Bearer {api.publishable}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return api.client.post(path, json={"context": context}, headers=sent)


def test_a_flag_is_the_assignment(api: Api) -> None:
    """Variant, offer, SPLIT, and flat metadata with the token that an exposure carries."""
    for number in range(30):
        visitor = f"v{number}"
        native = api.assign(visitor, experiments=["ab"])["ab"]
        response = ask(api, "ab", {"targetingKey": visitor})
        assert (response.status_code, response.mimetype) == (200, "application/json")
        flag = response.get_json()
        token = flag["metadata"].pop("exposure_token")
        assert flag == {
            "key": "ab",
            "reason": "SPLIT",
            "variant": native["variant"],
            "value": native["offer"] or {},
            "metadata": {"placement": native["placement"], "reason": "assigned", "epoch": 1},
        }
        assert api.events({"type": "exposure", "exposure_token": token, "unit_id": visitor})["accepted"] == 1


def test_bulk_gives_what_each_flag_gives(api: Api) -> None:
    """All that is served, in one request; drafts are no flags, and what cannot be evaluated says so in its place."""
    context = {"targetingKey": "anna", "device": "mobile"}
    flags = {flag["key"]: flag for flag in ask(api, None, context).get_json()["flags"]}
    assert set(flags) == {"ab", "stopped", "won", "members", "phones"}
    for key, flag in flags.items():
        single = ask(api, key, context)
        assert single.get_json() == flag
        assert single.status_code == (400 if key == "members" else 200)
    assert flags["members"]["errorCode"] == "INVALID_CONTEXT"
    assert "customer_id" in flags["members"]["errorDetails"]
    reasons = {key: flag["reason"] for key, flag in flags.items() if "reason" in flag}
    assert reasons == {"ab": "SPLIT", "phones": "SPLIT", "stopped": "DISABLED", "won": "STATIC"}


def test_who_is_not_in_the_experiment_gets_the_control(api: Api) -> None:
    """With a variant and a value, which clients need, and without a token, so that nothing can be exposed."""
    flag = ask(api, "phones", {"targetingKey": "anna", "device": "desktop"}).get_json()
    assert (flag["variant"], flag["value"], flag["reason"]) == ("control", {}, "TARGETING_MATCH")
    assert "exposure_token" not in flag["metadata"]
    assert flag["metadata"]["reason"] == "audience"
    assert all(isinstance(value, (str, int)) for value in flag["metadata"].values())


def test_who_is_held_out_says_so(write_configs: WriteConfigs, store: Store) -> None:
    """Under a variant of its own, with nothing to show, and with the token of the holdout."""
    app = create_app(write_configs(files={"shop.yaml": "holdout: 50%\n"}), store, lambda: NOW)
    api = Api(app.test_client(), create_key(store, "publishable", 1), "")
    flags = [ask(api, "ab", {"targetingKey": f"v{number}"}).get_json() for number in range(30)]
    held = [flag for flag in flags if flag["metadata"]["reason"] == "holdout"]
    assert 5 < len(held) < 25
    assert {(flag["variant"], flag["reason"]) for flag in held} == {("held_out", "TARGETING_MATCH")}
    assert all(flag["value"] == {} and flag["metadata"]["exposure_token"] for flag in held)


def test_the_etag_is_of_the_body(api: Api) -> None:
    """The same context gives 304 all day; another context another tag, though the key is the same."""
    first = ask(api, None, {"targetingKey": "anna"})
    tag = first.headers["ETag"]
    again = ask(api, None, {"targetingKey": "anna"}, If_None_Match=f'"other", W/{tag}')
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    changed = ask(api, None, {"targetingKey": "anna", "device": "mobile"}, If_None_Match=tag)
    assert (changed.status_code, changed.headers["ETag"] == tag) == (200, False)
    api.now_ms += DAY_MS - NOW % DAY_MS - 1
    assert ask(api, None, {"targetingKey": "anna"}, If_None_Match=tag).status_code == 304
    api.now_ms += 1
    assert ask(api, None, {"targetingKey": "anna"}, If_None_Match=tag).status_code == 200


def test_a_token_holds_for_a_day_after_its_last_304(api: Api) -> None:
    """Whoever was told late in the day that nothing changed may still expose with what they hold."""
    token = ask(api, "ab", {"targetingKey": "anna"}).get_json()["metadata"]["exposure_token"]
    api.now_ms += 2 * DAY_MS - NOW % DAY_MS
    assert api.events({"type": "exposure", "exposure_token": token})["accepted"] == 1
    api.now_ms += 1000
    assert "expired" in api.events({"type": "exposure", "exposure_token": token})["rejected"][0]["error"]


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        ("ab", b"{not json", 400, "PARSE_ERROR"), ("ab", b"[]", 400, "PARSE_ERROR"), ("ab", b"\xff", 400, "PARSE_ERROR"),
        ("ab", b"", 400, "TARGETING_KEY_MISSING"), ("ab", b"{}", 400, "TARGETING_KEY_MISSING"),
        ("ab", b'{"context": {}}', 400, "TARGETING_KEY_MISSING"), ("ab", b'{"context": {"targetingKey": " "}}', 400, "TARGETING_KEY_MISSING"),
        ("ab", b'{"context": {"targetingKey": null}}', 400, "TARGETING_KEY_MISSING"),
        ("ab", b'{"context": null}', 400, "INVALID_CONTEXT"), ("ab", b'{"context": []}', 400, "INVALID_CONTEXT"),
        ("ab", b'{"context": {"targetingKey": 1.5}}', 400, "INVALID_CONTEXT"), ("ab", b'{"context": {"targetingKey": ["x"]}}', 400, "INVALID_CONTEXT"),
        ("ab", json.dumps({"context": {"targetingKey": "x" * 257}}).encode(), 400, "INVALID_CONTEXT"),
        ("ab", json.dumps({"context": {"targetingKey": "x"} | {str(n): 1 for n in range(51)}}).encode(), 400, "INVALID_CONTEXT"),
        ("ab", b'{"context": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", 400, None),
        ("ab", b" " * (1 << 20) + b"{}", 413, "GENERAL"),
        ("nothing", b'{"context": {"targetingKey": "anna"}}', 404, "FLAG_NOT_FOUND"), ("new", b'{"context": {"targetingKey": "anna"}}', 404, "FLAG_NOT_FOUND"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_errors_are_those_of_the_protocol(api: Api, key: str, body: bytes, status: int, code: str | None) -> None:
    """With a code, details, and the flag's key where one was asked for; the same in bulk, as far as bodies go."""
    headers = {"X-API-Key": api.publishable}
    for path in (f"{FLAGS}/{key}", FLAGS):
        response = api.client.post(path, data=body, headers=headers)
        if path == FLAGS and status == 404:
            continue
        assert response.status_code == status, response.text
        told = response.get_json()
        assert set(told) == {"errorCode", "errorDetails"} | ({"key"} if path != FLAGS else set())
        assert told["errorCode"] == (code or told["errorCode"])
        assert any(word in told["errorDetails"] for word in ("must", "wanted", "exceeds"))


def test_keys_are_asked_for(api: Api) -> None:
    """401 without one of ours."""
    for headers in ({}, {"Authorization": "Bearer pk_unknown"}):
        response = api.client.post(f"{FLAGS}/ab", json={}, headers=headers)
        assert (response.status_code, response.get_json()["errorCode"]) == (401, "GENERAL")


def test_a_key_that_asks_too_often_waits(configs: object, store: Store) -> None:
    """429 with Retry-After; another key goes on."""
    app = create_app(str(configs), store, rate_limit=2)
    api = Api(app.test_client(), create_key(store, "publishable", 1), create_key(store, "secret", 1))
    answers = [ask(api, None, {"targetingKey": "anna"}) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 429, 429]
    assert answers[-1].headers["Retry-After"] == "1"
    assert "must stay below its rate limit" in answers[-1].get_json()["errorDetails"]
    assert api.post("/v1/assignments", {}).status_code == 429
    assert api.post("/v1/assignments", {}, api.secret).status_code == 200


def test_only_post_is_answered(api: Api) -> None:
    """Anything else is no evaluation."""
    assert api.client.get(FLAGS).status_code == 405


KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
SHARES = st.integers(0, 100).map(lambda share: f"{share}%")


@st.composite
def experiments(draw: st.DrawFn, key: str) -> Experiment:
    arms = draw(st.lists(KEYS, min_size=2, max_size=5, unique=True))
    offer = {"kind": "cross_sell", "products": ["p1", "p2"]}
    variants: dict[str, Any] = {arms[0]: {"weight": 1.0, "placement": "none"}}
    for arm in arms[1:]:
        weight = draw(st.floats(0, 10, allow_nan=False))
        variants[arm] = {
            "weight": weight,
            "placement": draw(st.sampled_from(["cart", "popup", "sidebar"])),
            "offer": offer,
        }
    declared: dict[str, Any] = {"key": key, "title": key, "variants": variants, "traffic": draw(SHARES)}
    declared["status"] = draw(st.sampled_from(["running", "running", "paused", "ended"]))
    if draw(st.booleans()):
        declared["audience"] = {"device": "mobile"}
    if draw(st.booleans()):
        declared["layer"] = {"name": "page", "from": "20%", "to": "80%"}
    return Experiment.model_validate(declared)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), KEYS, st.sampled_from(["mobile", "desktop"]), st.sampled_from(["0%", "20%"]))
def test_every_way_in_gives_the_same_variant(
    store: Store, data: st.DataObject, visitor: str, device: str, holdout: str
) -> None:
    """The native API, OFREP single and bulk, and the snippet's route agree for any declaration and visitor."""
    declared = {key: data.draw(experiments(key)) for key in ("one", "two", "three")}
    loaded = Configs(Shop.model_validate({"holdout": holdout}), {}, declared)
    api = Api(create_app(loaded, store, lambda: NOW).test_client(), create_key(store, "publishable", 1), "")
    context = {"device": device}
    native = api.assign(visitor, context=context)
    bulk = {flag["key"]: flag for flag in ask(api, None, {"targetingKey": visitor} | context).get_json()["flags"]}
    page = api.post("/v1/page", {"visitor_id": visitor, "context": context}).get_json()["assignments"]
    for key, one in native.items():
        assert {name: page[key][name] for name in one} == one
        assert ask(api, key, {"targetingKey": visitor} | context).get_json() == bulk[key]
        outside = "held_out" if one["reason"] == "holdout" else declared[key].control
        assert bulk[key]["variant"] == (one["variant"] or outside)
        assert (bulk[key]["value"], bulk[key]["metadata"]["placement"]) == (one["offer"] or {}, one["placement"])
        assert ("exposure_token" in bulk[key]["metadata"]) == (one["exposure_token"] is not None)
