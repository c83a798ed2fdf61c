"""`GET /v1/explain`: why a visitor gets an assignment, step by step."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from experiments.assignment.draw import explain, unit_of
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Live
from server.http.problems import Problem


def explain_request(live: Live, query: Mapping[str, str]) -> dict[str, Any]:
    """
    Return each step of an assignment, and its outcome.

    Args:
        live: The live declarations.
        query: `experiment`, `visitor_id` and, as JSON text, `context`.

    Raises:
        Problem: 400 for a faulty query, 404 for an experiment that is not declared.
    """
    try:
        context = orjson.loads(query.get("context", "{}"))
    except orjson.JSONDecodeError:
        context = None
    if not isinstance(context, dict):
        raise Problem(400, 'context: must be a JSON object such as {"device": "mobile"}, got other text')
    experiment = live.configs.experiments.get(query.get("experiment", ""))
    if experiment is None:
        known = ", ".join(live.configs.experiments)
        raise Problem(404, f"experiment: must be one of {known}, got {describe(query.get('experiment'))}")
    try:
        unit_id = unit_of(experiment, query.get("visitor_id"), context)
    except RequestError as error:
        raise Problem(400, str(error)) from None
    steps, outcome = explain(experiment, unit_id, context, holdout=live.configs.shop.holdout)
    return {
        "experiment": experiment.key,
        "unit_id": unit_id,
        "epoch": live.epochs.get(experiment.key),
        "variant": outcome.variant,
        "placement": outcome.placement,
        "reason": outcome.reason,
        "steps": [asdict(step) for step in steps],
    }
