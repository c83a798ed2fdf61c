"""What `crosslift serve` is held against: the same requests, answered by apps that are written as one would at first."""

import os
from hashlib import sha256
from typing import Any

import orjson
from flask import Flask, Response, jsonify, request

from benchmarks import declared
from events.clock import now_ms
from events.store import open_store
from experiments.assignment import assign, unit_of
from experiments.loading import load
from experiments.offers import resolve
from experiments.tokens import Claim, Signer
from server.assignments import Assignments
from server.counts import Counts
from server.keys import Keyring, authorise
from server.live import Declarations
from server.problems import json_reply
from server.requests import AssignmentsBody, read_body


def plain_flask() -> Flask:
    """Give a Flask app with one view that assigns with the library and answers by `jsonify`."""
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


def prepared_flask() -> Flask:
    """Give a Flask app with one view that answers all as the hot path does, but for the way to it."""
    store = open_store(os.environ["CROSSLIFT_STORE"])
    declarations = Declarations(os.environ["CROSSLIFT_CONFIGS"], store, now_ms)
    assignments = Assignments(declarations, store, Signer(store.secret("signing", "0" * 64)))
    keyring, counts = Keyring(store), Counts(declarations)
    app = _app("prepared")

    @app.post("/v1/assignments")
    def post_assignments() -> Response:
        authorise(request.environ, keyring)
        body = read_body(AssignmentsBody, request.get_data())
        answer = assignments.answer(body, str(body.visitor_id))
        counts.assigned(answer.reasons())
        reply = json_reply({"visitor_id": body.visitor_id, "assignments": answer.shown()})
        return Response(reply.body, reply.status, reply.headers)

    return app


def _app(name: str) -> Flask:
    app = Flask(name, static_folder=None)

    @app.get("/healthz")
    def get_healthz() -> str:
        return "ok"

    return app


def bare_starlette() -> Any:
    """Give a Starlette app that hashes each arm of each experiment, and names the largest: no key, audience, offer or token."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response as Answer
    from starlette.routing import Route

    arms = declared.arms()

    async def post_assignments(request: Request) -> Answer:
        body = orjson.loads(await request.body())
        unit_id, told = body["visitor_id"], {}
        for key, names in arms.items():
            told[key] = max(names, key=lambda name: sha256(f"variant:{key}:{name}:{unit_id}".encode()).digest())
        return Answer(orjson.dumps({"visitor_id": unit_id, "assignments": told}), media_type="application/json")

    async def get_healthz(_: Request) -> Answer:
        return Answer("ok")

    return Starlette(
        routes=[
            Route("/v1/assignments", post_assignments, methods=["POST"]),
            Route("/healthz", get_healthz),
        ]
    )


def fast_feature() -> Any:
    """Give fast-feature's own app over flags in memory that have the experiments' arms, audiences and products."""
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
