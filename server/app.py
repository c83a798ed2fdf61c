"""The public web app: connects the wings, and answers the routes that belong to none of them."""

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from events.clock import now_ms
from events.stores.open_store import open_store
from events.stores.protocol import Store
from experiments.assignment.tokens import Signer
from experiments.declarations.loading import Configs
from server.assign.declarations import Declarations
from server.assign.explain import explain_request
from server.assign.hot_routes import AssignmentRoutes, HotRoutes
from server.assign.ofrep import ofrep_routes
from server.assign.page import script_route
from server.assign.service import AssignmentService
from server.http.bodies import MAX_BODY_BYTES, IdentifyBody, body_too_long, read_body
from server.http.cookies import cookie_visitor, mint_visitor_id, set_cookie
from server.http.cors import Cors
from server.http.keys import Keyring, authorise, require_secret
from server.http.metrics import Counts
from server.http.problems import Problem, error_reply, json_response
from server.ingest.collector import Collector, events_handler
from server.ingest.tracking.routes import tracking_routes
from server.ingest.webhooks.routes import webhook_routes


def create_app(
    configs: str | Path | Configs = "configs",
    store: str | Store = "sqlite:///crosslift.db",
    clock_ms: Callable[[], int] = now_ms,
    *,
    watch: bool = False,
    rate_limit: float | None = None,
) -> Flask:
    """
    Build the public app.

    Args:
        configs: Folder of the declarations, or loaded declarations.
        store: URL of the store, or an open store.
        clock_ms: Returns the time, in milliseconds UTC.
        watch: Whether to load changed declarations within a second.
        rate_limit: Requests a second that each key may make; unlimited by default.

    Raises:
        DeclarationError: A declaration is wrong; nothing is served.
        StoreError: The store cannot be opened.
    """
    opened = open_store(store) if isinstance(store, str) else store
    signer = Signer(opened.secret("signing", os.urandom(32).hex()))
    declarations = Declarations(configs, opened, clock_ms)
    if watch:
        declarations.watch()
    parts = Parts(opened, declarations, Keyring(opened, per_second=rate_limit), Counts(), clock_ms)
    _count_declarations(parts)
    app = Flask("crosslift", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _problem)
    _add_shop_routes(app, parts)
    _add_status_routes(app, parts)
    service = AssignmentService(declarations, opened, signer, clock_ms)
    app.register_blueprint(script_route())
    app.register_blueprint(ofrep_routes(declarations, service, parts.keyring, parts.counts, clock_ms))
    app.register_blueprint(tracking_routes(opened, declarations, parts.keyring, parts.counts, clock_ms))
    app.register_blueprint(webhook_routes(opened, declarations, parts.counts, clock_ms))
    app.extensions["crosslift"] = declarations
    handlers = AssignmentRoutes(parts.keyring, service, parts.counts, clock_ms).handlers()
    collector = Collector(declarations, opened, signer, clock_ms)
    handlers["/v1/events"] = events_handler(parts.keyring, collector, parts.counts)
    hot = HotRoutes(app.wsgi_app, handlers)
    app.wsgi_app = Cors(hot, lambda: declarations.live.configs.shop.origins)  # type: ignore[method-assign]
    return app


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes of this module need."""

    store: Store
    declarations: Declarations
    keyring: Keyring
    counts: Counts
    clock_ms: Callable[[], int]


def _count_declarations(parts: Parts) -> None:
    """Report the state of the declarations to Prometheus, now and after every reload."""
    declarations = parts.declarations

    def report() -> None:
        experiments = len(declarations.live.configs.experiments)
        parts.counts.count_declarations(experiments, is_faulty=declarations.error is not None)

    declarations.on_change = report
    report()


def _add_shop_routes(app: Flask, parts: Parts) -> None:
    """Add the routes that shops call besides the hot ones; all of them require a key."""

    @app.post("/v1/identify")
    def post_identify() -> Response:
        """{visitor_id?, customer_id, company_id?} -> {visitor_id, customer_id}, the unit from then on; any key."""
        authorise(request.environ, parts.keyring)
        body = read_body(IdentifyBody, request.get_data())
        cookie_id = cookie_visitor(request.environ)
        visitor_id = body.visitor_id or cookie_id or mint_visitor_id(parts.clock_ms())
        unit_id = parts.store.identify(visitor_id, body.customer_id, body.company_id, parts.clock_ms())
        headers = () if unit_id == cookie_id else (("Set-Cookie", set_cookie(unit_id)),)
        return json_response({"visitor_id": unit_id, "customer_id": body.customer_id}, headers=headers)

    @app.get("/v1/explain")
    def get_explain() -> Response:
        """?experiment=KEY&visitor_id=ID&context=JSON -> each step of the assignment, and its outcome; secret key."""
        require_secret(authorise(request.environ, parts.keyring))
        return json_response(explain_request(parts.declarations.live, request.args))


def _add_status_routes(app: Flask, parts: Parts) -> None:
    """Add the routes for operators; none requires a key, and none shows more than counts."""

    @app.get("/healthz")
    def get_healthz() -> Response:
        """{status: ok} while the process answers."""
        return json_response({"status": "ok"})

    @app.get("/readyz")
    def get_readyz() -> Response:
        """{status, experiments, reload_error?} while requests can be served; 503 without a store."""
        parts.store.keys()
        error = parts.declarations.error
        values = {"status": "ready", "experiments": len(parts.declarations.live.configs.experiments)}
        return json_response(values if error is None else values | {"reload_error": error})

    @app.get("/metrics")
    def get_metrics() -> Response:
        """The counters of all workers, in Prometheus' text format."""
        return Response(parts.counts.exposition(), mimetype="text/plain", headers={"Cache-Control": "no-store"})


def app_from_environment() -> Flask:
    """Build the app of a worker process from CROSSLIFT_CONFIGS and CROSSLIFT_STORE; the worker ends with its server."""
    threading.Thread(target=_end_with, args=(os.getppid(),), name="crosslift-parent", daemon=True).start()
    rate = float(os.environ.get("CROSSLIFT_RATE_LIMIT") or 0) or None
    app = create_app(os.environ["CROSSLIFT_CONFIGS"], os.environ["CROSSLIFT_STORE"], watch=True, rate_limit=rate)
    gc.freeze()  # what is loaded now stays: collecting it again every few requests would slow them down
    gc.set_threshold(20_000, 20, 20)
    return app


def _end_with(parent: int) -> None:
    """End this process when its parent has been killed, so that a new server can use the port."""
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(1)


def _problem(error: Exception) -> Response:
    return error_reply(error).to_flask()


def _http_problem(error: HTTPException) -> Response:
    """Return the response to what Flask itself refuses: unknown addresses, methods, bodies that are too long."""
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    if error.code in (404, 405):
        detail = f"request: must be an address and method of docs/http.md, got {request.method} {request.path[:100]}"
        return _problem(Problem(error.code, detail, headers=headers))
    if error.code == 413:
        return _problem(body_too_long())
    return _problem(Problem(error.code or 500, error.description or error.name, headers=headers))
