"""
OFREP 0.3.0, the protocol of OpenFeature's SDKs: an experiment is a flag, its variant the variant, its value the offer.

Real clients need more than the protocol says: always a variant and a value, flat metadata, and an ETag of the body itself.
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
from server.assign.prepared import PreparedExperiment
from server.assign.service import Assigned, AssignmentService
from server.http.bodies import AssignmentsBody
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, error_reply, json_reply, json_response

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
    declarations: Declarations,
    service: AssignmentService,
    keyring: Keyring,
    counts: Counts,
    clock_ms: Callable[[], int],
) -> Blueprint:
    """Return OFREP's two routes; any key."""
    routes = Blueprint("ofrep", __name__, url_prefix="/ofrep/v1/evaluate/flags")
    routes.register_error_handler(Exception, _refused)

    def evaluate(keys: Sequence[str] | None = None) -> tuple[Assigned, dict[str, Any]]:
        body = _read(request.get_data(), keys)
        assigned = service.assign(str(body.visitor_id), body)
        counts.count_assignments(assigned.reasons())
        return assigned, service.encode(assigned, _flag_values, signed_s=_start_of_tomorrow_s(clock_ms()))

    @routes.post("/<key>")
    def post_flag(key: str) -> Response:
        """{context: {targetingKey, ...}} -> {key, reason, variant, value, metadata}."""
        authorise(request.environ, keyring)
        experiment = declarations.live.configs.experiments.get(key)
        if experiment is None or experiment.status == "draft":
            raise Refusal("FLAG_NOT_FOUND", f"key: must be an experiment that is served, got {describe(key)}", 404)
        assigned, flags = evaluate([key])
        return json_response(flags[key], 400 if assigned.assignments[key].reason == "no_unit" else 200)

    @routes.post("")
    def post_flags() -> Response:
        """{context: {targetingKey, ...}} -> {flags: [...]}, or 304 where If-None-Match names the current flags."""
        authorise(request.environ, keyring)
        _, flags = evaluate()
        reply = json_reply({"flags": list(flags.values())})
        etag = sha256(reply.body).hexdigest()[:32]
        headers = [*reply.headers, ("ETag", f'"{etag}"')]
        if parse_etags(request.headers.get("If-None-Match")).contains_weak(etag):
            return Response(None, 304, [("ETag", f'"{etag}"'), ("Cache-Control", "no-store")])
        return Response(reply.body, 200, headers)

    return routes


def _start_of_tomorrow_s(now_ms: int) -> int:
    """Return the time that tokens are signed at: the same all day, since a new token would change the ETag."""
    return (now_ms // 1000 // LIFETIME_S + 1) * LIFETIME_S


def _read(content: bytes, keys: Sequence[str] | None) -> AssignmentsBody:
    """
    Read a request's context; other fields of the body are left to later versions of the protocol.

    Raises:
        Refusal: PARSE_ERROR, TARGETING_KEY_MISSING or INVALID_CONTEXT.
    """
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refusal("PARSE_ERROR", f"body: must be a JSON object, got text that is not JSON ({error})") from None
    if not isinstance(body, dict):
        raise Refusal("PARSE_ERROR", "body: must be a JSON object, got other JSON")
    context = body.get("context", {})
    if not isinstance(context, dict):
        raise Refusal("INVALID_CONTEXT", f"context: must be an object, got {describe(context)}")
    visitor_id = context.get("targetingKey")
    if visitor_id is None or (isinstance(visitor_id, str) and not visitor_id.strip()):
        raise Refusal("TARGETING_KEY_MISSING", "context.targetingKey: must be the visitor's id, got nothing")
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    try:
        return AssignmentsBody.model_validate({"visitor_id": visitor_id, "context": attributes, "experiments": keys})
    except ValidationError as invalid:
        faults = "; ".join(sentence(details) for details in invalid.errors(include_url=False)[:3])
        raise Refusal("INVALID_CONTEXT", faults.replace("visitor_id: ", "context.targetingKey: ")) from None


def _flag_values(
    prepared: PreparedExperiment, assignment: Assignment, token: str | None, viewing: Viewing
) -> dict[str, Any]:
    """Return an assignment as a flag; a unit outside the experiment gets the control, as the shop shows it."""
    experiment, reason = prepared.experiment, assignment.reason
    if reason == "no_unit":
        details = f"context.{experiment.unit}: must be the id that {experiment.key} assigns, got none that can be used"
        return {"key": experiment.key, "errorCode": "INVALID_CONTEXT", "errorDetails": details}
    default = HELD_OUT if reason == "holdout" else experiment.control
    values = prepared.assignment_values(assignment, token, viewing)
    names = ("placement", "reason", "epoch", "exposure_token")
    return {
        "key": experiment.key,
        "reason": REASONS[reason],
        "variant": values["variant"] or default,
        "value": values["offer"] or {},
        "metadata": {name: values[name] for name in names if values[name] is not None},
    }


def _refused(error: Exception) -> Response:
    """Return the response to an error: a code, details and, for a single flag, its key."""
    if isinstance(error, HTTPException):
        error = Problem(error.code or 500, error.description or error.name)
    reply = error_reply(error)
    code = error.code if isinstance(error, Refusal) else "GENERAL"
    flag = (request.view_args or {}).get("key")
    values = {"errorCode": code, "errorDetails": orjson.loads(reply.body)["detail"]}
    headers = error.headers.items() if isinstance(error, Problem) else ()
    return json_response(values if flag is None else {"key": flag} | values, reply.status, tuple(headers))
