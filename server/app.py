"""The public web app: routes, keys and cookies around the assignments and the collector."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException

from events.clock import now_ms
from events.store import Store, open_store
from experiments.errors import StoreError
from experiments.loading import Configs
from server.assignments import Assignments, mint_visitor_id
from server.collect import Collector
from server.counts import Counts
from server.explain import explain_request
from server.keys import KeyKind, Keyring
from server.live import Declarations
from server.problems import Problem
from server.requests import MAX_BODY_BYTES, AssignmentsBody, EventsBody, IdentifyBody, read_body
from server.tokens import Signer

COOKIE = "crosslift_visitor"
COOKIE_S = 400 * 86_400  # the longest that browsers keep one

log = logging.getLogger("crosslift")


def create_app(
    configs: str | Path | Configs = "configs",
    store: str | Store = "sqlite:///crosslift.db",
    clock_ms: Callable[[], int] = now_ms,
    *,
    watch: bool = False,
) -> Flask:
    """
    Build the public app.

    Args:
        configs: Folder of the declarations, or the declarations.
        store: URL of the store, or the store.
        clock_ms: The time, in milliseconds UTC.
        watch: Take changed declarations within a second.

    Raises:
        DeclarationError: A declaration is wrong; nothing is served.
        StoreError: The store cannot be opened.
    """
    opened = open_store(store) if isinstance(store, str) else store
    signer = Signer(opened.secret("signing", os.urandom(32).hex()))
    declarations = Declarations(configs, opened, clock_ms)
    if watch:
        declarations.watch()
    parts = Parts(
        opened,
        declarations,
        Keyring(opened),
        Assignments(declarations, opened, signer, clock_ms),
        Collector(declarations, opened, signer, clock_ms),
        Counts(declarations),
        clock_ms,
    )
    app = Flask("crosslift", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(StoreError, _store_problem)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _fault)
    _add_shop_routes(app, parts)
    _add_status_routes(app, parts)
    app.extensions["crosslift"] = declarations
    return app


@dataclass(frozen=True)
class Parts:
    """What the routes answer with."""

    store: Store
    declarations: Declarations
    keyring: Keyring
    assignments: Assignments
    collector: Collector
    counts: Counts
    clock_ms: Callable[[], int]


def _add_shop_routes(app: Flask, parts: Parts) -> None:
    """Add what storefronts and shops call; all of it wants a key."""

    @app.post("/v1/assignments")
    def post_assignments() -> Response:
        """{visitor_id?, context?, experiments?, expose?, preview?} -> {visitor_id, assignments}; any key."""
        _authorise(request, parts.keyring)
        body = read_body(AssignmentsBody, request.get_data())
        known = body.visitor_id or _cookie_visitor(request)
        visitor_id = known or mint_visitor_id(parts.clock_ms())
        answer = parts.assignments.answer(body, visitor_id)
        parts.counts.assigned(answer)
        response = _json(answer)
        if known is None:
            _keep(response, visitor_id)
        return response

    @app.post("/v1/identify")
    def post_identify() -> Response:
        """{visitor_id?, customer_id, company_id?} -> {visitor_id, customer_id}: the unit from now on; any key."""
        _authorise(request, parts.keyring)
        body = read_body(IdentifyBody, request.get_data())
        visitor_id = body.visitor_id or _cookie_visitor(request) or mint_visitor_id(parts.clock_ms())
        unit_id = parts.store.identify(visitor_id, body.customer_id, body.company_id, parts.clock_ms())
        response = _json({"visitor_id": unit_id, "customer_id": body.customer_id})
        if unit_id != _cookie_visitor(request):
            _keep(response, unit_id)
        return response

    @app.post("/v1/events")
    def post_events() -> Response:
        """{events: [...]} -> 202 {accepted, duplicates, rejected}; orders only with a secret key."""
        kind = _authorise(request, parts.keyring)
        answer = parts.collector.answer(read_body(EventsBody, request.get_data()), kind)
        parts.counts.collected(answer)
        return _json(answer, 202)

    @app.get("/v1/explain")
    def get_explain() -> Response:
        """?experiment=KEY&visitor_id=ID&context=JSON -> each step of the assignment, and its outcome; secret key."""
        if _authorise(request, parts.keyring) != "secret":
            raise Problem(403, "key: found a publishable key; wanted a secret one (sk_)")
        return _json(explain_request(parts.declarations.live, request.args))


def _add_status_routes(app: Flask, parts: Parts) -> None:
    """Add what whoever runs the server looks at; none of it wants a key, or tells more than counts."""

    @app.get("/healthz")
    def get_healthz() -> Response:
        """200 while the process answers."""
        return _json({"status": "ok"})

    @app.get("/readyz")
    def get_readyz() -> Response:
        """200 while requests can be served, with the reason why changed declarations are not; 503 without a store."""
        parts.store.keys()
        error = parts.declarations.error
        shown = {"status": "ready", "experiments": len(parts.declarations.live.configs.experiments)}
        return _json(shown if error is None else shown | {"reload_error": error})

    @app.get("/metrics")
    def get_metrics() -> Response:
        """Give counters of all workers, as Prometheus reads them."""
        return Response(parts.counts.exposition(), mimetype="text/plain", headers={"Cache-Control": "no-store"})


def app_from_environment() -> Flask:
    """Build the app of a worker process, from CROSSLIFT_CONFIGS and CROSSLIFT_STORE."""
    return create_app(os.environ["CROSSLIFT_CONFIGS"], os.environ["CROSSLIFT_STORE"], watch=True)


def _authorise(sent: Request, keyring: Keyring) -> KeyKind:
    """
    Tell what the request's key allows.

    Raises:
        Problem: 401 without a key of ours; a secret key in the address is not taken, since addresses are logged.
    """
    scheme, _, bearer = sent.headers.get("Authorization", "").partition(" ")
    key = (bearer.strip() if scheme.lower() == "bearer" else scheme) or sent.headers.get("X-API-Key", "")
    if not key:
        key = sent.args.get("key", "")
        if key.startswith("sk_"):
            raise _unauthorised("a secret key in the address")
    kind = keyring.kind(key) if key else None
    if kind is None:
        raise _unauthorised("a key that is not known, or revoked" if key else "no key")
    return kind


def _unauthorised(found: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="crosslift"'}
    return Problem(401, f"key: found {found}; wanted Authorization: Bearer pk_... or sk_...", headers=headers)


def _cookie_visitor(sent: Request) -> str | None:
    value = sent.cookies.get(COOKIE, "")
    return value if re.fullmatch(r"[\x21-\x7e]{1,256}", value) else None


def _keep(response: Response, visitor_id: str) -> None:
    """Set the first-party cookie that only the server can set: script-set ones live a week in some browsers."""
    response.set_cookie(COOKIE, visitor_id, max_age=COOKIE_S, secure=True, samesite="Lax", httponly=True, path="/")


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, mimetype="application/json", headers={"Cache-Control": "no-store"})


def _problem(problem: Problem) -> Response:
    response = Response(orjson.dumps(problem.to_dict()), problem.status, mimetype="application/problem+json")
    response.headers.update(problem.headers)
    return response


def _http_problem(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown addresses, methods, bodies that are too long."""
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    if error.code in (404, 405):
        wanted = "an address and method of docs/http.md"
        return _problem(
            Problem(error.code, f"found {request.method} {request.path[:100]}; wanted {wanted}", headers=headers)
        )
    detail = f"body: found more than {MAX_BODY_BYTES:,} bytes; wanted fewer" if error.code == 413 else error.description
    return _problem(Problem(error.code or 500, detail or error.name, headers=headers))


def _store_problem(error: StoreError) -> Response:
    log.error("the store failed: %s", error)
    return _problem(
        Problem(503, "the store cannot be reached; nothing of this request was kept", headers={"Retry-After": "1"})
    )


def _fault(error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _problem(Problem(500, "an unexpected fault; it is in the server's log"))
