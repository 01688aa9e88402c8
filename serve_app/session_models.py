"""What the session routes take and answer, for the OpenAPI document only: routes send bytes that are ready."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from organism.sessions.events import AnyEvent, AssistantMessage
from organism.sessions.records import ModelChoice, NewSession, SessionView
from serve_app import session_requests as requests
from serve_app.api_models import ACCESS_MEANINGS

BUSY = "Agent is already executing a task. Complete or abort the current task before starting a new one."


class SessionError(BaseModel):
    """Every failure of the session routes."""

    model_config = {"extra": "allow"}

    error: str = Field(description="what happened and what to do")
    code: str
    details: list[dict[str, Any]] | None = None
    runningSessionId: str | None = Field(default=None, description="where the server is exclusive")  # noqa: N815


class Created(BaseModel):
    sessionId: str  # noqa: N815
    session: SessionView


class SessionPage(BaseModel):
    sessions: list[SessionView]
    total: int = Field(description="in all pages")


class OneSession(BaseModel):
    session: SessionView


class Done(BaseModel):
    success: Literal[True]


class Restored(Done):
    session: SessionView


class Aborted(BaseModel):
    success: bool
    error: str | None = Field(default=None, description="where nothing was running")


class StatusShown(BaseModel):
    isProcessing: bool  # noqa: N815
    state: Literal["idle", "executing", "aborted", "error", "stored"]


class StatusOf(BaseModel):
    sessionId: str  # noqa: N815
    status: StatusShown


class ModelChosen(Done):
    sessionInfo: SessionView  # noqa: N815


class Answer(BaseModel):
    result: str = Field(description="the last text of the assistant; where the run was aborted, what there was of it")
    event: AssistantMessage | None


class OneshotAnswer(Answer):
    sessionId: str  # noqa: N815


class SummaryOf(BaseModel):
    summary: str = Field(description="a title of at most six words")
    model: str
    provider: str


class Events(BaseModel):
    events: list[AnyEvent]


class FileEntry(BaseModel):
    type: Literal["file"]
    name: str
    size: int = Field(description="bytes")
    modified: int = Field(description="milliseconds since the epoch")
    path: str


class ListedEntry(BaseModel):
    type: Literal["file", "directory"]
    name: str
    size: int
    modified: int
    path: str


class DirectoryEntry(BaseModel):
    type: Literal["directory"]
    path: str
    files: list[ListedEntry] = Field(description="folders first")


class FoundEntry(BaseModel):
    name: str
    path: str
    type: Literal["file", "directory"]
    relativePath: str  # noqa: N815


class Found(BaseModel):
    items: list[FoundEntry]


class CheckedPath(BaseModel):
    path: str
    exists: bool
    type: Literal["file", "directory"] | None = None
    error: str | None = None


class Checked(BaseModel):
    results: list[CheckedPath]


class OfferedModels(BaseModel):
    provider: str
    models: list[str]


class OfferedAgent(BaseModel):
    name: str
    description: str


class DefaultModel(ModelChoice):
    modelId: str  # noqa: N815


class Models(BaseModel):
    models: list[OfferedModels]
    defaultModel: DefaultModel | None  # noqa: N815
    agents: list[OfferedAgent] = Field(description="what a session can be created with; the first is the default")


class Version(BaseModel):
    name: str
    version: str


_MEANINGS = ACCESS_MEANINGS | {
    400: ("invalid_request", "sessionId: Field required"),
    404: ("session_not_found", "no session '018d0f5e-1a2b-7c3d-8e4f-5a6b7c8d9e0f'"),
    409: ("session_busy", BUSY),
    413: ("too_large", "the body is larger than 2000000 bytes; shorten it or raise limits.max_body_bytes"),
    415: ("unsupported_media_type", "cannot take a body of type 'text/plain'; send Content-Type: application/json"),
    429: ("too_many_sessions", "100 sessions are active and none is idle; try again in 5 s"),
    502: ("model_unavailable", "model backend 'openai': cannot connect"),
    503: ("storage_unavailable", "the storage cannot be used"),
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}

STREAM: dict[str, Any] = {
    "description": "Server-sent events: `data: <one line of JSON>`, then `id: <seq>` where the event is stored; "
    "`: ping` when nothing happens",
    "content": {
        "text/event-stream": {
            "schema": {
                "description": "one event of the stream",
                "type": "object",
                "properties": {"data": {"type": "string"}, "id": {"type": "string"}},
                "required": ["data"],
            }
        }
    },
}


def session_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a session route that can fail in these ways; with a bad request, and 503, every one can."""
    return {status: _failure(status) for status in sorted({*statuses, *ACCESS_MEANINGS, 400, 413, 415, 503})}


def _failure(status: int) -> dict[str, Any]:
    code, text = _MEANINGS[status]
    shown: dict[str, Any] = {
        "model": SessionError,
        "description": text,
        "content": {"application/json": {"example": {"error": text, "code": code}}},
    }
    if status in (429, 503):
        shown["headers"] = _RETRY_AFTER
    return shown


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is such a model."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found


SCHEMAS = _schemas(
    NewSession,
    requests.OfSession,
    requests.Update,
    requests.Ask,
    requests.Oneshot,
    requests.ChooseModel,
    requests.Summarize,
    requests.EventsOf,
    requests.ValidatePaths,
)
"""Components that `body_of` refers to, which FastAPI does not find by itself."""
