"""What clients may send to the routes of agent sessions. Fields that are not named here are ignored, as several
generations of clients send some, and so have no effect."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from starlette.requests import Request

from organism.errors import SessionNotFound
from organism.sessions.events import Content
from organism.sessions.records import Label, ModelChoice, NewSession, SessionChanges, SessionFilter
from serve_app.body import read_body
from serve_app.dependencies import Replica
from serve_app.errors import UnsupportedMediaType
from serve_app.injecting import parse_object
from serve_app.queries import Model, Position, validated

MAX_PATHS = 1000
"""Paths that one request may ask about."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def session_id_of(text: str) -> str:
    """`text`, where it may be the id of a session; storages never see anything else.

    Raises:
        SessionNotFound
    """
    if not _ID.fullmatch(text):
        raise SessionNotFound(text)
    return text


async def request_of(model: type[Model], request: Request, replica: Replica, *from_url: str) -> Model:
    """What the client sent: the fields of the JSON body, and those of `from_url` as query parameters, too.

    A page of another site can make a browser send a form or a text here, but no JSON. So a body of another type, or
    of none, is taken only when there is nothing in it, and a query parameter only where it does no harm.

    Raises:
        UnsupportedMediaType, MalformedBody, BodyTooLarge, InvalidRequest, SessionNotFound
    """
    given = request.query_params if request.scope["query_string"] else {}
    fields: dict[str, Any] = {name: given[name] for name in from_url if name in given}
    body = await read_body(request, replica.live.limits.max_body_bytes)
    if body:
        fields |= _fields_of(body, request.headers.get("content-type", ""))
    return validated(model, fields)


def _fields_of(body: bytes, content_type: str) -> dict[str, Any]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return parse_object(body) if body.strip() else {}
    if body.strip() in (b"", b"{}"):
        return {}
    raise UnsupportedMediaType(content_type, "application/json")


def _checked_content(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, dict) for part in value)):
        return value
    raise ValueError("must be a text, or a list of content parts such as {type: text, text}")


CONTENT_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
Question = Annotated[Content, BeforeValidator(_checked_content), WithJsonSchema(CONTENT_SCHEMA)]
SessionId = Annotated[str, AfterValidator(session_id_of), Field(description="of the session, as /create answered it")]


class _Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OfSession(_Request):
    session_id: SessionId


class ListSessions(_Request):
    limit: int = Field(default=1000, ge=1, le=1000, description="sessions in this page")
    offset: Position = Field(default=0, description="sessions to pass over first")
    tag: Label | None = Field(default=None, description="only sessions that have this tag")
    q: Label | None = Field(default=None, description="only sessions with this in their name, id or tags")

    def filter(self) -> SessionFilter:
        return SessionFilter(tag=self.tag, q=self.q or None)


class EventsOf(OfSession):
    after: Position = Field(default=0, description="only events behind this seq")
    limit: int | None = Field(default=None, ge=1, le=1_000_000, description="at most so many; left out: all")


class StreamOf(OfSession):
    after: Position | None = Field(default=None, description="replay stored events behind this seq first; 0: all")


class Labels(_Request):
    name: Label | None = None
    tags: tuple[Label, ...] | None = Field(default=None, max_length=100)


class Update(OfSession):
    """A field that is not sent stays as it was. `metadata` is the older form."""

    name: Label | None = None
    tags: tuple[Label, ...] | None = Field(default=None, max_length=100)
    metadata: Labels | None = None

    def changes(self) -> SessionChanges:
        older = self.metadata or Labels()
        return SessionChanges(
            name=older.name if self.name is None else self.name,
            tags=older.tags if self.tags is None else self.tags,
        )


class Ask(OfSession):
    query: Question


class Oneshot(_Request):
    """A new session, as for /create, and its first query."""

    query: Question
    name: Label | None = Field(default=None, validation_alias=AliasChoices("name", "sessionName"))
    tags: tuple[Label, ...] | None = Field(
        default=None, max_length=100, validation_alias=AliasChoices("tags", "sessionTags")
    )
    model: ModelChoice | None = None
    agent: Label | None = None

    def new_session(self) -> NewSession:
        return NewSession(name=self.name, tags=self.tags, model=self.model, agent=self.agent)


def _whole_choice(fields: Any) -> Any:
    """Older clients send the model as a name, with its provider beside it, or as `modelId`."""
    model = fields.get("model", fields.get("modelId"))
    if isinstance(model, str):
        return {**fields, "model": {"id": model, "provider": fields.get("provider") or ""}}
    return fields


class ChooseModel(OfSession):
    model: ModelChoice

    _whole_choice = model_validator(mode="before")(_whole_choice)


class Summarize(OfSession):
    messages: list[dict[str, Any]] = Field(min_length=1, description="of the conversation: {role, content} each")
    model: ModelChoice | None = None

    _whole_choice = model_validator(mode="before")(_whole_choice)


class FilesOf(OfSession):
    path: str = Field(default="", description="in the workspace of the session, relative; left out: all of it")


class SearchFiles(OfSession):
    q: str = Field(default="", description="part of a path")
    type: Literal["file", "directory", "all"] = "all"


class ValidatePaths(OfSession):
    paths: list[str] = Field(max_length=MAX_PATHS)
