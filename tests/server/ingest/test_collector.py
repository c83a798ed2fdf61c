"""POST /v1/events."""

import base64
import json
import sqlite3
from typing import Any

import pytest

from events import Store
from experiments import StoreError
from experiments.assignment.tokens import Signer
from tests.server.conftest import NOW, Api

ORDER = {"type": "order", "order_id": "o1", "visitor_id": "anna", "ordered_at_ms": NOW, "gross": "19.90"}
CLICK = {"type": "click", "event_id": "e1", "experiment": "ab", "variant": "offer", "visitor_id": "anna"}


def exposure(api: Api, visitor_id: str = "anna", **change: Any) -> dict[str, Any]:
    token = api.assign(visitor_id)["ab"]["exposure_token"]
    return {"type": "exposure", "exposure_token": token, **change}


def test_events_are_counted_once(api: Api, store: Store) -> None:
    """Accepted, then duplicates; the counts add up to what was sent."""
    sent = [exposure(api), CLICK, {**CLICK, "type": "impression", "event_id": "e2"}, ORDER]
    assert api.events(*sent, key=api.secret) == {"accepted": 4, "duplicates": 0, "rejected": []}
    assert api.events(*sent, *sent, key=api.secret) == {"accepted": 0, "duplicates": 8, "rejected": []}
    assert store.counts() | {"exposures": 1, "interactions": 2, "orders": 1} == store.counts()


def test_one_bad_event_does_not_hold_up_the_others(api: Api, store: Store) -> None:
    """It is rejected with its index and its reason."""
    counted = api.events(CLICK, {"type": "clck"}, {**CLICK, "variant": "x"}, exposure(api))
    assert (counted["accepted"], [one["index"] for one in counted["rejected"]]) == (2, [1, 2])
    assert counted["rejected"][0]["error"].startswith("type: must be one of exposure, impression")
    assert counted["rejected"][1]["error"] == "variant: must be one of control, offer, got `x`"


def test_an_exposure_without_a_token_is_derived_afresh(api: Api, store: Store) -> None:
    """It names experiment and visitor; a variant that is not the visitor's is refused, as is who is not in it."""
    variant = api.assign("anna")["ab"]["variant"]
    other = {"control": "offer", "offer": "control"}[variant]
    named = {"type": "exposure", "experiment": "ab", "visitor_id": "anna"}
    assert api.events(named)["accepted"] == 1
    assert api.events({**named, "variant": variant})["duplicates"] == 1
    assert (
        f"variant: must be `{variant}`, as assigned, got `{other}`"
        in api.events({**named, "variant": other})["rejected"][0]["error"]
    )
    for experiment, reason in (("phones", "audience"), ("stopped", "paused"), ("won", "ended"), ("new", "draft")):
        assert f"({reason})" in api.events({**named, "experiment": experiment})["rejected"][0]["error"]
    assert "customer_id" in api.events({**named, "experiment": "members"})["rejected"][0]["error"]
    inside = {**named, "experiment": "phones", "context": {"device": "mobile"}}
    assert api.events(inside)["accepted"] == 1
    assert store.counts()["exposures"] == 2


def test_a_token_vouches_only_for_its_own(api: Api) -> None:
    """Forged, changed, expired, or sent for somebody else: each is refused with its reason."""
    token = api.assign("anna")["ab"]["exposure_token"]
    body, mac = token.split(".")
    forged = base64.urlsafe_b64encode(b'["ab","offer","bert",1,9999999999]').rstrip(b"=").decode()
    for wrong in (
        f"{forged}.{mac}",
        f"{body}.{mac[:-1]}",
        f"{body}.",
        body,
        "",
        ".",
        "..",
        "ümlaut.ümlaut",
        "a" * 1999,
    ):
        rejected = api.events({"type": "exposure", "exposure_token": wrong})["rejected"]
        assert "wrong signature" in rejected[0]["error"], wrong
    for name, value in (("visitor_id", "bert"), ("experiment", "phones"), ("variant", "neither")):
        rejected = api.events({"type": "exposure", "exposure_token": token, name: value})["rejected"]
        assert "as the token says" in rejected[0]["error"]
    api.now_ms += 86_401_000
    assert "had expired" in api.events({"type": "exposure", "exposure_token": token})["rejected"][0]["error"]
    late = {"type": "exposure", "exposure_token": token, "exposed_at_ms": NOW + 1000}
    assert api.events(late)["accepted"] == 1  # it was in time, and waited in an outbox


