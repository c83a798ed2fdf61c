"""Who the visitor of a request is: the id in its body, in the first-party cookie, or a new one."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.http import dump_cookie, parse_cookie

from server.http.problems import Headers

COOKIE = "crosslift_visitor"
COOKIE_S = 400 * 86_400  # the longest that browsers keep a cookie

_VISITOR_ID = re.compile(r"[\x21-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """
    The visitor of a request.

    Attributes:
        visitor_id: As the request or its cookie names it, or a new one.
        headers: Of the response: a cookie for a new id.
    """

    visitor_id: str
    headers: Headers = ()


def read_visitor(environ: Mapping[str, Any], sent_id: str | None, now_ms: int) -> Visitor:
    """Return the visitor that a request names, or mint one."""
    known_id = sent_id or cookie_visitor(environ)
    if known_id:
        return Visitor(known_id)
    minted_id = mint_visitor_id(now_ms)
    return Visitor(minted_id, (("Set-Cookie", set_cookie(minted_id)),))


def mint_visitor_id(at_ms: int) -> str:
    """
    Return a new visitor id: 48 bits of time, then 80 random bits.

    It sorts by time, so a store appends it to its indexes instead of scattering it over them.
    """
    return f"{at_ms:012x}{secrets.token_hex(10)}"


def cookie_visitor(environ: Mapping[str, Any]) -> str | None:
    """Return the visitor id in a request's cookie."""
    header = environ.get("HTTP_COOKIE")
    value = parse_cookie(header).get(COOKIE, "") if header else ""
    return value if _VISITOR_ID.fullmatch(value) else None


def set_cookie(visitor_id: str) -> str:
    """
    Return the value of a Set-Cookie header.

    Only the server sets it: some browsers delete a cookie set by a script after a week.
    """
    return dump_cookie(
        COOKIE, visitor_id, max_age=COOKIE_S, secure=True, samesite="Lax", httponly=True, path="/", sync_expires=True
    )
