"""The pages of the dashboard: each shows the newest snapshots, and waits for nothing."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Flask, Response, abort, render_template, request
from jinja2 import StrictUndefined
from markupsafe import Markup

from analysis.dashboard import messages
from analysis.dashboard.access import add_access
from analysis.dashboard.background import Background
from analysis.render.html import TEMPLATES
from events.stores.open_store import open_store
from experiments.assignment.tokens import Signer
from experiments.plurals import plural

PREVIEW_S = 86_400
PREVIEW = "crosslift_preview"  # the parameter that the storefront reads


def create_dashboard(background: Background, token: str, signer: Signer) -> Flask:
    """
    Build the app.

    Args:
        background: The snapshots; the caller starts and stops it.
        token: Opens a session.
        signer: Signs preview links; the public server verifies them.
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
    """Return the signer of the servers that share a store."""
    with closing(open_store(store_url)) as store:
        return Signer(store.secret("signing", os.urandom(32).hex()))


def _add_pages(app: Flask, background: Background) -> None:
    @app.get("/")
    def get_list() -> str:
        """List the experiments: status, traffic, health and verdict at a glance."""
        return render_template("dashboard/list.html", background=background)

    @app.get("/experiments/<key>")
    def get_experiment(key: str) -> str:
        """The newest report of an experiment."""
        _require_known(background, key)
        snapshot = background.snapshots.get(key)
        body = Markup(snapshot.body) if snapshot else None  # noqa: S704  rendered and escaped by analysis.render.html
        values: dict[str, Any] = {
            "key": key,
            "snapshot": snapshot,
            "body": body,
            "is_behind": background.is_behind(key),
        }
        return render_template("dashboard/experiment.html", background=background, **values)

    @app.get("/experiments/<key>/declaration")
    def get_declaration(key: str) -> str:
        """The declaration as it is in the folder, and its epochs with what changed."""
        _require_known(background, key)
        snapshot = background.snapshots.get(key)
        return render_template("dashboard/declaration.html", key=key, snapshot=snapshot, background=background)

    @app.get("/quality")
    def get_quality() -> str:
        """How data arrive."""
        return render_template("dashboard/quality.html", background=background)


def _add_previews(app: Flask, background: Background, signer: Signer) -> None:
    @app.get("/experiments/<key>/previews")
    def get_previews(key: str) -> str:
        """?url=ADDRESS of a page of the shop -> a signed link for each variant."""
        _require_known(background, key)
        snapshot, address = background.snapshots.get(key), request.args.get("url", "").strip()
        parts = urlsplit(address) if address.isprintable() else urlsplit("")
        is_usable = parts.scheme in ("http", "https") and bool(parts.netloc)
        links = _preview_links(parts, key, snapshot.variants, signer) if is_usable and snapshot else {}
        fault = messages.PREVIEW_ADDRESS if address and not is_usable else ""
        values: dict[str, Any] = {"key": key, "address": address, "fault": fault, "links": links}
        return render_template("dashboard/previews.html", background=background, **values)


def _preview_links(page: SplitResult, key: str, variants: Sequence[str], signer: Signer) -> dict[str, str]:
    """Return a signed link to a page of the shop for each variant."""
    expires_s = int(time.time()) + PREVIEW_S
    query = [(name, value) for name, value in parse_qsl(page.query, keep_blank_values=True) if name != PREVIEW]
    tokens = {variant: signer.sign_preview(key, variant, expires_s) for variant in variants}
    return {
        variant: urlunsplit(page._replace(query=urlencode([*query, (PREVIEW, token)])))
        for variant, token in tokens.items()
    }


def _add_files(app: Flask, background: Background) -> None:
    style = _text("report.css") + _text("dashboard/dashboard.css")
    script = _text("dashboard/live.js")

    @app.get("/style.css")
    def get_style() -> Response:
        """The style sheet."""
        return Response(style, mimetype="text/css", headers={"Cache-Control": "no-cache"})

    @app.get("/live.js")
    def get_script() -> Response:
        """The script that replaces a page by a newer one."""
        return Response(script, mimetype="text/javascript", headers={"Cache-Control": "no-cache"})

    @app.get("/version")
    def get_version() -> Response:
        """A text that differs once any snapshot has changed."""
        return Response(str(background.version), mimetype="text/plain")

    @app.get("/healthz")
    def get_health() -> Response:
        """200 while the process runs."""
        return Response('{"status": "ok"}', mimetype="application/json")


def _require_known(background: Background, key: str) -> None:
    if background.version and key not in background.experiments:
        abort(404)


def _text(name: str) -> str:
    return (Path(TEMPLATES) / name).read_text(encoding="utf-8")


def _age(ms: int) -> str:
    """Write how long ago a time was."""
    seconds = max(0, int(time.time() - ms / 1000))
    days = seconds // 86_400
    if days:
        return f"{days:,} {plural(days, 'day', 'days')} ago"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _moment(ms: int) -> str:
    """Write a time to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ms / 1000))


def serve(app: Flask, port: int, on_start: Callable[[int], None]) -> None:
    """Serve the app on the loopback address only, until interrupted; call `on_start` with the port."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing: the reader of the pages is the reader of the terminal."""

    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler)
    on_start(server.server_port)
    server.serve_forever()