def test_a_refund_without_a_time_of_its_own_is_kept(api: Api, store: Store) -> None:
    """An order sent again with more refunded is a newer state, whatever came first."""
    refunded = {**ORDER, "refunded": "19.90"}
    assert api.events(ORDER, refunded, ORDER, refunded, key=api.secret) == {
        "accepted": 2,
        "duplicates": 2,
        "rejected": [],
    }
    assert api.events({**refunded, "order_id": "o2"}, {**ORDER, "order_id": "o2"}, key=api.secret)["duplicates"] == 1
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT refunded_minor FROM orders").fetchall() == [(1990,), (1990,)]
    connection.close()


def test_a_shops_rejected_events_are_kept(api: Api, store: Store) -> None:
    """With the reason, to be mended; what a browser sends is not."""
    api.events({"type": "order", "order_id": "x"}, key=api.secret)
    api.events({"type": "clack"})
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute("SELECT source, reason, payload FROM quarantine").fetchall()
    connection.close()
    assert [(source, reason.split(":")[0], json.loads(payload)) for source, reason, payload in rows] == [
        ("events", "ordered_at", {"type": "order", "order_id": "x"}),
    ]


def test_deep_values_are_described_not_walked(api: Api) -> None:
    """What nests a thousand levels takes no good event with it."""
    deep = b"[" * 900 + b"]" * 900
    body = b'{"events": [{"type": ' + deep + b'}, {"type": "click", "event_id": ' + deep + b"}]}"
    response = api.post("/v1/events", body)
    assert (response.status_code, [one["index"] for one in response.get_json()["rejected"]]) == (202, [0, 1])
    assert len(response.data) < 1000


@pytest.mark.parametrize("late_ms", [-7 * 86_400_000 - 1, 5 * 60_000 + 1])
def test_a_browser_cannot_date_events_at_will(api: Api, late_ms: int) -> None:
    """An outbox may be a week late, a clock five minutes fast."""
    counted = api.events({**CLICK, "occurred_at_ms": NOW + late_ms}, exposure(api, exposed_at_ms=NOW + late_ms))
    assert [one["error"].split(":")[0].removesuffix("_ms") for one in counted["rejected"]] == [
        "occurred_at",
        "exposed_at",
    ]


def test_a_secret_key_may_deliver_late(api: Api) -> None:
    """History is imported so; the future is nobody's."""
    assert (
        api.events({**ORDER, "ordered_at_ms": NOW - 10**10}, exposure(api, exposed_at_ms=NOW - 10**10), key=api.secret)[
            "accepted"
        ]
        == 2
    )
    assert "future" in api.events({**ORDER, "ordered_at_ms": NOW + 10**9}, key=api.secret)["rejected"][0]["error"]


def test_an_order_wants_a_secret_key(api: Api, store: Store) -> None:
    """403 for the whole request, and nothing of it is written."""
    response = api.post("/v1/events", {"events": [CLICK, ORDER]})
    assert response.status_code == 403
    assert (
        "events.1: must be sent with a secret key (sk_), got order with a publishable key"
        in response.get_json()["detail"]
    )
    assert sum(store.counts().values()) == store.counts()["epochs"]


@pytest.mark.parametrize(
    ("key", "query", "status"),
    [
        ("", "", 401), ("pk_wrong", "", 401), ("sk_wrong", "", 401), ("", "?key=PUBLISHABLE", 202), ("", "?key=SECRET", 401),
    ],
)  # fmt: skip
def test_a_request_wants_a_key(api: Api, key: str, query: str, status: int) -> None:
    """Of ours, and a secret one never in an address."""
    path = "/v1/events" + query.replace("PUBLISHABLE", api.publishable).replace("SECRET", api.secret)
    response = api.post(path, {"events": [CLICK]}, key)
    assert response.status_code == status
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.mimetype == "application/problem+json"


