"""What is prepared when declarations load, against the same computed for each request."""

import gc
import logging
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import Store, open_store
from experiments import Experiment, RequestError, assign
from experiments.assignment.draw import Assignment, unit_of
from experiments.assignment.offers import Viewing, chosen, price_bundle, resolve
from experiments.assignment.tokens import Signer
from experiments.declarations.loading import Configs
from experiments.declarations.model import HOLDOUT, Product, Shop
from server import create_app
from server.assign.declarations import Declarations, Live
from server.assign.exposures import claim_of
from server.assign.page import PAGE, arrange_page, page_values
from server.assign.prepared import PreparedExperiment
from server.assign.service import AssignmentService
from server.http.bodies import AssignmentsBody
from server.http.keys import create_key
from tests.conftest import AB, WriteConfigs
from tests.server.conftest import NOW, Api

NONE = {"placement": "none"}
LISTED = {"placement": "cart", "offer": {"kind": "cross_sell", "products": ["p1", "p2", "gone"], "limit": 2}}
BESIDE: dict[str, Any] = {
    "placement": "sidebar",
    "offer": {"kind": "cross_sell", "products": "complements", "headline": "With it"},
}
BUNDLE = {"placement": "sidebar", "offer": {"kind": "bundle", "products": "complements", "discount": "10%"}}
CHAT = {"placement": "popup", "offer": {"kind": "chat", "headline": "Ask “us”"}}
AUDIENCES: list[dict[str, Any]] = [
    {},
    {"page": "product"},
    {"page": {"in": ["product", "cart"]}},
    {"page": {"in": [1, "cart"]}},
    {"page": True},
    {"page": {"in": [True, "product"]}},
    {"page": {"not": "product"}},
    {"page": {"exists": False}},
    {"page": {"is": "product", "not_in": ["cart"]}},
    {"page": {"is": "product", "in": ["cart", "product"]}},
    {"page": "product", "device": {"in": ["mobile"]}},
    {"device": "mobile", "total": {"at_least": 20}},
]
CONTROLS: list[dict[str, Any]] = [NONE, LISTED, BESIDE, BUNDLE, CHAT]
STATUSES = ["running", "running", "running", "paused", "ended", "draft", "running"]
UNITS = ["visitor_id", "visitor_id", "customer_id", "company_id"]
LAYERS = [None, {"name": "page", "from": "0%", "to": "30%"}, {"name": "page", "from": "30%", "to": "60%"}]


def declared(number: int) -> Experiment:
    return Experiment.model_validate(
        {
            "key": f"e{number}",
            "title": "",
            "status": STATUSES[number % len(STATUSES)],
            "unit": UNITS[number % len(UNITS)],
            "layer": LAYERS[number % len(LAYERS)],
            "traffic": "50%" if number % 11 == 0 else "100%",
            "audience": {
                key: one if isinstance(one, dict) else {"is": one} for key, one in AUDIENCES[number % 12].items()
            },
            "variants": {"control": CONTROLS[number % 5], "other": CONTROLS[number % 4] | {"weight": 1.0 + number % 2}},
        }
    )


PRODUCTS = {
    key: Product.model_validate({"id": key, "title": key, "price": "9.90", "complements": ["p1", "p3", "gone"]})
    for key in ("p1", "p2", "p3")
}
CONFIGS = Configs(
    Shop.model_validate({"holdout": "20%"}), PRODUCTS, {f"e{number}": declared(number) for number in range(120)}
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, AssignmentService, Signer]]:
    """Return one set of declarations, its service, and its signer."""
    with closing(open_store(f"sqlite:///{tmp_path_factory.mktemp('serving') / 'events.db'}")) as store:
        declarations, signer = Declarations(CONFIGS, store, lambda: NOW), Signer("x" * 32)
        yield declarations.live, AssignmentService(declarations, store, signer, lambda: NOW), signer


