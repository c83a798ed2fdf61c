"""POST /v1/assignments."""

import logging
import sqlite3
import time

import pytest

import server.assign.service
from events import Store
from experiments import StoreError, assign, load
from server import create_app
from server.http.keys import create_key
from tests.conftest import AB, WriteConfigs
from tests.server.conftest import NOW, Api


def test_every_experiment_answers(api: Api) -> None:
    """Running, paused and ended ones, with all the fields of the contract; drafts are not served."""
    found = api.assign()
    assert set(found) == {"ab", "stopped", "won", "members", "phones"}
    assert set(found["ab"]) == {"variant", "placement", "offer", "reason", "epoch", "exposure_token"}
    assert (found["ab"]["reason"], found["ab"]["epoch"]) == ("assigned", 1)
    assert (found["stopped"]["variant"], found["stopped"]["reason"]) == ("control", "paused")
    assert (found["won"]["variant"], found["won"]["placement"], found["won"]["reason"]) == (
        "offer",
        "below_product",
        "ended",
    )
    assert (found["members"]["variant"], found["members"]["reason"]) == (None, "no_unit")
    assert (found["phones"]["variant"], found["phones"]["reason"]) == (None, "audience")
    assert [key for key, one in found.items() if one["exposure_token"]] == ["ab"]


def test_the_api_assigns_as_the_library_does(api: Api, configs: object) -> None:
    """One implementation; the offer comes with the catalogue's title and price, and nothing private."""
    declared = load(str(configs)).experiments["ab"]
    for number in range(50):
        found = api.assign(f"v{number}")["ab"]
        assert found["variant"] == assign(declared, f"v{number}").variant
        if found["variant"] == "offer":
            assert found["offer"]["products"] == [{"id": "p1", "title": "One", "price": "9.90"}]


def test_named_experiments_are_answered(api: Api) -> None:
    """Only those; one that is not known, or a draft, says so and breaks nothing."""
    found = api.assign(experiments=["ab", "new", "nothing"])
    assert {key: one["reason"] for key, one in found.items()} == {
        "ab": "assigned",
        "new": "draft",
        "nothing": "unknown",
    }


def test_context_decides_audience_and_unit(api: Api) -> None:
    """The device lets one in, the customer id is the unit of another."""
    found = api.assign(context={"device": "mobile", "customer_id": "c-7"})
    assert (found["phones"]["reason"], found["members"]["reason"]) == ("assigned", "assigned")


