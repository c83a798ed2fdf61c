"""The bodies that clients send, bounded in every direction."""

from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.records import Id, Milliseconds, ShortText
from experiments.refusals import sentence
from server.http.problems import Problem

MAX_BODY_BYTES = 1 << 20
MAX_EVENTS = 1000

Body = TypeVar("Body", bound=BaseModel)
Context = Annotated[dict[ShortText, Any], Field(max_length=50)]


class AssignmentsBody(BaseModel):
    """`POST /v1/assignments`."""

    model_config = ConfigDict(extra="forbid")

    visitor_id: Id | None = None
    context: Context = Field(default_factory=dict)  # a literal {} would be copied deeply each time
    experiments: Annotated[list[Id], Field(max_length=100)] | None = None
    expose: bool = False
    preview: Annotated[str, Field(max_length=2000)] | None = None


class PageBody(BaseModel):
    """`POST /v1/page`."""

    model_config = ConfigDict(extra="forbid")

    visitor_id: Id | None = None
    context: Context = Field(default_factory=dict)  # a literal {} would be copied deeply each time
    preview: Annotated[str, Field(max_length=2000)] | None = None


class IdentifyBody(BaseModel):
    """`POST /v1/identify`."""

    model_config = ConfigDict(extra="forbid")

    visitor_id: Id | None = None
    customer_id: Id
    company_id: Id | None = None


class EventsBody(BaseModel):
    """`POST /v1/events`."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_EVENTS)]


class TokenExposure(BaseModel):
    """An exposure that carries the token of its assignment; what it names besides must agree with the token."""

    model_config = ConfigDict(extra="forbid")

    exposure_token: Annotated[str, Field(max_length=2000)]
    experiment: Id | None = None
    variant: Id | None = None
    unit_id: Id | None = None
    exposed_at_ms: Milliseconds | None = None
    attributes: Context = Field(default_factory=dict)  # a literal {} would be copied deeply each time


class DerivedExposure(BaseModel):
    """An exposure without a token; the server derives its variant afresh."""

    model_config = ConfigDict(extra="forbid")

    experiment: Id
    unit_id: Id
    variant: Id | None = None
    context: Context = Field(default_factory=dict)  # a literal {} would be copied deeply each time
    exposed_at_ms: Milliseconds | None = None
    attributes: Context = Field(default_factory=dict)  # a literal {} would be copied deeply each time


def read_body(model: type[Body], content: bytes) -> Body:
    """
    Read a JSON body.

    Raises:
        Problem: 400 for what is not the JSON that is wanted.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"body: found text that is not JSON ({error}); wanted a JSON object") from None
    if not isinstance(value, dict):
        raise Problem(400, "body: found JSON that is not an object; wanted a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        errors = [sentence(details) for details in invalid.errors(include_url=False)[:20]]
        raise Problem(400, "; ".join(errors[:3]), errors) from None
