"""What the browser snippet asks: the script itself, and one bulk call for each page."""

import gzip
from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags

from experiments.assignment.draw import Assignment
from server.assign.declarations import Live
from server.assign.prepared import Served
from server.assign.service import Answer

SCRIPT = Path(__file__).parents[2] / "storefront" / "crosslift.js"


def page_answer(answer: Answer, now_ms: int) -> dict[str, Any]:
    """
    Give what `POST /v1/assignments` gives, and beside it what a page needs to show it.

    That is the trigger and the unit of each experiment, the price of each bundle, the shop's currency and platform, and the
    server's time, since browsers' clocks are often wrong.

    Each place on the page is given to whom it belongs: previews come first, then what the visitor takes part in, then the rest.
    Who is in one experiment of a layer is shown nothing of the layer's others, not even their controls: a control without an
    offer would not be one. Beside a preview nothing can be exposed, since what is seen is not what was assigned.
    """
    live, given = answer.asking.live, answer.given
    ranks = {key: _RANKS.get(one.reason, 0) for key, one in given.items()}
    leading: dict[str, int] = {}
    for key, rank in ranks.items():
        layer = _layer(live, key)
        leading[layer] = max(rank, leading.get(layer, 0))
    answer.exposable = _RANKS["preview"] not in ranks.values()
    for key, one in given.items():
        if one.reason in ("layer", "assigned") and ranks[key] < leading[_layer(live, key)]:
            given[key] = Assignment(one.variant, "none", None, one.reason)
    first = sorted((key for key, rank in ranks.items() if rank), key=ranks.__getitem__, reverse=True)
    shop, shown = live.configs.shop, answer.shown(Served.shown_on_page)
    return {
        "visitor_id": answer.asking.visitor_id,
        "assignments": {key: shown[key] for key in first} | shown,
        "now_ms": now_ms,
        "currency": shop.currency,
        "platform": shop.platform,
    }


_RANKS = {"preview": 2, "assigned": 1}


def _layer(live: Live, key: str) -> str:
    experiment = live.configs.experiments[key]
    return f"layer {experiment.layer.name}" if experiment.layer else f"experiment {key}"


def integrity(script: bytes) -> str:
    """Give the script's hash as an `integrity` attribute wants it."""
    return f"sha384-{b64encode(sha384(script).digest()).decode()}"


def script_route() -> Blueprint:
    """Give the route of the script; no key."""
    routes = Blueprint("snippet", __name__)
    script = SCRIPT.read_bytes()
    packed = gzip.compress(script, 9, mtime=0)
    etag = sha256(script).hexdigest()[:32]
    headers = {
        "Access-Control-Allow-Origin": "*",  # an integrity attribute asks for it, and nothing in it is anybody's own
        "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": f'W/"{etag}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    @routes.get("/crosslift.js")
    def get_script() -> Response:
        """Give the script, packed where the browser takes that, or 304."""
        if parse_etags(request.headers.get("If-None-Match")).contains_weak(etag):
            return Response(None, 304, headers)
        if request.accept_encodings["gzip"] > 0:
            return Response(
                packed, headers=headers | {"Content-Encoding": "gzip"}, content_type="text/javascript; charset=utf-8"
            )
        return Response(script, headers=headers, content_type="text/javascript; charset=utf-8")

    return routes
