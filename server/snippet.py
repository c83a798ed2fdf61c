"""What the browser snippet asks: the script itself, and one bulk call for each page."""

import gzip
from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags

from experiments.offers import price_bundle
from server.assignments import Assignments
from server.live import Live
from server.requests import AssignmentsBody, PageBody

SCRIPT = Path(__file__).parent.parent / "storefront" / "crosslift.js"


def page_answer(live: Live, assignments: Assignments, body: PageBody, visitor_id: str, now_ms: int) -> dict[str, Any]:
    """
    Give what `POST /v1/assignments` gives, and beside it what a page needs to show it.

    That is the trigger and the unit of each experiment, the price of each bundle, the shop's currency and platform, and the
    server's time, since browsers' clocks are often wrong.
    """
    asked = AssignmentsBody.model_construct(context=body.context, preview=body.preview)
    answer = assignments.answer(asked, visitor_id)
    shop, products = live.configs.shop, live.configs.products
    for key, one in answer["assignments"].items():
        experiment = live.configs.experiments.get(key)
        one["trigger"] = None if experiment is None else experiment.trigger
        one["unit"] = None if experiment is None else experiment.unit
        if one["offer"] is not None and one["offer"]["kind"] == "bundle":
            one["bundle"] = price_bundle(one["offer"], products, body.context, shop.currency)
    return answer | {"now_ms": now_ms, "currency": shop.currency, "platform": shop.platform}


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
