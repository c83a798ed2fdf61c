"""The first-party cookie of a visitor; only the server sets it, since script-set ones live a week in some browsers."""

import re
from collections.abc import Mapping
from typing import Any

from werkzeug.http import dump_cookie, parse_cookie

COOKIE = "crosslift_visitor"
COOKIE_S = 400 * 86_400  # the longest that browsers keep one


def cookie_visitor(environ: Mapping[str, Any]) -> str | None:
    """Give the visitor id of a request's cookie."""
    sent = environ.get("HTTP_COOKIE")
    value = parse_cookie(sent).get(COOKIE, "") if sent else ""
    return value if re.fullmatch(r"[\x21-\x7e]{1,256}", value) else None


def set_cookie(visitor_id: str) -> str:
    """Give the value of a Set-Cookie header."""
    return dump_cookie(
        COOKIE, visitor_id, max_age=COOKIE_S, secure=True, samesite="Lax", httponly=True, path="/", sync_expires=True
    )