def compute(live: Live, signer: Signer, key: str, visitor_id: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Compute one experiment's answer from its declaration alone."""
    experiment, holdout = CONFIGS.experiments[key], CONFIGS.shop.holdout
    claim = None
    try:
        unit_id = unit_of(experiment, visitor_id, context)
        one = assign(experiment, unit_id, context, holdout=holdout)
        claim = claim_of(live, experiment, unit_id, context, one)
    except RequestError:
        one = Assignment(None, "none", None, "no_unit")
    if one.reason == "layer" and any(
        takes_part(other, experiment, visitor_id, context) for other in CONFIGS.experiments.values()
    ):
        one = Assignment(None, "none", None, "layer")
    return {
        "variant": one.variant,
        "placement": one.placement,
        "offer": resolve(one.offer, PRODUCTS, context),
        "reason": one.reason,
        "epoch": live.epochs.get(key),
        "exposure_token": None if claim is None else signer.sign(claim, NOW // 1000),
    }


def takes_part(other: Experiment, one: Experiment, visitor_id: str, context: Mapping[str, Any]) -> bool:
    if other.layer is None or one.layer is None or other.layer.name != one.layer.name:
        return False
    try:
        unit_id = unit_of(other, visitor_id, context)
    except RequestError:
        return False
    return assign(other, unit_id, context, holdout=CONFIGS.shop.holdout).exposable


scalars = st.sampled_from(["product", "cart", "mobile", "elsewhere", "", 1, 1.0, 0, True, False, None, 25, 3.5])
anything = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.just("a"), scalars, max_size=1)
products = st.sampled_from(["p1", "p2", "p3", "gone", "unheard-of", 7, None])
contexts = st.fixed_dictionaries(
    {},
    optional={
        "page": anything,
        "device": anything,
        "total": anything,
        "product_id": products | anything,
        "cart": st.lists(products | anything, max_size=3) | anything,
        "customer_id": st.sampled_from(["c1", " c2 ", "", 7, True, "x" * 300, "a\x00"]) | st.text(max_size=3),
        "company_id": st.sampled_from(["c1", None, 12]),
    },
)
visitors = st.integers(0, 10**6).map("v{}".format)


@settings(max_examples=300, deadline=None)
@given(visitors, contexts)
def test_prepared_answers_equal_computed_ones(
    parts: tuple[Live, AssignmentService, Signer], visitor_id: str, context: dict[str, Any]
) -> None:
    """Every experiment's whole answer, in the order of the declarations; and so when experiments are named."""
    live, service, signer = parts
    keys = [key for key, one in CONFIGS.experiments.items() if one.status != "draft"]
    expected = {key: compute(live, signer, key, visitor_id, context) for key in keys}
    assigned = service.assign(visitor_id, AssignmentsBody(context=context))
    assert orjson.dumps(service.encode(assigned)) == orjson.dumps(expected)
    counted = {reason: count for reason, count in assigned.reasons().items() if count}
    assert counted == Counter(one["reason"] for one in expected.values())
    named = AssignmentsBody(context=context, experiments=[*keys[:90], "e5", HOLDOUT])
    shown = orjson.loads(orjson.dumps(service.encode(service.assign(visitor_id, named))))
    assert (shown.pop("e5")["reason"], shown.pop(HOLDOUT)["reason"]) == ("draft", "unknown")
    assert shown == {key: expected[key] for key in keys[:90]}


@settings(max_examples=150, deadline=None)
@given(visitors, contexts)
def test_prepared_pages_equal_computed_ones(
    parts: tuple[Live, AssignmentService, Signer], visitor_id: str, context: dict[str, Any]
) -> None:
    """What belongs to no layer of the visitor's is what the other route answers, with what pages need beside it."""
    live, service, signer = parts
    assigned = service.assign(visitor_id, AssignmentsBody(context=context))
    assigned = arrange_page(assigned)
    values = page_values(assigned, service.encode(assigned, PAGE), NOW)
    page = orjson.loads(orjson.dumps(values))["assignments"]
    assert len(page) == len(live.prepared.listed)
    first = [one["reason"] == "assigned" for one in page.values()]
    assert first == sorted(first, reverse=True)
    viewing = Viewing.of(context)
    for key, shown in page.items():
        experiment = CONFIGS.experiments[key]
        expected = compute(live, signer, key, visitor_id, context) | {
            "trigger": "product_page",
            "unit": experiment.unit,
        }
        if shown["placement"] == "none" and shown["reason"] in ("layer", "assigned"):
            continue
        if expected["offer"] is not None and expected["offer"]["kind"] == "bundle":
            offer = experiment.variants[expected["variant"] or experiment.control].offer
            assert offer is not None
            ids = chosen(offer, PRODUCTS, viewing)
            expected["bundle"] = price_bundle(offer, ids, PRODUCTS, viewing.current, "USD")
        assert shown == expected


def test_only_what_concerns_a_page_is_assigned(parts: tuple[Live, AssignmentService, Signer]) -> None:
    """Experiments of other pages are not hashed for."""
    live, service, _ = parts
    everywhere = service.assign("v", AssignmentsBody(context={"page": "product", "device": "mobile"})).assignments
    nowhere = service.assign("v", AssignmentsBody(context={"page": "checkout", "device": "desktop"})).assignments
    assert len(nowhere) < len(everywhere) < len(live.prepared.listed)
    assert {CONFIGS.experiments[key].status for key in everywhere} == {"running"}
    assert not {
        key
        for key in nowhere
        if "product" in str(CONFIGS.experiments[key].audience.get("page")) and int(key[1:]) % 12 in (1, 2, 8, 9, 10)
    }


def test_what_is_kept_of_products_is_bounded(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Whatever is viewed and whatever lies in carts, by ever new visitors; and it stays right."""
    declarations, signer = Declarations(CONFIGS, store, lambda: NOW), Signer("x" * 32)
    live, service = declarations.live, AssignmentService(declarations, store, signer, lambda: NOW)
    monkeypatch.setattr("server.assign.prepared.MAX_CACHED", 100)
    for product in (*PRODUCTS, *(f"made-up-{number}" for number in range(50))):
        for cart in ([], ["p1"], ["p3", "x"], ["p1", "p2", "p3"]):
            context = {"page": "checkout", "product_id": product, "cart": cart}
            visitor = f"v{product}"
            assigned = service.assign(visitor, AssignmentsBody(context=context))
            shown = orjson.loads(orjson.dumps(service.encode(assigned)))
            for key in ("e27", "e36", "e91"):
                assert shown[key] == compute(live, signer, key, visitor, context)
    for page in ("product", "cart", "elsewhere"):
        for device in ("mobile", "desktop"):
            page_context: dict[str, Any] = {"page": page, "device": device, "total": 25}
            service.encode(service.assign("v1", AssignmentsBody(context=page_context)))
    usual = live.prepared.static_answers((False,) * 3, PreparedExperiment.assignment_values)
    for static in (usual, *live.prepared._static.values()):
        assert sum(map(len, static._by_viewing.values())) <= 100 + len(static._varying)
    assert len(live.prepared.by_key["e27"]._templates) <= 100
    assert len(live.prepared._selections) * len(live.prepared.listed) <= 100 + len(live.prepared.listed)


def test_a_fault_while_preparing_serves_that_control(
    monkeypatch: pytest.MonkeyPatch, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be prepared is met again with the request, where a fault serves the control; the others are served."""

    def broken(experiment: Experiment, *arguments: object, **options: object) -> object:
        if experiment.key == "e1":
            raise ZeroDivisionError
        return assign(experiment, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("server.assign.prepared.assign", broken)
    monkeypatch.setattr("server.assign.service.assign", broken)
    service = AssignmentService(Declarations(CONFIGS, store, lambda: NOW), store, Signer("x"), lambda: NOW)
    reasons = service.assign("v", AssignmentsBody()).reasons()
    assert reasons["fault"] == 1
    assert "e1 cannot be prepared" in caplog.text
    assert "assigning e1 failed" in caplog.text


def test_reloading_replaces_everything_at_once_and_leaves_nothing_behind(
    write_configs: WriteConfigs, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand times: prices are the newest, the old sets are gone, and no more objects stand than before."""
    elsewhere = AB.replace("key: ab", "key: elsewhere\naudience: {page: cart}").replace(
        "none}", "sidebar, offer: {kind: gift, products: [p1]}}"
    )
    configs = write_configs(ab=AB, elsewhere=elsewhere)
    catalog = configs / "catalog.yaml"
    catalog.write_text("products: []\n", encoding="utf-8")
    api = Api(None, create_key(store, "publishable", 1), "")  # type: ignore[arg-type]
    api.client = create_app(configs, store, lambda: NOW).test_client()
    declarations = api.client.application.extensions["crosslift"]
    caplog.set_level(logging.CRITICAL, "crosslift")
    old: list[weakref.ref[object]] = []
    counts: dict[int, int] = {}
    for number in range(1000):
        old.append(weakref.ref(declarations.live.prepared))
        catalog.write_text(f"products: [{{id: p1, title: One, price: 1.{number % 90 + 10}}}]\n", encoding="utf-8")
        os.utime(catalog, ns=(number, number))
        declarations.reload_if_changed()
        declarations.reload_if_changed()
        if number % 50 == 0:
            (product,) = api.assign(f"v{number}")["elsewhere"]["offer"]["products"]
            assert product["price"] == f"1.{number % 90 + 10}"
        if number in (100, 999):
            gc.collect()
            counts[number] = len(gc.get_objects()) - len(old)
    assert [one for one in old if one() is not None] == []
    assert counts[999] - counts[100] < 500


def test_a_bundle_at_rest_is_priced_with_what_is_viewed(write_configs: WriteConfigs, store: Store) -> None:
    """One of listed products too: who views what it complements sees that in the bundle, and others do not."""
    catalog = (
        "products:\n  - {id: p1, title: One, price: 9.95, complements: [p2]}\n  - {id: p2, title: Two, price: 2.00}\n"
    )
    bundle = AB.replace("none}", "cart, offer: {kind: bundle, products: [p2]}}").replace("running", "paused")
    configs = write_configs(files={"catalog.yaml": catalog}, ab=bundle)
    api = Api(create_app(configs, store, lambda: NOW).test_client(), create_key(store, "publishable", 1), "")
    for product_id, full in (("p1", "11.95"), ("elsewhere", "2.00"), ("p1", "11.95")):
        page = api.post("/v1/page", {"visitor_id": "v", "context": {"product_id": product_id}}).get_json()
        assert page["assignments"]["ab"]["bundle"]["full"] == full
