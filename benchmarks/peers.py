"""What `crosslift serve` is held against: the same requests, answered by apps that are written as one would at first."""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import orjson
from flask import Flask, Response, jsonify, request

from benchmarks import declared
from events.clock import now_ms
from events.stores.open_store import open_store
from experiments.assignment.draw import assign, unit_of
from experiments.assignment.offers import resolve
from experiments.assignment.tokens import Claim, Signer
from experiments.declarations.loading import load
from server.assign.declarations import Declarations
from server.assign.service import AssignmentService
from server.http.bodies import AssignmentsBody, read_body
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Reply, json_reply


def plain_flask() -> Flask:
    """Return a Flask app with one view that assigns with the library and answers by `jsonify`."""
    configs = load(os.environ["CROSSLIFT_CONFIGS"])
    store = open_store(os.environ["CROSSLIFT_STORE"])
    keyring, signer = Keyring(store), Signer(store.secret("signing", "0" * 64))
    app = _app("plain")

    @app.post("/v1/assignments")
    def post_assignments() -> Response:
        authorise(request.environ, keyring)
        body = AssignmentsBody.model_validate(request.get_json())
        told: dict[str, Any] = {}
        for key, experiment in configs.experiments.items():
            unit_id = unit_of(experiment, body.visitor_id, body.context)
            one = assign(experiment, unit_id, body.context)
            token = signer.sign(Claim(key, one.variant, unit_id, 1), now_ms() // 1000) if one.variant else None
            told[key] = {
                "variant": one.variant,
                "placement": one.placement,
                "offer": resolve(one.offer, configs.products, body.context),
                "reason": one.reason,
                "epoch": 1,
                "exposure_token": token,
            }
        return jsonify({"visitor_id": body.visitor_id, "assignments": told})

    return app


def _answering() -> Callable[[Mapping[str, Any], bytes], Reply]:
    """Return what answers a WSGI environment's headers and a body as the hot path does."""
    store = open_store(os.environ["CROSSLIFT_STORE"])
    declarations = Declarations(os.environ["CROSSLIFT_CONFIGS"], store, now_ms)
    service = AssignmentService(declarations, store, Signer(store.secret("signing", "0" * 64)))
    keyring, counts = Keyring(store), Counts()

    def answer(environ: Mapping[str, Any], content: bytes) -> Reply:
        authorise(environ, keyring)
        body = read_body(AssignmentsBody, content)
        assigned = service.assign(str(body.visitor_id), body)
        counts.count_assignments(assigned.reasons())
        return json_reply({"visitor_id": body.visitor_id, "assignments": service.encode(assigned)})

    return answer


def prepared_flask() -> Flask:
    """Return a Flask app with one view that answers all as the hot path does, but for the way to it."""
    answer, app = _answering(), _app("prepared")

    @app.post("/v1/assignments")
    def post_assignments() -> Response:
        reply = answer(request.environ, request.get_data())
        return Response(reply.body, reply.status, reply.headers)

    return app


def _app(name: str) -> Flask:
    app = Flask(name, static_folder=None)

    @app.get("/healthz")
    def get_healthz() -> str:
        return "ok"

    return app


def bare_starlette() -> Any:
    """Return a Starlette app that hashes each arm of each experiment, and names the largest: no key, audience, offer or token."""
    arms = declared.arms()

    def answer(_: Mapping[str, Any], content: bytes) -> bytes:
        unit_id, told = orjson.loads(content)["visitor_id"], {}
        for key, names in arms.items():
            told[key] = max(names, key=lambda name: sha256(f"variant:{key}:{name}:{unit_id}".encode()).digest())
        return orjson.dumps({"visitor_id": unit_id, "assignments": told})

    return _starlette(answer)


def prepared_starlette() -> Any:
    """Return a Starlette app that answers all as the hot path does, but for the way to it."""
    answer = _answering()
    return _starlette(lambda environ, content: answer(environ, content).body)


def _starlette(answer: Callable[[Mapping[str, Any], bytes], bytes]) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response as Answer
    from starlette.routing import Route

    async def post_assignments(request: Request) -> Answer:
        environ = {"HTTP_AUTHORIZATION": request.headers["authorization"]}
        return Answer(answer(environ, await request.body()), media_type="application/json")

    async def get_healthz(_: Request) -> Answer:
        return Answer("ok")

    return Starlette(
        routes=[
            Route("/v1/assignments", post_assignments, methods=["POST"]),
            Route("/healthz", get_healthz),
        ]
    )


def fast_feature() -> Any:
    """Return fast-feature's own app over flags in memory that have the experiments' arms, audiences and products."""
    from fast_feature.core import Flag
    from fast_feature.ofrep import OfrepRouter
    from fast_feature.storage.inmemory import InMemoryFlagRepository
    from fastapi import FastAPI

    configs = load(os.environ["CROSSLIFT_CONFIGS"])
    flags = []
    for key, one in configs.experiments.items():
        values: dict[str, Any] = {
            name: resolve(arm.offer, configs.products, {"product_id": "p1"}) for name, arm in one.variants.items()
        }
        split = {"fractional": [[name, arm.weight] for name, arm in one.variants.items()]}
        targeting: dict[str, Any] = {"if": [{"==": [{"var": "device"}, "mobile"]}, split, None]}
        flags.append(Flag(key, values, one.control, targeting=targeting))
    app = FastAPI()
    app.include_router(OfrepRouter.build(InMemoryFlagRepository(flags)))

    async def get_healthz() -> str:
        return "ok"

    app.add_api_route("/healthz", get_healthz)

    return app
