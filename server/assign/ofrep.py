"""
OFREP 0.3.0, so that every OpenFeature SDK is a client: an experiment is a flag, its variant the variant, its value the offer.

What the real clients need beyond the protocol: always a variant and a value, flat metadata, and an ETag of the body itself.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson
from flask import Blueprint, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_etags

from experiments.assignment.draw import Assignment
from experiments.assignment.holdout import HELD_OUT
from experiments.assignment.offers import Viewing
from experiments.assignment.tokens import LIFETIME_S
from experiments.refusals import describe, sentence
from server.assign.declarations import Declarations
from server.assign.prepared import Served
from server.assign.service import Answer, Assignments
from server.http.bodies import AssignmentsBody
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, json_reply, reply_to

REASONS = {
    "assigned": "SPLIT",
    "ended": "STATIC",
    "paused": "DISABLED",
    "audience": "TARGETING_MATCH",
    "layer": "TARGETING_MATCH",
    "traffic": "TARGETING_MATCH",
    "holdout": "TARGETING_MATCH",
    "fault": "UNKNOWN",
}


class Refusal(Problem):
    """A request that OFREP answers with one of its error codes."""

    def __init__(self, code: str, details: str, status: int = 400) -> None:
        super().__init__(status, details)
        self.code = code


def ofrep_routes(
    declarations: Declarations, assignments: Assignments, keyring: Keyring, counts: Counts, clock_ms: Callable[[], int]
) -> Blueprint:
    """Give OFREP's two routes; any key."""
    routes = Blueprint("ofrep", __name__, url_prefix="/ofrep/v1/evaluate/flags")
    routes.register_error_handler(Exception, _refused)

    def evaluated(keys: Sequence[str] | None = None) -> Answer:
        body = _read(request.get_data(), keys)
        answer = assignments.answer(body, str(body.visitor_id), signed_s=_start_of_tomorrow_s(clock_ms()))
        counts.assigned(answer.reasons())
        return answer

    @routes.post("/<key>")
    def post_flag(key: str) -> Response:
        """{context: {targetingKey, ...}} -> {key, reason, variant, value, metadata}."""
        authorise(request.environ, keyring)
        experiment = declarations.live.configs.experiments.get(key)
        if experiment is None or experiment.status == "draft":
            raise Refusal("FLAG_NOT_FOUND", f"key: found {describe(key)}; wanted an experiment that is served", 404)
        answer = evaluated([key])
        return _json(answer.shown(_flag)[key], 400 if answer.given[key].reason == "no_unit" else 200)

    @routes.post("")
    def post_flags() -> Response:
        """{context: {targetingKey, ...}} -> {flags: [...]}, or 304 where If-None-Match names what stands."""
        authorise(request.environ, keyring)
        reply = json_reply({"flags": list(evaluated().shown(_flag).values())})
        etag = sha256(reply.body).hexdigest()[:32]
        headers = [*reply.headers, ("ETag", f'"{etag}"')]
        if parse_etags(request.headers.get("If-None-Match")).contains_weak(etag):
            return Response(None, 304, [("ETag", f'"{etag}"'), ("Cache-Control", "no-store")])
        return Response(reply.body, 200, headers)

    return routes


def _start_of_tomorrow_s(now_ms: int) -> int:
    """Give the time that tokens are signed at: the same all day, since another token would be another body and ETag."""
    return (now_ms // 1000 // LIFETIME_S + 1) * LIFETIME_S


def _read(content: bytes, keys: Sequence[str] | None) -> AssignmentsBody:
    """
    Read a request's context; what else a body may hold is left to later versions of the protocol.

    Raises:
        Refusal: PARSE_ERROR, TARGETING_KEY_MISSING or INVALID_CONTEXT.
    """
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refusal("PARSE_ERROR", f"body: found text that is not JSON ({error}); wanted a JSON object") from None
    if not isinstance(body, dict):
        raise Refusal("PARSE_ERROR", "body: found JSON that is not an object; wanted a JSON object")
    context = body.get("context", {})
    if not isinstance(context, dict):
        raise Refusal("INVALID_CONTEXT", f"context: found {describe(context)}; wanted an object")
    visitor_id = context.get("targetingKey")
    if visitor_id is None or (isinstance(visitor_id, str) and not visitor_id.strip()):
        raise Refusal("TARGETING_KEY_MISSING", "context.targetingKey: found nothing; wanted the visitor's id")
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    try:
        return AssignmentsBody.model_validate({"visitor_id": visitor_id, "context": attributes, "experiments": keys})
    except ValidationError as invalid:
        told = "; ".join(sentence(details) for details in invalid.errors(include_url=False)[:3])
        raise Refusal("INVALID_CONTEXT", told.replace("visitor_id: ", "context.targetingKey: ")) from None


def _flag(served: Served, given: Assignment, token: str | None, viewing: Viewing) -> dict[str, Any]:
    """Give an assignment as a flag; who is not in the experiment gets the control's, as the shop shows it."""
    experiment, reason = served.experiment, given.reason
    if reason == "no_unit":
        details = (
            f"context.{experiment.unit}: found nothing that can be used; wanted the id that {experiment.key} assigns"
        )
        return {"key": experiment.key, "errorCode": "INVALID_CONTEXT", "errorDetails": details}
    otherwise, one = HELD_OUT if reason == "holdout" else experiment.control, served.shown(given, token, viewing)
    metadata = {name: one[name] for name in ("placement", "reason", "epoch", "exposure_token") if one[name] is not None}
    return {
        "key": experiment.key,
        "reason": REASONS[reason],
        "variant": one["variant"] or otherwise,
        "value": one["offer"] or {},
        "metadata": metadata,
    }


def _refused(error: Exception) -> Response:
    """Answer an error as OFREP does: with a code, details and, for one flag, its key."""
    if isinstance(error, HTTPException):
        error = Problem(error.code or 500, error.description or error.name)
    reply = reply_to(error)
    code = error.code if isinstance(error, Refusal) else "GENERAL"
    flag = (request.view_args or {}).get("key")
    shown = {"errorCode": code, "errorDetails": orjson.loads(reply.body)["detail"]}
    headers = error.headers.items() if isinstance(error, Problem) else ()
    return _json(shown if flag is None else {"key": flag} | shown, reply.status, tuple(headers))


def _json(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    reply = json_reply(value, status, headers)
    return Response(reply.body, reply.status, reply.headers)
