"""What the browser snippet loads: the script itself, and one call for each page."""

import gzip
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags

from experiments.assignment.draw import Assignment
from server.assign.declarations import Live
from server.assign.prepared import PreparedExperiment
from server.assign.service import Assigned

SCRIPT = Path(__file__).parents[2] / "storefront" / "crosslift.js"


def arrange_page(assigned: Assigned) -> Assigned:
    """
    Return each place on the page to the assignment that owns it: previews first, then what the visitor takes part in.

    A visitor who is in one experiment of a layer is shown nothing of the layer's others, not even their controls: a control
    without an offer would not be a control. With a preview nobody is exposed, since what is shown is not what was assigned.
    """
    live = assigned.live
    ranks = {key: _RANKS.get(assignment.reason, 0) for key, assignment in assigned.assignments.items()}
    leading: dict[str, int] = {}
    for key, rank in ranks.items():
        place = _place(live, key)
        leading[place] = max(rank, leading.get(place, 0))
    shown = {
        key: Assignment(assignment.variant, "none", None, assignment.reason)
        if assignment.reason in ("layer", "assigned") and ranks[key] < leading[_place(live, key)]
        else assignment
        for key, assignment in assigned.assignments.items()
    }
    has_preview = _RANKS["preview"] in ranks.values()
    return replace(assigned, assignments=shown, claims={} if has_preview else assigned.claims)


def page_values(assigned: Assigned, answers: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """
    Return the answer of `POST /v1/page`: assignments in the order of their rank, and what a page needs to show them.

    That includes the server's time, since browsers' clocks are often wrong.
    """
    shop, assignments = assigned.live.configs.shop, assigned.assignments
    ranked = [key for key, assignment in assignments.items() if assignment.reason in _RANKS]
    ranked.sort(key=lambda key: _RANKS[assignments[key].reason], reverse=True)
    return {
        "visitor_id": assigned.visitor_id,
        "assignments": {key: answers[key] for key in ranked} | answers,
        "now_ms": now_ms,
        "currency": shop.currency,
        "platform": shop.platform,
    }


PAGE = PreparedExperiment.page_values
_RANKS = {"preview": 2, "assigned": 1}


def _place(live: Live, key: str) -> str:
    """Return what an experiment shares with others of its layer: the key of one place on the page."""
    experiment = live.configs.experiments[key]
    return f"layer {experiment.layer.name}" if experiment.layer else f"experiment {key}"


def integrity(script: bytes) -> str:
    """Return the script's hash for an `integrity` attribute."""
    return f"sha384-{b64encode(sha384(script).digest()).decode()}"


def script_route() -> Blueprint:
    """Return the route of the script; it needs no key."""
    routes = Blueprint("snippet", __name__)
    script = SCRIPT.read_bytes()
    compressed = gzip.compress(script, 9, mtime=0)
    etag = sha256(script).hexdigest()[:32]
    headers = {
        "Access-Control-Allow-Origin": "*",  # an integrity attribute needs it; the script is public
        "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": f'W/"{etag}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    @routes.get("/crosslift.js")
    def get_script() -> Response:
        """Return the script, compressed where the browser accepts that, or 304."""
        if parse_etags(request.headers.get("If-None-Match")).contains_weak(etag):
            return Response(None, 304, headers)
        if request.accept_encodings["gzip"] > 0:
            return Response(
                compressed,
                headers=headers | {"Content-Encoding": "gzip"},
                content_type="text/javascript; charset=utf-8",
            )
        return Response(script, headers=headers, content_type="text/javascript; charset=utf-8")

    return routes
