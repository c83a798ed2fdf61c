"""Cross-origin requests, and what a browser sends without headers."""

import json
from pathlib import Path

import pytest

from events import Store
from server import create_app
from server.http.keys import create_key
from tests.conftest import WriteConfigs
from tests.server.conftest import NOW, Api

SHOP, OTHER = "https://shop.example", "https://other.example"


@pytest.fixture
def configs(write_configs: WriteConfigs) -> Path:
    return write_configs(files={"shop.yaml": f"origins: ['{SHOP}', 'http://127.0.0.1:8080']\n"})


@pytest.fixture
def api(configs: Path, store: Store) -> Api:
    app = create_app(configs, store, lambda: NOW)
    return Api(app.test_client(), create_key(store, "publishable", 1), create_key(store, "secret", 1))


PATHS = ["/v1/assignments", "/v1/events", "/v1/identify", "/v1/page", "/ofrep/v1/evaluate/flags/ab"]


@pytest.mark.parametrize("path", PATHS)
def test_a_listed_origin_may_ask(api: Api, path: str) -> None:
    """With its cookie, and reading the headers that a client needs; the preflight says so."""
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = api.client.options(path, headers=asked)
    assert preflight.status_code == 204
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = api.client.post(path, json={}, headers={"Origin": SHOP, "X-API-Key": api.publishable})
    for one in (preflight, answer):
        assert one.headers["Access-Control-Allow-Origin"] == SHOP
        assert one.headers["Access-Control-Allow-Credentials"] == "true"
        assert one.headers["Vary"] == "Origin"
        assert "ETag" in one.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("origin", [OTHER, "null", "https://shop.example.evil.example", "http://shop.example", "*", ""])
def test_no_other_origin_may(api: Api, origin: str) -> None:
    """It gets no permission, on the preflight nor on an answer."""
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = api.client.options("/v1/page", headers=asked)
    assert (preflight.status_code, preflight.mimetype) == (403, "application/problem+json")
    answer = api.client.post("/v1/page", json={}, headers={"Origin": origin, "X-API-Key": api.publishable})
    for one in (preflight, answer):
        assert "Access-Control-Allow-Origin" not in one.headers
        assert one.headers["Vary"] == "Origin"


def test_what_is_for_servers_is_never_cross_origin(api: Api) -> None:
    """Not even to a listed origin."""
    answer = api.client.get("/v1/explain?experiment=ab&visitor_id=v", headers={"Origin": SHOP, "X-API-Key": api.secret})
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_origins_are_taken_while_serving(configs: Path, store: Store, api: Api) -> None:
    """A change of shop.yaml is a change of the list."""
    declarations = api.client.application.extensions["crosslift"]
    (configs / "shop.yaml").write_text(f"origins: ['{OTHER}']  # another\n", encoding="utf-8")
    for _ in range(3):
        declarations.reload_if_changed()
    headers = {"X-API-Key": api.publishable}
    told = [api.client.post("/v1/page", json={}, headers={"Origin": one} | headers).headers for one in (SHOP, OTHER)]
    assert ["Access-Control-Allow-Origin" in one for one in told] == [False, True]


@pytest.mark.parametrize("origin", ["https://shop.example/", "shop.example", "*", "https://SHOP.example", 7])
def test_origins_that_could_never_match_are_refused(write_configs: WriteConfigs, store: Store, origin: object) -> None:
    """A browser sends scheme, host and port, in small letters and without a path."""
    configs = write_configs("wrong", files={"shop.yaml": f"origins: [{json.dumps(origin)}]\n"})
    with pytest.raises(Exception, match="an origin such as"):
        create_app(configs, store)


def test_a_beacon_is_taken(api: Api, store: Store) -> None:
    """As text, without headers, with the publishable key in the query; never with a secret one."""
    token = api.assign()["ab"]["exposure_token"]
    body = json.dumps({"events": [{"type": "exposure", "exposure_token": token}]})
    sent = api.client.post(f"/v1/events?key={api.publishable}", data=body, content_type="text/plain;charset=UTF-8")
    assert (sent.status_code, sent.get_json()["accepted"]) == (202, 1)
    assert api.client.post(f"/v1/events?key={api.secret}", data=body, content_type="text/plain").status_code == 401
