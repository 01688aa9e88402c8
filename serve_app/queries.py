"""The query parameters of lists. Unknown ones are refused, so that a misspelt filter does not pass for none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from organism.storage.base import MessageFilter, ThreadFilter
from organism.threads import ThreadStatus
from serve_app.error_handlers import readable
from serve_app.errors import InvalidRequest
from serve_app.live import AgentFilter

MAX_POSITION = 2**53 - 1
"""The largest integer that every JSON reader takes exactly."""

_STARTS_WITH_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$")


def _iso_8601(value: object) -> object:
    """Keeps out numbers, which pydantic takes for Unix time; a `+` in a URL arrives as a space and is put back."""
    if not isinstance(value, str) or not _STARTS_WITH_A_DATE.match(value):
        raise ValueError("must be a time as 2024-01-15T10:00:00Z")
    return _LOST_PLUS.sub(r"+\1", value)


def milliseconds(moment: datetime) -> int:
    """Since the epoch; a time without zone is UTC."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


Moment = Annotated[datetime, BeforeValidator(_iso_8601)]
Position = Annotated[int, Field(ge=0, le=MAX_POSITION)]
Named = Annotated[str, Field(min_length=1, max_length=200)]


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=1000, description="entries in this page")
    offset: Position = Field(default=0, description="entries to pass over first")


class ListQuery(Page):
    agent: Named | None = Field(default=None, description="only what this agent takes part in", examples=["greeter"])
    since: Moment | None = Field(
        default=None,
        description="only what is not older, ISO 8601; without a zone: UTC",
        examples=["2024-01-15T10:00:00Z"],
    )

    @property
    def since_ms(self) -> int | None:
        return None if self.since is None else milliseconds(self.since)


class AgentQuery(ListQuery):
    limit: int = Field(default=1000, ge=1, le=1000, description="entries in this page")
    status: Literal["idle", "processing", "waiting", "error", "paused"] | None = None

    def filter(self) -> AgentFilter:
        return AgentFilter(self.status, self.agent, self.since_ms)


class ThreadQuery(ListQuery):
    status: ThreadStatus | None = None

    def filter(self) -> ThreadFilter:
        return ThreadFilter(self.status, self.agent, self.since_ms)


class MessageQuery(ListQuery):
    status: Literal["dead", "dropped"] | None = Field(
        default=None, description="only messages of this fate: dead letters, or dropped because their thread was killed"
    )
    after: Position = Field(default=0, description="only messages behind this seq: the cheap way to page")
    order: Literal["asc", "desc"] = Field(default="asc", description="by seq")

    def filter(self, thread_id: str | None = None) -> MessageFilter:
        return MessageFilter(
            agents=() if self.agent is None else (self.agent,),
            threads=() if thread_id is None else (thread_id,),
            after_seq=self.after,
            since_ms=self.since_ms,
            fate=self.status,
        )


class DeadLetterQuery(ListQuery):
    status: Literal["dead"] | None = Field(default=None, description="every dead letter is dead; here for uniformity")


class InjectQuery(BaseModel):
    """Where an XML body goes; a JSON body says so itself."""

    model_config = ConfigDict(extra="forbid")

    to: Named | None = Field(default=None, description="only read for an XML body: the agent", examples=["greeter"])
    thread_id: Named | None = Field(default=None, description="only read for an XML body: an existing thread")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Raises: InvalidRequest."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(readable(error.errors(include_url=False))) from None


def query_of(request: Request, model: type[Model]) -> Model:
    """The query parameters, for the busiest routes: FastAPI's own reading of a model takes longer than the rest.

    Raises:
        InvalidRequest: as with FastAPI's own reading.
    """
    return validated(model, request.query_params) if request.scope["query_string"] else model()


def documented(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The parameters of such a model for the OpenAPI document, as FastAPI would describe them."""
    whole = model.model_json_schema()
    needed = whole.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": schema}
        | {key: schema[key] for key in ("description",) if key in schema}
        for name, schema in whole["properties"].items()
    ]


async def no_parameters(request: Request) -> None:
    """Refuses query parameters, for routes that have none."""
    if request.url.query:
        raise InvalidRequest(tuple((name, "unknown parameter; this route takes none") for name in request.query_params))
