"""The dashboard's pages: each shows what the background has worked out, and waits for nothing."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Flask, Response, abort, render_template, request
from jinja2 import StrictUndefined
from markupsafe import Markup

from analysis.dashboard.access import add_access
from analysis.dashboard.background import Background
from analysis.render import messages
from analysis.render.html import TEMPLATES
from events.stores.open_store import open_store
from experiments.assignment.tokens import Signer

PREVIEW_S = 86_400


def create_dashboard(background: Background, token: str, signer: Signer) -> Flask:
    """
    Build the app.

    Args:
        background: What it shows; the caller starts and stops it.
        token: What opens it.
        signer: Signs preview links, as the public server reads them.
    """
    app = Flask("crosslift-dashboard", static_folder=None, template_folder=str(TEMPLATES))
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.globals.update(say=messages, age=_age, moment=_moment)
    add_access(app, token)
    _add_pages(app, background)
    _add_previews(app, background, signer)
    _add_files(app, background)
    return app


def signer_of(store_url: str) -> Signer:
    """Give the signer that the server of the same store has."""
    with closing(open_store(store_url)) as store:
        return Signer(store.secret("signing", os.urandom(32).hex()))


def _add_pages(app: Flask, background: Background) -> None:
    @app.get("/")
    def get_list() -> str:
        """List the experiments: status, traffic, health and verdict at a glance."""
        return render_template("dashboard/list.html", found=background)

    @app.get("/experiments/<key>")
    def get_experiment(key: str) -> str:
        """One experiment's report, as it was last worked out."""
        _known(background, key)
        shown = background.shown.get(key)
        body = Markup(shown.body) if shown else None  # noqa: S704  rendered and escaped by analysis.render.html
        behind = background.is_behind(key)
        return render_template(
            "dashboard/experiment.html", key=key, shown=shown, body=body, behind=behind, found=background
        )

    @app.get("/experiments/<key>/declaration")
    def get_declaration(key: str) -> str:
        """The declaration as it stands, and its epochs with what changed."""
        _known(background, key)
        return render_template("dashboard/declaration.html", key=key, shown=background.shown.get(key), found=background)

    @app.get("/quality")
    def get_quality() -> str:
        """How the data are coming in."""
        return render_template("dashboard/quality.html", found=background)


def _add_previews(app: Flask, background: Background, signer: Signer) -> None:
    @app.get("/experiments/<key>/previews")
    def get_previews(key: str) -> str:
        """?url=ADDRESS of a page of the shop -> a signed link for each variant."""
        _known(background, key)
        shown, address = background.shown.get(key), request.args.get("url", "").strip()
        parts = urlsplit(address) if address.isprintable() else urlsplit("")
        usable = parts.scheme in ("http", "https") and bool(parts.netloc)
        fault = "" if usable or not address else "Wanted an address such as https://shop.example/products/kettle."
        links = {}
        if usable and shown:
            expires_s = int(time.time()) + PREVIEW_S
            tokens = {one: signer.sign_preview(key, one, expires_s) for one in shown.variants}
            query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "crosslift_preview"]
            links = {
                one: urlunsplit(parts._replace(query=urlencode([*query, ("crosslift_preview", mark)])))
                for one, mark in tokens.items()
            }
        values: dict[str, Any] = {"key": key, "address": address, "fault": fault, "links": links, "found": background}
        return render_template("dashboard/previews.html", **values)


def _add_files(app: Flask, background: Background) -> None:
    style = _text("report.css") + _text("dashboard/dashboard.css")
    script = _text("dashboard/live.js")

    @app.get("/style.css")
    def get_style() -> Response:
        """The pages' style."""
        return Response(style, mimetype="text/css", headers={"Cache-Control": "no-cache"})

    @app.get("/live.js")
    def get_script() -> Response:
        """Puts newer pages in the place of older ones."""
        return Response(script, mimetype="text/javascript", headers={"Cache-Control": "no-cache"})

    @app.get("/version")
    def get_version() -> Response:
        """A text that differs once anything shown has changed."""
        return Response(str(background.version), mimetype="text/plain")

    @app.get("/healthz")
    def get_health() -> Response:
        """200 while the process answers."""
        return Response('{"status": "ok"}', mimetype="application/json")


def _known(background: Background, key: str) -> None:
    if background.version and key not in background.known:
        abort(404)


def _text(name: str) -> str:
    return (Path(TEMPLATES) / name).read_text(encoding="utf-8")


def _age(ms: int) -> str:
    seconds = max(0, int(time.time() - ms / 1000))
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:,} {unit} ago"
    return f"{seconds} s ago"


def _moment(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ms / 1000))


def serve(app: Flask, port: int, ready: Callable[[int], None]) -> None:
    """Serve the app on this machine's loopback address only, until interrupted; `ready` is told the port."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing: whoever looks is the one who reads the terminal."""

    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
    ready(server.server_port)
    server.serve_forever()