def test_keys_may_come_as_x_api_key_and_text(api: Api) -> None:
    """SendBeacon sends text/plain; other clients have their own header."""
    response = api.client.post("/v1/events", json={"events": [CLICK]}, headers={"X-API-Key": api.publishable})
    assert response.status_code == 202
    beacon = api.client.post(
        f"/v1/events?key={api.publishable}", data=b'{"events": [{"type": "x"}]}', content_type="text/plain"
    )
    assert beacon.status_code == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), ({"events": []}, 400), ({}, 400), ({"events": {}}, 400), ({"events": ["x"]}, 400),
        ({"events": [CLICK], "more": 1}, 400), ({"events": [CLICK] * 1001}, 400), (b"x" * (1 << 20), 400), (b"x" * ((1 << 20) + 1), 413),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_wrong_body_is_a_problem(api: Api, store: Store, body: object, status: int) -> None:
    """Refused whole, nothing written."""
    response = api.post("/v1/events", body)
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    assert store.counts()["interactions"] == 0


def test_a_store_that_fails_is_503(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged; the client is told when to try again."""

    def broken(*_: object, **__: object) -> list[bool]:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(store, "write", broken)
    response = api.post("/v1/events", {"events": [CLICK]})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "disk" not in response.text


def test_the_rest_of_the_app(api: Api) -> None:
    """Health without a key; unknown addresses and methods as problems."""
    assert api.client.get("/healthz").get_json() == {"status": "ok"}
    for response, status in ((api.client.get("/nothing"), 404), (api.client.get("/v1/events"), 405)):
        assert (response.status_code, response.mimetype) == (status, "application/problem+json")
        assert response.get_json()["status"] == status


def test_what_is_nested_too_deeply_is_rejected_alone(api: Api, store: Store) -> None:
    """JSON is read deeper than it is written; the others are kept, and the answer says so."""
    nested: Any = 1
    for _ in range(300):
        nested = {"a": nested}
    counted = api.events(ORDER, {"type": "x", "deep": nested}, {"type": "a\u0000"}, key=api.secret)
    assert (counted["accepted"], [one["index"] for one in counted["rejected"]]) == (1, [1, 2])
    assert store.counts()["quarantine"] == 2


def test_a_preview_is_no_exposure_token(api: Api, store: Store) -> None:
    """Though both are signed with one secret."""
    preview = Signer(store.secret("signing", "")).sign_preview("ab", "offer", 9_999_999_999)
    for token in (preview, f"preview:{preview}", f"exposure:{preview}"):
        rejected = api.events({"type": "exposure", "exposure_token": token})["rejected"]
        assert "wrong signature" in rejected[0]["error"]


def test_the_future_is_refused_in_every_spelling(api: Api) -> None:
    """As a number, as text, and as a time."""
    for change in (
        {"updated_at_ms": 4_000_000_000_000},
        {"updated_at_ms": "4000000000000"},
        {"updated_at": "2096-01-01"},
    ):
        assert "in the future" in api.events({**ORDER, **change}, key=api.secret)["rejected"][0]["error"]
    assert (
        "gross"
        in api.events({"type": "order", "order_id": "l", "ordered_at_ms": NOW, "lines": []}, key=api.secret)[
            "rejected"
        ][0]["error"]
    )


def test_interactions_read_as_one_list_are_what_they_are_alone(api: Api, store: Store) -> None:
    """A request of nothing else takes a shorter way; one odd event among them sends all the longer one, with the same end."""
    clicks = [
        {**CLICK, "event_id": str(number), "quantity": number, "occurred_at_ms": NOW - number} for number in range(3)
    ]
    rows = []
    for key in (api.secret, api.publishable):
        for odd in ([], [{"type": "clack"}], [{**CLICK, "variant": "x"}], [{**CLICK, "kind": "click"}]):
            counted = api.events(*clicks, *odd, key=key)
            assert (counted["accepted"], len(counted["rejected"])) == (3, len(odd))
            with store._transaction() as execute:  # type: ignore[attr-defined]
                rows.append(execute("SELECT * FROM interactions ORDER BY event_id").fetchall())
                execute("DELETE FROM interactions")
    assert all(one == rows[0] for one in rows)
    late = {**CLICK, "occurred_at_ms": NOW - 8 * 86_400_000}
    assert "must be within the last 7 days" in api.events(late)["rejected"][0]["error"]
    assert api.events(late, key=api.secret)["accepted"] == 1
    assert "must have one spelling" in api.events({**CLICK, "unit_id": "bert"})["rejected"][0]["error"]
