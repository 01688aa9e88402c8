"""What is kept of a session beside its events, and what a client may choose of it."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SessionState = Literal["idle", "executing", "aborted", "error", "stored"]
Label = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
"""A short text from a client; PostgreSQL cannot store NUL."""


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, serialize_by_alias=True)


class ModelChoice(_Wire):
    """`provider` is the name of a backend of llm.backends (or empty for any); `id` the model's name."""

    provider: Label = ""
    id: Label


class SessionRecord(_Wire):
    """A stored session; never taken from a client.

    agent: of sessions.agents. working_directory: as shown to clients, relative to workspace.path, `.` without
    isolation. last_seq: of its newest stored event. is_running: a run was begun and has not ended, so that whoever
    finds it after a crash has to end it. tokens: of all runs and summaries. owner: the id of the principal that made
    it, which never changes; None where there was no authentication.
    """

    id: str
    created_at: int
    updated_at: int
    agent: str
    working_directory: str
    name: str | None = None
    tags: tuple[str, ...] | None = None
    model: ModelChoice | None = None
    last_seq: int = 0
    is_running: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    owner: str | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class SessionView(SessionRecord):
    """What clients see: the record, and whether the session is in memory. All of SessionMetadata is in it."""

    active: bool


class NewSession(_Wire):
    """What a client may choose of a new session; unknown fields are ignored, as clients of the API send some."""

    name: Label | None = None
    tags: tuple[Label, ...] | None = Field(default=None, max_length=100)
    model: ModelChoice | None = None
    agent: Label | None = None


class SessionChanges(NamedTuple):
    """What to change; None leaves it as it is."""

    name: str | None = None
    tags: tuple[str, ...] | None = None
    model: ModelChoice | None = None


class SessionFilter(NamedTuple):
    """All conditions hold together; None does not count. `q` is found in name, id and tags, case-insensitive.

    ids: only these sessions; of none where it is empty.
    """

    tag: str | None = None
    q: str | None = None
    is_running: bool | None = None
    owner: str | None = None
    ids: tuple[str, ...] | None = None


def new_directory(session_id: str, *, isolate: bool) -> str:
    """The working directory of a new session, relative to workspace.path."""
    return session_id if isolate else "."
