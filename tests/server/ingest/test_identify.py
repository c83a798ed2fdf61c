"""POST /v1/identify: one unit per customer, on every device."""

from pathlib import Path

import pytest

from analysis import report
from events import Store
from tests.server.conftest import NOW, Api


def identify(api: Api, visitor_id: str | None, customer_id: str, **more: str) -> str:
    body = {"customer_id": customer_id, **more} | ({"visitor_id": visitor_id} if visitor_id else {})
    response = api.post("/v1/identify", body)
    assert response.status_code == 200, response.text
    found: str = response.get_json()["visitor_id"]
    return found


def test_the_first_visitor_id_stays_the_unit(api: Api) -> None:
    """On this device, on the next, and again; with a cookie that says so."""
    assert identify(api, "laptop", "c1") == "laptop"
    assert identify(api, "phone", "c1") == "laptop"
    assert identify(api, "phone", "c1", company_id="acme") == "laptop"
    assert identify(api, "laptop", "c1") == "laptop"
    assert api.client.get_cookie("crosslift_visitor").value == "laptop"  # type: ignore[union-attr]
    assert api.post("/v1/assignments", {}).get_json()["visitor_id"] == "laptop"


def test_a_shared_device_is_nobody_elses_alias(api: Api, store: Store) -> None:
    """Two customers on one device, each with another of its own."""
    assert identify(api, "own", "b") == "own"
    assert identify(api, "shared", "a") == "shared"
    assert identify(api, "shared", "b") == "own"
    assert identify(api, "new", "a") == "shared"
    assert store.counts() | {"aliases": 1, "identities": 2} == store.counts()


def test_who_logs_in_without_an_id_gets_one(api: Api) -> None:
    """As on any other first call."""
    minted = identify(api, None, "c9")
    assert len(minted) == 32
    assert identify(api, "elsewhere", "c9") == minted


@pytest.mark.parametrize(
    "body", [{}, {"customer_id": ""}, {"customer_id": "c", "visitor_id": " "}, {"customer_id": "c", "x": 1}]
)
def test_a_wrong_body_is_refused(api: Api, body: dict[str, object]) -> None:
    """Nothing is linked."""
    assert api.post("/v1/identify", body).status_code == 400


def two_devices(api: Api, *, same: bool) -> tuple[str, str]:
    """Find two visitor ids with the same variant, or with different ones."""
    first = "v0"
    variant = api.assign(first)["ab"]["variant"]
    others = (f"v{number}" for number in range(1, 99))
    return first, next(one for one in others if (api.assign(one)["ab"]["variant"] == variant) is same)


@pytest.mark.parametrize("same", [True, False])
def test_devices_of_one_customer_are_one_unit_in_the_report(api: Api, configs: Path, store: Store, same: bool) -> None:
    """With the orders of both; and in no variant where they had seen different ones."""
    laptop, phone = two_devices(api, same=same)
    api.assign(laptop, experiments=["ab"], expose=True)
    api.now_ms += 1000
    api.assign(phone, experiments=["ab"], expose=True)
    orders = [
        {"type": "order", "order_id": device, "visitor_id": device, "ordered_at_ms": NOW + 500, "gross": "10.00"}
        for device in (laptop, phone)
    ]
    api.now_ms += 1000
    api.events(*orders, key=api.secret)
    before = report("ab", store.url, configs, NOW + 10_000)
    assert sum(row.units for row in before.variants) == 2
    for device in (laptop, phone):
        identify(api, device, "c1")
    found = report("ab", store.url, configs, NOW + 10_000)
    assert sum(row.units for row in found.variants) == (1 if same else 0)
    counted = found.to_dict()["orders"]["counted"]
    check = found.checks[1]
    if same:
        assert (counted, check.passed) == (2, True)
    else:
        assert (counted, check.passed, "1 unit " in check.detail) == (0, False, True)


def test_an_order_that_names_only_its_customer_counts(api: Api, configs: Path, store: Store) -> None:
    """For the customer's unit; before the link it belongs to nobody."""
    api.assign("anna", experiments=["ab"], expose=True)
    api.now_ms += 1000
    order = {"type": "order", "order_id": "1", "customer_id": "c1", "ordered_at_ms": NOW + 500, "gross": "10.00"}
    api.events(order, key=api.secret)
    before = report("ab", store.url, configs, NOW + 10_000).to_dict()["orders"]
    assert (before["counted"], before["without_unit"]) == (0, 1)
    identify(api, "anna", "c1")
    after = report("ab", store.url, configs, NOW + 10_000).to_dict()["orders"]
    assert (after["counted"], after.get("without_unit", 0), after["elsewhere"]) == (1, 0, 0)


def test_a_company_is_known_by_its_customers(api: Api, configs: Path, store: Store) -> None:
    """An experiment over companies counts the orders of customers that were linked to them."""
    path = configs / "experiments" / "members.yaml"
    path.write_text(path.read_text().replace("unit: customer_id", "unit: company_id"))
    declarations = api.client.application.extensions["crosslift"]
    declarations.reload_if_changed()
    declarations.reload_if_changed()
    api.assign("anna", experiments=["members"], context={"company_id": "acme"}, expose=True)
    identify(api, "anna", "c1", company_id="acme")
    api.now_ms += 1000
    order = {"type": "order", "order_id": "1", "customer_id": "c1", "ordered_at_ms": NOW + 500, "gross": "10.00"}
    api.events(order, key=api.secret)
    assert report("members", store.url, configs, NOW + 10_000).to_dict()["orders"]["counted"] == 1
