"""A thread: one conversation, and the pure rules of its status and its call chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from organism.messages import iso_timestamp

ThreadStatus = Literal["active", "completed", "error", "killed"]
THREAD_STATUSES: tuple[ThreadStatus, ...] = get_args(ThreadStatus)

MAX_CALLERS = 100
"""A call chain longer than this forgets its oldest callers, so that two agents may talk for ever."""


@dataclass(slots=True)
class Todo:
    """A watcher of one listener in one thread: raised when `wait_for` (a payload type) arrives in the thread."""

    id: str
    listener: str
    wait_for: str
    from_listener: str | None
    description: str
    raised: bool = False


@dataclass(slots=True)
class Thread:
    """The pump's record of a thread; mutable, because it changes with every message.

    `message_count` is also the next `slot_index`; `pending` counts messages that are not done yet.
    `states` holds what each listener keeps for this thread (JSON); `todos` its watchers; `tokens` what each
    listener's model calls used. `owner` is the principal that injected into it last, and so pays for those that follow.
    """

    id: str
    created_ms: int
    last_activity_ms: int
    status: ThreadStatus = "active"
    participants: list[str] = field(default_factory=list)
    message_count: int = 0
    pending: int = 0
    error: str | None = None
    states: dict[str, bytes] = field(default_factory=dict)
    todos: list[Todo] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    owner: str | None = None

    def view(self) -> ThreadView:
        """The thread as it is now, for those who look at it later."""
        return ThreadView(
            self.id,
            self.status,
            tuple(self.participants),
            self.message_count,
            self.created_ms,
            self.last_activity_ms,
            self.error,
        )

    def to_api(self) -> dict[str, Any]:
        return self.view().to_api()


class ThreadView(NamedTuple):
    """What the API shows of a thread."""

    id: str
    status: ThreadStatus
    participants: tuple[str, ...]
    message_count: int
    created_ms: int
    last_activity_ms: int
    error: str | None

    def to_api(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "participants": list(self.participants),
            "message_count": self.message_count,
            "created_at": iso_timestamp(self.created_ms),
            "last_activity": iso_timestamp(self.last_activity_ms),
            "error": self.error,
        }


def extend(callers: str, sender: str) -> str:
    """The call chain of a Send by `sender`, who was called through `callers`."""
    chain = f"{callers}/{sender}"
    if chain.count("/") >= MAX_CALLERS:
        chain = chain.split("/", 1)[1]
    return chain


def prune(callers: str) -> tuple[str, str]:
    """Of a Reply by the one called through `callers`: who gets it, and the chain up to before that caller."""
    rest, _, caller = callers.rpartition("/")
    return caller, rest
