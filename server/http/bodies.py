"""The bodies that clients send: read from the socket, and validated with a bound on every dimension."""

from collections.abc import Mapping
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
    context: Context = Field(default_factory=dict)  # pydantic copies a literal {} deeply for every request
    experiments: Annotated[list[Id], Field(max_length=100)] | None = None
    expose: bool = False
    preview: Annotated[str, Field(max_length=2000)] | None = None


class PageBody(BaseModel):
    """`POST /v1/page`."""

    model_config = ConfigDict(extra="forbid")

    visitor_id: Id | None = None
    context: Context = Field(default_factory=dict)
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
    """An exposure that carries the token of its assignment; other fields must agree with the token."""

    model_config = ConfigDict(extra="forbid")

    exposure_token: Annotated[str, Field(max_length=2000)]
    experiment: Id | None = None
    variant: Id | None = None
    unit_id: Id | None = None
    exposed_at_ms: Milliseconds | None = None
    attributes: Context = Field(default_factory=dict)


class DerivedExposure(BaseModel):
    """An exposure without a token; the server computes its variant again."""

    model_config = ConfigDict(extra="forbid")

    experiment: Id
    unit_id: Id
    variant: Id | None = None
    context: Context = Field(default_factory=dict)
    exposed_at_ms: Milliseconds | None = None
    attributes: Context = Field(default_factory=dict)


def read_content(environ: Mapping[str, Any]) -> bytes:
    """
    Read the body of a WSGI request.

    Raises:
        Problem: 413 for a body that is too long, 400 for one that ends early.
    """
    header = environ.get("CONTENT_LENGTH") or ""
    is_sized = header.isdecimal()  # otherwise it is sent in chunks
    length = int(header) if is_sized else MAX_BODY_BYTES + 1
    if is_sized and length > MAX_BODY_BYTES:
        raise body_too_long()
    content: bytes = environ["wsgi.input"].read(length)
    if len(content) > MAX_BODY_BYTES:
        raise body_too_long()
    if is_sized and len(content) < length:
        raise Problem(400, f"body: must be {length:,} bytes, as Content-Length says, got {len(content):,}")
    return content


def body_too_long(max_bytes: int = MAX_BODY_BYTES) -> Problem:
    """Return the refusal of a body that is too long."""
    return Problem(413, f"body: must be at most {max_bytes:,} bytes, got more; send it in smaller parts")


def read_body(model: type[Body], content: bytes) -> Body:
    """
    Parse and validate a JSON body.

    Raises:
        Problem: 400 for a body that is not JSON, or not of the model's shape.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"body: must be a JSON object, got text that is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise Problem(400, "body: must be a JSON object, got other JSON")
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        errors = [sentence(details) for details in invalid.errors(include_url=False)[:20]]
        raise Problem(400, "; ".join(errors[:3]), errors) from None
