"""From what a client sent to an Inject: the same rules for REST and WebSocket."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organism.messages import Inject
from organism.payloads import PayloadType
from organism.schema import xml_to_json
from serve_app.error_handlers import readable
from serve_app.errors import BodyTooLarge, InvalidRequest, MalformedBody
from serve_app.live import Live
from serve_app.payload_classes import PayloadClasses

Text = Annotated[str, Field(min_length=1, max_length=200)]


class NewMessage(BaseModel):
    """What a client may choose of a message."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"to": "greeter", "payload": {"name": "Dan"}}]},
    )

    to: Text = Field(description="the agent's name")
    payload: dict[str, Any] = Field(description="fits the agent's payload class: GET /agents/{name}/schema")
    thread_id: Text | None = Field(default=None, description="an existing thread; left out: a new one")


def parse_object(content: str | bytes) -> dict[str, Any]:
    """A JSON object, with integers of any size and without NaN and infinity.

    Raises:
        MalformedBody: it is something else.
    """
    try:
        value = pydantic_core.from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedBody(f"no valid JSON, {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody(f"a JSON object is needed, this is {_json_name(value)}")
    return value


def _json_name(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def parse_message(fields: dict[str, Any]) -> NewMessage:
    """Raises: InvalidRequest."""
    try:
        return NewMessage.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(readable(error.errors(include_url=False))) from None


def inject_of(message: NewMessage, classes: PayloadClasses, live: Live) -> Inject:
    """Without its owner. Raises: AgentNotFound, InvalidPayload, BodyTooLarge."""
    payload_type = classes.of(message.to)
    return _checked(pydantic_core.to_json(message.payload), message.to, message.thread_id, payload_type, live)


def inject_of_xml(body: bytes, to: str, thread_id: str | None, classes: PayloadClasses, live: Live) -> Inject:
    """Without its owner. Raises: AgentNotFound, InvalidPayload, BodyTooLarge."""
    payload_type = classes.of(to)
    content = xml_to_json(body, payload_type, live.limits.max_body_bytes)
    return _checked(content, to, thread_id, payload_type, live)


def _checked(content: bytes, to: str, thread_id: str | None, payload_type: PayloadType, live: Live) -> Inject:
    payload = payload_type.to_json(payload_type.from_json(content))
    if len(payload) > live.limits.max_payload_bytes:
        raise BodyTooLarge("payload", live.limits.max_payload_bytes, "limits.max_payload_bytes")
    return Inject(to, payload_type.name, payload, thread_id)
