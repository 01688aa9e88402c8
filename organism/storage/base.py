"""The storage seam: one durable log of messages, its queues, threads and dead letters. One writer: the pump.

A provider writes what a `Commit` holds as one transaction and answers reads at any time, also while it writes.
It knows nothing of routing. All providers pass tests/contracts/test_storage.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from organism.messages import DeadLetter, Message
from organism.threads import Thread


class Pending(NamedTuple):
    """A message that waits for its listener; `deaths` counts the cells that died while they held it."""

    message: Message
    deaths: int


@dataclass(slots=True)
class Commit:
    """Everything that becomes durable together, or not at all. Applied in the order of the fields.

    messages: new log entries, `seq` rising without gaps, continuing the log.
    queued: `(recipient, seq)` of those that wait for a listener (also entries requeued from the dead letters).
    done: `(recipient, seq)` that wait no longer.
    dropped: `seq` of entries whose fate becomes 'dropped'.
    dead: entries that become dead letters (their fate becomes 'dead'); they are in `done` as well.
    requeued: `seq` of dead letters that are alive again (fate None); they are in `queued` as well.
    deaths: `(recipient, seq, deaths)` new counts for queued entries.
    threads: records to insert or replace, whole.
    settings: keys to set, or to remove where the value is None.
    """

    messages: list[Message] = field(default_factory=list)
    queued: list[tuple[str, int]] = field(default_factory=list)
    done: list[tuple[str, int]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    requeued: list[int] = field(default_factory=list)
    deaths: list[tuple[str, int, int]] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    settings: dict[str, str | None] = field(default_factory=dict)


class Totals(NamedTuple):
    """What a pump needs to go on where the log ends."""

    last_seq: int
    queued: dict[str, int]  # waiting messages by recipient
    active_threads: int
    settings: dict[str, str]


class MessageFilter(NamedTuple):
    """Which messages to read: all conditions hold together; an empty one does not count.

    agents: sent by or to any of these. after_seq: only entries behind this one. since_ms: not older than this.
    fate: 'dead', 'dropped'. until_seq: not behind this one.
    """

    agents: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    payload_types: tuple[str, ...] = ()
    after_seq: int = 0
    until_seq: int | None = None
    since_ms: int | None = None
    fate: str | None = None


class ThreadFilter(NamedTuple):
    """Which threads to read; `agent` is a participant, so is one of `agents`, `since_ms` bounds the last activity."""

    status: str | None = None
    agent: str | None = None
    since_ms: int | None = None
    agents: tuple[str, ...] = ()


class Storage(Protocol):
    """A provider. Every method raises StorageUnavailable when the medium fails for now; nothing was written then."""

    async def open(self) -> Totals:
        """Opens or creates the store, brings its schema up to date and takes the lock.

        Raises:
            StorageLocked: another process has it open.
            StorageVersionError: it was written by a newer version.
        """
        ...

    async def close(self) -> None:
        """Finishes what is being written and releases the lock. Safe to call twice."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Writes all of `commit` in one durable transaction: after return it survives a power cut.

        Called by one task at a time. The lists may be emptied or reused by the caller after return, not before.
        """
        ...

    async def totals(self) -> Totals:
        """Counts the log again, as after `open`."""
        ...

    async def queued(self, recipient: str, after_seq: int, limit: int) -> list[Pending]:
        """The waiting messages of `recipient` with `seq > after_seq`, in log order."""
        ...

    async def queued_in_thread(self, thread_id: str) -> list[Pending]:
        """The waiting messages of one thread, in log order."""
        ...

    async def threads_by_id(self, thread_ids: list[str]) -> dict[str, Thread]:
        """The threads that exist among `thread_ids`, whole (states and todos too)."""
        ...

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        """One page, newest thread first, and how many match in total."""
        ...

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        """One page in log order (or the reverse), and how many match in total."""
        ...

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        """Like `messages` in log order without counting the total: the cheap way to follow the log."""
        ...

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        """One page, newest first, and how many there are in total; `agent` is the recipient."""
        ...

    async def dead_letter(self, message_id: str) -> DeadLetter | None:
        """The dead letter with this message id."""
        ...
