"""The public web app: routes, keys and cookies around the assignments and the collector."""

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from events.clock import now_ms
from events.stores.open_store import open_store
from events.stores.protocol import Store
from experiments.assignment.tokens import Signer
from experiments.declarations.loading import Configs
from server.assign.declarations import Declarations
from server.assign.explain import explain_request
from server.assign.hot_routes import HotPath, too_long
from server.assign.ofrep import ofrep_routes
from server.assign.page import script_route
from server.assign.service import Assignments, mint_visitor_id
from server.http.bodies import MAX_BODY_BYTES, IdentifyBody, read_body
from server.http.cookies import cookie_visitor, set_cookie
from server.http.cors import Cors
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, Reply, json_reply, reply_to
from server.ingest.collector import Collector
from server.ingest.tracking import tracked
from server.ingest.webhooks.routes import webhooks


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
        configs: Folder of the declarations, or the declarations.
        store: URL of the store, or the store.
        clock_ms: The time, in milliseconds UTC.
        watch: Take changed declarations within a second.
        rate_limit: Requests a second that each key may make.

    Raises:
        DeclarationError: A declaration is wrong; nothing is served.
        StoreError: The store cannot be opened.
    """
    opened = open_store(store) if isinstance(store, str) else store
    signer = Signer(opened.secret("signing", os.urandom(32).hex()))
    declarations = Declarations(configs, opened, clock_ms)
    if watch:
        declarations.watch()
    parts = Parts(opened, declarations, Keyring(opened, per_second=rate_limit), Counts(declarations), clock_ms)
    app = Flask("crosslift", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _problem)
    _add_shop_routes(app, parts)
    _add_status_routes(app, parts)
    app.register_blueprint(tracked(opened, declarations, parts.keyring, parts.counts, clock_ms))
    app.register_blueprint(webhooks(opened, declarations, parts.counts, clock_ms))
    app.extensions["crosslift"] = declarations
    assignments = Assignments(declarations, opened, signer, clock_ms)
    collector = Collector(declarations, opened, signer, clock_ms)
    app.register_blueprint(script_route())
    app.register_blueprint(ofrep_routes(declarations, assignments, parts.keyring, parts.counts, clock_ms))
    hot = HotPath(app.wsgi_app, parts.keyring, assignments, collector, parts.counts, clock_ms)
    app.wsgi_app = Cors(hot, declarations)  # type: ignore[method-assign]
    return app


@dataclass(frozen=True)
class Parts:
    """What the routes answer with."""

    store: Store
    declarations: Declarations
    keyring: Keyring
    counts: Counts
    clock_ms: Callable[[], int]


def _add_shop_routes(app: Flask, parts: Parts) -> None:
    """Add what storefronts and shops call besides the hot routes; all of it wants a key."""

    @app.post("/v1/identify")
    def post_identify() -> Response:
        """{visitor_id?, customer_id, company_id?} -> {visitor_id, customer_id}: the unit from now on; any key."""
        authorise(request.environ, parts.keyring)
        body = read_body(IdentifyBody, request.get_data())
        kept = cookie_visitor(request.environ)
        visitor_id = body.visitor_id or kept or mint_visitor_id(parts.clock_ms())
        unit_id = parts.store.identify(visitor_id, body.customer_id, body.company_id, parts.clock_ms())
        answer = {"visitor_id": unit_id, "customer_id": body.customer_id}
        return _json(answer, () if unit_id == kept else (("Set-Cookie", set_cookie(unit_id)),))

    @app.get("/v1/explain")
    def get_explain() -> Response:
        """?experiment=KEY&visitor_id=ID&context=JSON -> each step of the assignment, and its outcome; secret key."""
        if authorise(request.environ, parts.keyring) != "secret":
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
    """Build the app of a worker process, from CROSSLIFT_CONFIGS and CROSSLIFT_STORE; the worker ends with its server."""
    threading.Thread(target=_end_with, args=(os.getppid(),), name="crosslift-parent", daemon=True).start()
    rate = float(os.environ.get("CROSSLIFT_RATE_LIMIT") or 0) or None
    app = create_app(os.environ["CROSSLIFT_CONFIGS"], os.environ["CROSSLIFT_STORE"], watch=True, rate_limit=rate)
    gc.freeze()  # what stands now stays: collecting it again for every few requests costs them dear
    gc.set_threshold(20_000, 20, 20)
    return app


def _end_with(parent: int) -> None:
    """End this process when its parent has been killed, or a new server would find the port taken."""
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(1)


def _json(value: dict[str, Any], headers: Sequence[tuple[str, str]] = ()) -> Response:
    return _response(json_reply(value, headers=headers))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers)


def _problem(error: Exception) -> Response:
    return _response(reply_to(error))


def _http_problem(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown addresses, methods, bodies that are too long."""
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    if error.code in (404, 405):
        wanted = "an address and method of docs/http.md"
        return _problem(
            Problem(error.code, f"found {request.method} {request.path[:100]}; wanted {wanted}", headers=headers)
        )
    if error.code == 413:
        return _problem(too_long())
    return _problem(Problem(error.code or 500, error.description or error.name, headers=headers))
