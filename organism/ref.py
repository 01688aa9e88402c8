"""The outside of a running organism: what the API, the command line and tests hold. The pump is one; Ray wraps it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

from organism.errors import OrganismError
from organism.messages import Accepted, DeadLetter, Inject, Message
from organism.storage.base import MessageFilter, ThreadFilter
from organism.threads import Thread

EventKind = Literal[
    "message", "thread_created", "thread_updated", "agent_state", "session_state", "ingest", "error", "reloaded"
]


class Event(NamedTuple):
    """Something that happened, published after its commit.

    `value` by kind: message → Message; thread_created and thread_updated → ThreadView; agent_state → the agent
    as in Snapshot.agents; session_state → {id, state: active | executing | idle | error | stored | deleted, cell,
    pid, timestamp}; ingest → a job of the librarian; error → {thread_id, agent, error, timestamp}; reloaded →
    {added, changed, removed} (read a new snapshot then). `seq` is the log position it belongs to, None where it has
    none.
    """

    kind: EventKind
    seq: int | None
    value: Any


class EventBatch(NamedTuple):
    """The answer to a long poll: everything since the cursor, in order; empty after the timeout.

    missed: events between the asked-for cursor and the first one here are gone, or the pump is another one than
    before (`incarnation`): take a new snapshot, and read missed messages from the log by seq.
    """

    incarnation: str
    cursor: int
    events: list[Event]
    missed: bool
    last_seq: int
    active_threads: int
    status: str


class Snapshot(NamedTuple):
    """The live picture at one moment; `cursor` is where to poll for events from.

    organism: {name, status, uptime_seconds, agent_count, active_threads, total_messages, started_at}.
    agents: each {name, description, is_agent, peers, payload_class, state, current_thread, queue_depth,
      last_activity, paused, running, handled, failed, tokens, restarts, isolation, cell, pid, error}.
    threads: the latest 100, newest first. config: organism.yaml as parsed, secrets masked.
    """

    incarnation: str
    cursor: int
    seq: int
    organism: dict[str, Any]
    agents: list[dict[str, Any]]
    threads: list[dict[str, Any]]
    config: dict[str, Any]
    bundle_digest: str


class Reloaded(NamedTuple):
    """What a reload did, by listener names."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]


class OrganismRef(Protocol):
    """Every method raises OrganismUnreachable while the pump restarts, StorageUnavailable when that fails."""

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        """Commits the injects together; an error stands in the place of each that was refused.

        AgentNotFound, ThreadNotFound, ThreadKilled, ThreadFull, QueueFull, Stopping, StorageUnavailable.
        """
        ...

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> EventBatch: ...

    async def snapshot(self) -> Snapshot: ...

    async def bundle(self) -> bytes:
        """The zip of the organism's folder, for those who need its payload classes (see bundle.py)."""
        ...

    async def thread(self, thread_id: str) -> Thread: ...

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]: ...

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]: ...

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]: ...

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]: ...

    async def requeue(self, message_id: str, owner: str | None = None) -> Message:
        """owner: as in Inject."""
        ...

    async def kill_thread(self, thread_id: str) -> Thread: ...

    async def pause(self, agent: str) -> dict[str, Any]: ...

    async def resume(self, agent: str) -> dict[str, Any]: ...

    async def reload(self) -> Reloaded: ...

    async def announce_ingest(self, job: dict[str, Any]) -> None:
        """Publishes an ingest event: how a job of the librarian gets on. Nothing is stored."""
        ...

    async def stop(self) -> None:
        """Begins a graceful stop and returns; the organism takes no injects from now on."""
        ...

    async def ping(self) -> None:
        """Returns when pump and storage answer."""
        ...
