"""What clients may say on a WebSocket, as models: `{"cmd": …, "id"?: …, …}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from organism.access.principal import Role
from organism.storage.base import MessageFilter
from serve_app.errors import InvalidRequest
from serve_app.frames import Filter
from serve_app.injecting import NewMessage
from serve_app.outbox import Replay
from serve_app.queries import MAX_POSITION, Moment, Position, milliseconds, validated

MAX_NAMES = 10_000
"""Names in one list of a filter."""

MAX_ECHOED_CHARS = 200
MAX_TOKEN_CHARS = 8192

Names = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=MAX_NAMES)]
SmallNumber = Annotated[int | float, Field(ge=-MAX_POSITION, le=MAX_POSITION)]
EventName = Literal[
    "message", "thread_created", "thread_updated", "agent_state", "session_state", "ingest", "error", "reloaded"
]
Identifier = Annotated[str, Field(min_length=1, max_length=200)]


def _seq_or_time(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """One problem instead of one for each kind."""
    try:
        return validate(value)
    except ValidationError:
        raise ValueError(f"must be a seq from 0 to {MAX_POSITION}, or a time as 2024-01-15T10:00:00Z") from None


Since = Annotated[Position | Moment, WrapValidator(_seq_or_time)]


class Command(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cmd: str
    id: Annotated[str, Field(max_length=MAX_ECHOED_CHARS)] | SmallNumber | None = None


class Subscribe(Command):
    threads: Names = []
    agents: Names = []
    events: list[EventName] = []

    def filter(self) -> Filter:
        return Filter(frozenset(self.events), frozenset(self.threads), frozenset(self.agents))


class LogFilter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agents: Names = []
    threads: Names = []
    payload_types: Names = []
    since: Since | None = Field(default=None, description="a seq, or a time: earlier messages are replayed from there")


class SubscribeToLog(Command):
    wanted: LogFilter = Field(default=LogFilter(), alias="filter")

    def filter(self) -> Filter:
        wanted = self.wanted
        return Filter(
            frozenset({"message"}),
            frozenset(wanted.threads),
            frozenset(wanted.agents),
            frozenset(wanted.payload_types),
        )

    def replay(self) -> Replay | None:
        return replay_since(self.wanted.since)


class Inject(Command, NewMessage):
    model_config = ConfigDict(extra="forbid", strict=True)


class OfAgent(Command):
    agent: Identifier


class Kill(Command):
    thread_id: Identifier


class Requeue(Command):
    message_id: Identifier


class Auth(Command):
    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARS)]


class StreamQuery(BaseModel):
    """The query parameters of /ws."""

    model_config = ConfigDict(extra="forbid")

    since: Since | None = None


class NoQuery(BaseModel):
    """The query parameters of /ws/messages: none, `since` stands in its filter."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _point_to_the_filter(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "since" in values:
            raise ValueError("since belongs in the filter of subscribe")
        return values


EVENT_COMMANDS: dict[str, type[Command]] = {
    "subscribe": Subscribe,
    "unsubscribe": Command,
    "inject": Inject,
    "pause": OfAgent,
    "resume": OfAgent,
    "kill": Kill,
    "requeue": Requeue,
    "ping": Command,
    "auth": Auth,
}
LOG_COMMANDS: dict[str, type[Command]] = {
    "subscribe": SubscribeToLog,
    "unsubscribe": Command,
    "ping": Command,
    "auth": Auth,
}
COMMAND_ROLES: dict[str, Role] = {
    "subscribe": Role.VIEWER,
    "unsubscribe": Role.VIEWER,
    "ping": Role.VIEWER,
    "auth": Role.VIEWER,
    "inject": Role.OPERATOR,
    "pause": Role.OPERATOR,
    "resume": Role.OPERATOR,
    "kill": Role.OPERATOR,
    "requeue": Role.OPERATOR,
}
"""The least that may."""

COMMAND_TARGETS = {"inject": "to", "pause": "agent", "resume": "agent", "kill": "thread_id", "requeue": "message_id"}
"""Commands that are recorded, and the field that says what they are done to."""


def echo_of(fields: dict[str, Any]) -> dict[str, Any]:
    """What every answer repeats of its command: `cmd` and the client's own `id`, as far as they make sense."""
    cmd, identifier = fields.get("cmd"), fields.get("id")
    echo: dict[str, Any] = {}
    if isinstance(cmd, str) and len(cmd) <= MAX_ECHOED_CHARS:
        echo["cmd"] = cmd
    short_text = isinstance(identifier, str) and len(identifier) <= MAX_ECHOED_CHARS
    if short_text or (isinstance(identifier, int | float) and abs(identifier) <= MAX_POSITION):
        echo["id"] = identifier
    return echo


def parse_command(fields: dict[str, Any], known: dict[str, type[Command]]) -> Command:
    """Raises: InvalidRequest."""
    name = fields.get("cmd")
    model = known.get(name) if isinstance(name, str) else None
    if model is None:
        raise InvalidRequest((("cmd", f"must be one of {', '.join(known)}"),))
    return validated(model, fields)


def replay_since(since: Any) -> Replay | None:
    if since is None:
        return None
    return Replay(since) if isinstance(since, int) else Replay(0, milliseconds(since))


def log_filter(wanted: Filter, replay: Replay) -> MessageFilter:
    """The messages to replay, as the storage is asked for them."""
    return MessageFilter(
        agents=tuple(wanted.agents),
        threads=tuple(wanted.threads),
        payload_types=tuple(wanted.payload_types),
        after_seq=replay.after_seq,
        since_ms=replay.since_ms,
    )