def test_a_visitor_without_an_id_gets_one(api: Api) -> None:
    """In a first-party cookie that only the server sets, and that is taken back on the next call."""
    first = api.post("/v1/assignments", {})
    visitor = first.get_json()["visitor_id"]
    cookie = first.headers["Set-Cookie"]
    for part in (f"crosslift_visitor={visitor}", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=34560000", "Path=/"):
        assert part in cookie
    api.client.set_cookie("crosslift_visitor", visitor)
    second = api.post("/v1/assignments", {})
    assert second.get_json()["visitor_id"] == visitor
    assert "Set-Cookie" not in second.headers
    assert api.post("/v1/assignments", {"visitor_id": "own"}).get_json()["visitor_id"] == "own"


def test_minted_ids_sort_by_time(api: Api) -> None:
    """So that a store appends instead of scattering."""
    ids = []
    for step in range(3):
        api.now_ms = NOW + step
        ids.append(api.post("/v1/assignments", {}).get_json()["visitor_id"])
        api.client.delete_cookie("crosslift_visitor")
    assert ids == sorted(ids)


def test_expose_logs_what_it_serves(api: Api, store: Store) -> None:
    """Durable before the answer, once, for those in the experiment only."""
    for _ in range(2):
        api.assign("anna", expose=True, context={"device": "mobile", "deep": {"x": 1}, "n": 2})
    assert store.counts()["exposures"] == 2
    api.assign("bert", experiments=["stopped", "won", "nothing"], expose=True)
    assert store.counts()["exposures"] == 2


class BrokenStore:
    """A store whose disk is gone."""

    def __getattr__(self, name: str) -> object:
        raise StoreError("sqlite:///x: disk I/O error")


def test_a_store_that_fails_serves_the_control(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where an exposure cannot be kept, nobody is treated; the shop goes on."""
    monkeypatch.setattr(store, "write", BrokenStore().__getattr__)
    with caplog.at_level(logging.CRITICAL, "crosslift"):
        for number in range(10):
            found = api.assign(f"v{number}", experiments=["ab"], expose=True)["ab"]
            assert (found["variant"], found["placement"], found["reason"]) == ("control", "none", "fault")
            assert found["exposure_token"] is None


def test_a_fault_in_one_experiment_serves_its_control(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Visibly, with a log line, and the other experiments are served as ever."""

    def broken(experiment: object, *arguments: object, **options: object) -> object:
        if experiment.key == "ab":  # type: ignore[attr-defined]
            raise ZeroDivisionError
        return assign(experiment, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(server.assign.service, "assign", broken)
    found = api.assign()
    assert (found["ab"]["variant"], found["ab"]["reason"], found["ab"]["exposure_token"]) == ("control", "fault", None)
    assert found["won"]["reason"] == "ended"
    assert "assigning ab failed" in caplog.text


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{not json", "not JSON"), (b"", "not JSON"), (b"[]", "must be a JSON object, got other JSON"), (b'"x"', "must be a JSON object, got other JSON"), (b"\xff", "not JSON"),
        ({"visitor_id": ""}, "visitor_id: found ``"), ({"visitor_id": 7.5}, "visitor_id: found `7.5`"), ({"visitor_id": "   "}, "visitor_id"), ({"visitor_id": "a\x00"}, "printable"),
        ({"visitor_id": [[[]]]}, "visitor_id: found a list of 1"),
        ({"visitor_id": "x" * 257}, "visitor_id"), ({"context": []}, "context: found a list of 0"), ({"expose": "maybe"}, "expose: found `maybe`"),
        ({"experiments": "ab"}, "experiments: found `ab`"), ({"experiments": ["x"] * 101}, "experiments"),
        ({"context": {str(number): 1 for number in range(51)}}, "context"), ({"visitor": "x"}, "visitor: found `x`; wanted no such field"),
        (b'{"context": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", ""),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_wrong_body_is_a_problem(api: Api, body: object, detail: str) -> None:
    """400 as problem JSON, with what was found and what is wanted."""
    response = api.post("/v1/assignments", body)
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    problem = response.get_json()
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert detail in problem["detail"]


def test_white_space_makes_no_other_visitor(api: Api, store: Store) -> None:
    """Who is hashed is who is stored."""
    for number in range(30):
        plain, padded = api.assign(f"w{number}", expose=True)["ab"], api.assign(f" w{number} ", expose=True)["ab"]
        assert plain["variant"] == padded["variant"]
    assert store.counts()["exposures"] == 30
    members = api.assign(context={"customer_id": "  "}, expose=True)["members"]
    assert members["reason"] == "no_unit"
    assert api.assign(context={"customer_id": "c" * 300}, expose=True)["members"]["reason"] == "no_unit"


def test_another_process_writing_holds_no_assignment_up(api: Api, store: Store) -> None:
    """Keys and assignments are read beside a writer that holds the file's lock."""
    api.assign()
    with sqlite3.connect(store.url.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for _ in range(3):
            assert api.post("/v1/assignments", {}, "pk_unknown").status_code == 401
            api.assign()
            time.sleep(0.12)
        assert time.monotonic() - started < 5
        other.execute("ROLLBACK")
    other.close()


def test_who_is_in_one_experiment_of_a_layer_is_shown_nothing_of_the_others(
    write_configs: WriteConfigs, store: Store
) -> None:
    """Not even their controls, which may have an offer; who is in none of them is shown the shop as it is."""

    def layered(key: str, start: str, end: str) -> str:
        text = AB.replace("key: ab", f"key: {key}\nlayer: {{name: page, from: {start}, to: {end}}}")
        return text.replace(
            "control: {weight: 1, placement: none}", "control: {weight: 1, placement: sidebar, offer: {kind: chat}}"
        )

    configs = write_configs(first=layered("first", "0%", "40%"), second=layered("second", "40%", "80%"))
    api = Api(create_app(configs, store).test_client(), create_key(store, "publishable", 1), "")
    seen = set()
    for number in range(60):
        given = api.assign(f"v{number}")
        reasons = (given["first"]["reason"], given["second"]["reason"])
        seen.add(reasons)
        for key, other in (("first", "second"), ("second", "first")):
            if given[key]["reason"] == "layer":
                elsewhere = given[other]["reason"] == "assigned"
                assert given[key]["placement"] == ("none" if elsewhere else "sidebar")
                assert (given[key]["offer"] is None) == elsewhere
    assert seen == {("assigned", "layer"), ("layer", "assigned"), ("layer", "layer")}
