"""The shapes of answers, for the OpenAPI document only: routes send bytes that are ready."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from organism.threads import ThreadStatus

AGENT = {
    "name": "greeter",
    "description": "Greeting agent - forwards to shouter",
    "is_agent": True,
    "peers": ["shouter"],
    "payload_class": "handlers.hello.Greeting",
    "state": "idle",
    "current_thread": None,
    "queue_depth": 0,
    "last_activity": "2024-01-15T10:30:00.000Z",
    "paused": False,
    "running": 0,
    "handled": 17,
    "failed": 0,
    "tokens": 0,
    "restarts": 0,
    "isolation": "actor",
    "cell": "agent:greeter",
    "pid": 4711,
    "error": None,
}
MESSAGE = {
    "id": "018d0f5e-0001-7000-8000-000000000002",
    "thread_id": "018d0f5e-0001-7000-8000-000000000001",
    "from": "greeter",
    "to": "shouter",
    "payload_type": "GreetingResponse",
    "payload": {"message": "Hello!", "original_sender": "console"},
    "timestamp": "2024-01-15T10:30:01.123Z",
    "slot_index": 1,
    "seq": 42,
}
THREAD = {
    "id": "018d0f5e-0001-7000-8000-000000000001",
    "status": "completed",
    "participants": ["console", "greeter", "shouter", "response-handler"],
    "message_count": 4,
    "created_at": "2024-01-15T10:30:00.000Z",
    "last_activity": "2024-01-15T10:30:03.000Z",
    "error": None,
}


class AgentView(BaseModel):
    model_config = {"json_schema_extra": {"examples": [AGENT]}}

    name: str
    description: str
    is_agent: bool
    peers: list[str]
    payload_class: str
    state: Literal["idle", "processing", "waiting", "error"]
    current_thread: str | None
    queue_depth: int
    last_activity: str | None
    paused: bool
    running: int = Field(description="handler calls under way")
    handled: int = Field(description="messages handled since the pump started")
    failed: int = Field(description="of these, with an error")
    tokens: int = Field(description="of the model, since the pump started")
    restarts: int = Field(description="of its cell since the pump started")
    isolation: Literal["actor", "shared"]
    cell: str = Field(description="name of the Ray actor that runs its handlers; with isolation shared, of others too")
    pid: int | None = Field(description="of the process that runs its handlers; null while that is being started")
    error: str | None


class MessageView(BaseModel):
    model_config = {"json_schema_extra": {"examples": [MESSAGE]}}

    id: str
    thread_id: str
    from_: str = Field(alias="from")
    to: str
    payload_type: str
    payload: dict[str, Any]
    timestamp: str
    slot_index: int = Field(description="position in the thread: 0, 1, 2…")
    seq: int = Field(description="position in the whole log: 1, 2, 3…; the cursor of every list and stream")
    fate: Literal["dropped", "dead"] | None = Field(default=None, description="why it is not handled, if it is not")


class ThreadView(BaseModel):
    model_config = {"json_schema_extra": {"examples": [THREAD]}}

    id: str
    status: ThreadStatus
    participants: list[str]
    message_count: int
    created_at: str
    last_activity: str
    error: str | None


class OrganismView(BaseModel):
    name: str = Field(examples=["hello-world"])
    status: str = Field(description="running, stopping, or unreachable while the pump restarts", examples=["running"])
    uptime_seconds: float
    agent_count: int
    active_threads: int
    total_messages: int
    started_at: str


class DeadLetterView(BaseModel):
    id: str = Field(description="of the message; POST /dead-letters/{id}/requeue takes it")
    reason: str
    attempts: int
    died_at: str
    message: MessageView


class Counts(BaseModel):
    count: int = Field(description="in this page")
    total: int = Field(description="in all pages")
    limit: int
    offset: int


class AgentPage(Counts):
    agents: list[AgentView]


class ThreadPage(Counts):
    threads: list[ThreadView]


class MessagePage(Counts):
    messages: list[MessageView]


class ThreadWithMessages(ThreadView, Counts):
    messages: list[MessageView]


class DeadLetterPage(Counts):
    dead_letters: list[DeadLetterView]


class AcceptedView(BaseModel):
    thread_id: str
    message_id: str
    seq: int = Field(description="position in the log; GET /messages?after=… follows from there")


class ReloadedView(BaseModel):
    """Listener names."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]


class StatusView(BaseModel):
    status: str


class Problem(BaseModel):
    model_config = {"extra": "allow"}

    path: str = Field(description="dotted; empty for the whole")
    problem: str


class ErrorBody(BaseModel):
    code: str
    message: str = Field(description="what happened and what to do")
    details: list[Problem] | None = None


class ErrorView(BaseModel):
    error: ErrorBody


ACCESS_MEANINGS = {
    401: ("unauthenticated", "this key is unknown, revoked or mistyped; `organism keys list` shows those there are"),
    403: ("forbidden", "this needs the role operator; key:dashboard is viewer"),
    429: ("rate_limited", "more than 1000 requests per second (auth.limits.requests_per_s); try again in 0.01 s"),
}
"""Failures of every route, of who may use it."""

_MEANINGS = ACCESS_MEANINGS | {
    400: ("malformed", "cannot be read: a JSON object is needed, this is an array"),
    404: ("not_found", "no agent named 'greter'; GET /api/v1/agents lists them"),
    409: ("thread_killed", "thread 018d0f5e was killed; start a new one by leaving thread_id out"),
    413: ("too_large", "the body is larger than 2000000 bytes; shorten it or raise limits.max_body_bytes"),
    415: ("unsupported_media_type", "cannot take a body of type 'text/plain'; send Content-Type: application/json"),
    422: ("invalid_request", "limit: Input should be less than or equal to 1000"),
    429: ("queue_full", "2000000 messages wait for 'greeter'; send again in 1 s"),
    500: ("internal", "internal error; its cause is in the log of this API replica"),
    503: ("unreachable", "the organism does not answer; it restarts by itself, send again in a moment"),
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can fail in these ways; 422, 503 and those of access control every route can."""
    return {status: _failure(status) for status in sorted({*statuses, *ACCESS_MEANINGS, 422, 503})}


def _failure(status: int) -> dict[str, Any]:
    code, message = _MEANINGS[status]
    shown: dict[str, Any] = {
        "model": ErrorView,
        "description": message,
        "content": {"application/json": {"example": {"error": {"code": code, "message": message}}}},
    }
    if status in (429, 503):
        shown["headers"] = _RETRY_AFTER
    return shown
