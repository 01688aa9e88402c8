"""The bookkeeping of the pump: turns injects and outcomes into one Commit, and into what follows from it. No I/O.

A group is opened, filled, and closed; while it is committed the next one is filled. When its commit fails both are
rolled back, and nothing has happened.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from itertools import islice

import orjson

from organism.config import Limits
from organism.errors import AgentNotFound, OrganismError, ThreadFull, ThreadKilled, ThreadNotFound
from organism.messages import CONSOLE, Accepted, DeadLetter, Inject, Message, iso_timestamp, new_id, now_ms
from organism.ref import Event
from organism.router import SYSTEM_ERROR, Breach, Router
from organism.storage.base import Commit
from organism.threads import Thread, ThreadStatus
from organism.window import InFlight
from organism.wire import Outcome, Output

CACHED_THREADS = 50_000

ROUTING_ERROR = orjson.dumps(
    {
        "code": "routing",
        "message": "Message could not be delivered. Please verify your target and try again.",
        "retry_allowed": True,
    }
)
"""All that a sender learns of a breach: its text is upstream's."""


@dataclass(slots=True)
class Group:
    """A commit and what is to be done once it is durable: `routed` go to their windows, `events` to the clients.

    spent: tokens by the owner of the thread in which they were used.
    """

    now_ms: int
    commit: Commit = field(default_factory=Commit)
    routed: list[Message] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    touched: dict[str, Thread] = field(default_factory=dict)
    status_before: dict[str, ThreadStatus] = field(default_factory=dict)
    joining: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    last_seq_before: int = 0
    active_threads_before: int = 0


class Ledger:
    """Knows the log's end and the threads at work.

    threads: a cache by id; `missing()` says which to load into it before a group is filled.
    """

    def __init__(self, router: Router, limits: Limits, last_seq: int, active_threads: int) -> None:
        self.router = router
        self.limits = limits
        self.last_seq = last_seq
        self.active_threads = active_threads
        self.threads: dict[str, Thread] = {}
        self._group = Group(0)

    @property
    def now_ms(self) -> int:
        """The moment of the present or last group."""
        return self._group.now_ms

    def missing(self, thread_ids: Iterable[str]) -> list[str]:
        return [each for each in set(thread_ids) if each not in self.threads]

    def open_group(self) -> Group:
        """From now on changes go into this group; the one before may still be being committed."""
        self._group = Group(now_ms(), last_seq_before=self.last_seq, active_threads_before=self.active_threads)
        return self._group

    def close_group(self, group: Group) -> None:
        """Ends the group: decides which threads are completed, and what is to be committed."""
        for thread in group.touched.values():
            self._conclude(thread, group)
        group.commit.threads = list(group.touched.values())

    def roll_back(self, groups: list[Group]) -> None:
        """The first one's commit failed, and the others build on it: forgets what they changed."""
        for group in groups:
            for thread_id in group.touched:
                self.threads.pop(thread_id, None)
        self.last_seq = groups[0].last_seq_before
        self.active_threads = groups[0].active_threads_before

    def trim(self, keep: Container[str]) -> None:
        """Keeps the cache bounded: evicts the oldest that are in the storage as they are here, all but `keep`."""
        excess = len(self.threads) - CACHED_THREADS
        if excess > 0:
            for thread_id in [each for each in islice(self.threads, excess) if each not in keep]:
                del self.threads[thread_id]

    def accept(self, inject: Inject) -> Accepted | OrganismError:
        """Adds a message from outside; an error instead of it says why not."""
        if not self.router.knows(inject.recipient):
            return AgentNotFound(inject.recipient)
        if inject.thread_id is None:
            thread = self._new_thread(CONSOLE, inject.recipient)
        else:
            found = self.threads.get(inject.thread_id)
            if found is None:
                return ThreadNotFound(inject.thread_id)
            if found.status == "killed":
                return ThreadKilled(found.id)
            if self._is_full(found):
                return ThreadFull(found.id, self.limits.max_slots_per_thread)
            thread = found
            self._touch(thread)
            self._activate(thread)
        thread.owner = inject.owner
        message = self._append(thread, CONSOLE, inject.recipient, inject.payload_type, inject.payload, CONSOLE)
        self._queue(thread, message)
        joining = self._group.joining
        joining[inject.recipient] = joining.get(inject.recipient, 0) + 1
        return Accepted(thread.id, message.id, message.seq)

    def settle(self, message: Message, outcome: Outcome) -> None:
        """Marks a message done and adds what its handler sent, or makes it a dead letter."""
        thread = self.threads[message.thread_id]
        if outcome.status == "failed":
            self._count_tokens(thread, outcome)
            self.bury(message, outcome.error or "failed", outcome.attempts)
            return
        self._touch(thread)
        self._group.commit.done.append((message.recipient, message.seq))
        thread.pending -= 1
        self._remember(thread, message.recipient, outcome)
        for output in outcome.outputs:
            self._send(thread, message, output)

    def bury(self, message: Message, reason: str, attempts: int) -> None:
        """Makes a waiting message a dead letter and its thread one with an error."""
        thread = self.threads[message.thread_id]
        group = self._group
        self._touch(thread)
        group.commit.done.append((message.recipient, message.seq))
        group.commit.dead.append(DeadLetter(message, reason, attempts, group.now_ms))
        thread.pending -= 1
        self._deactivate(thread, "error")
        thread.error = f"{message.recipient}: {reason}"
        self.report_error(message, reason)

    def revive(self, message: Message, owner: str | None = None) -> None:
        """Queues a dead letter again; from now on `owner` pays for what is done in its thread."""
        thread = self.threads[message.thread_id]
        self._touch(thread)
        self._group.commit.requeued.append(message.seq)
        self._group.commit.queued.append((message.recipient, message.seq))
        thread.pending += 1
        thread.owner = owner
        self._activate(thread)

    def kill(self, thread: Thread, waiting: list[Message]) -> None:
        """Drops what waits in the thread; it takes nothing more."""
        self._touch(thread)
        commit = self._group.commit
        commit.done.extend((message.recipient, message.seq) for message in waiting)
        commit.dropped.extend(message.seq for message in waiting)
        thread.pending = 0
        self._deactivate(thread, "killed")

    def note_deaths(self, entries: list[InFlight]) -> None:
        """Stores how many cells have died with these messages."""
        self._group.commit.deaths.extend(
            (entry.message.recipient, entry.message.seq, entry.deaths) for entry in entries
        )

    def report_error(self, message: Message, error: str) -> None:
        """Tells the operators."""
        value = {
            "thread_id": message.thread_id,
            "agent": message.recipient,
            "error": error,
            "timestamp": iso_timestamp(self._group.now_ms),
        }
        self._group.events.append(Event("error", message.seq, value))

    def _new_thread(self, *participants: str) -> Thread:
        now = self._group.now_ms
        thread = Thread(new_id(), now, now, participants=list(participants))
        self.threads[thread.id] = thread
        self._group.touched[thread.id] = thread
        self.active_threads += 1
        self._group.events.append(Event("thread_created", self.last_seq + 1, thread.view()))
        return thread

    def _touch(self, thread: Thread) -> None:
        touched = self._group.touched
        if thread.id not in touched:
            touched[thread.id] = thread
            self._group.status_before[thread.id] = thread.status
        thread.last_activity_ms = self._group.now_ms

    def _activate(self, thread: Thread) -> None:
        if thread.status != "active":
            thread.status = "active"
            thread.error = None
            self.active_threads += 1

    def _deactivate(self, thread: Thread, status: ThreadStatus) -> None:
        if thread.status == "active":
            self.active_threads -= 1
        thread.status = status

    def _conclude(self, thread: Thread, group: Group) -> None:
        if thread.pending == 0 and thread.status == "active":
            self._deactivate(thread, "completed")
        if group.status_before.get(thread.id, "active") != thread.status:
            group.events.append(Event("thread_updated", self.last_seq, thread.view()))

    def _remember(self, thread: Thread, listener: str, outcome: Outcome) -> None:
        if outcome.state is not None:
            thread.states[listener] = outcome.state
        self._count_tokens(thread, outcome)
        if outcome.closed_todos:
            thread.todos = [each for each in thread.todos if each.id not in outcome.closed_todos]
        if outcome.added_todos:
            thread.todos.extend(each for each in outcome.added_todos if each.id not in outcome.closed_todos)

    def _count_tokens(self, thread: Thread, outcome: Outcome) -> None:
        if not outcome.tokens:
            return
        thread.tokens[outcome.recipient] = thread.tokens.get(outcome.recipient, 0) + outcome.tokens
        if thread.owner is not None:
            spent = self._group.spent
            spent[thread.owner] = spent.get(thread.owner, 0) + outcome.tokens

    def _send(self, thread: Thread, cause: Message, output: Output) -> None:
        sender = cause.recipient
        targets = self.router.route(sender, cause.callers, output)
        if isinstance(targets, Breach):
            self._refuse(thread, cause, targets.reason)
            return
        for recipient, callers, is_outside in targets:
            if self._is_full(thread):
                self._cut_off(thread, cause, f"{output.payload_type} to {recipient!r} was not sent")
                continue
            message = self._append(thread, sender, recipient, output.payload_type, output.payload, callers)
            if not is_outside:
                self._queue(thread, message)

    def _refuse(self, thread: Thread, cause: Message, reason: str) -> None:
        """A breach: a generic error to the sender, where it takes one; the details to the operators only."""
        if self._is_full(thread):
            self._cut_off(thread, cause, reason)
            return
        sender = cause.recipient
        self.report_error(cause, reason)
        message = self._append(thread, "system", sender, SYSTEM_ERROR, ROUTING_ERROR, cause.callers)
        if cause.payload_type != SYSTEM_ERROR and self.router.accepts(sender, SYSTEM_ERROR):
            self._queue(thread, message)

    def _is_full(self, thread: Thread) -> bool:
        return thread.message_count >= self.limits.max_slots_per_thread

    def _cut_off(self, thread: Thread, cause: Message, lost: str) -> None:
        """The thread is full, so what was to be sent is lost, and the conversation cannot go on as it was meant."""
        error = f"{lost}; the thread holds {thread.message_count} messages (limits.max_slots_per_thread)"
        self._deactivate(thread, "error")
        thread.error = f"{cause.recipient}: {error}"
        self.report_error(cause, error)

    def _append(
        self, thread: Thread, sender: str, recipient: str, payload_type: str, payload: bytes, callers: str
    ) -> Message:
        group = self._group
        self.last_seq = seq = self.last_seq + 1
        slot = thread.message_count
        message = Message(
            seq, new_id(), thread.id, slot, sender, recipient, payload_type, payload, group.now_ms, callers
        )
        thread.message_count = slot + 1
        participants = thread.participants
        if recipient not in participants:
            participants.append(recipient)
        if thread.todos:
            _raise_todos(thread, sender, payload_type)
        group.commit.messages.append(message)
        group.events.append(Event("message", seq, message))
        return message

    def _queue(self, thread: Thread, message: Message) -> None:
        thread.pending += 1
        self._group.commit.queued.append((message.recipient, message.seq))
        self._group.routed.append(message)


def _raise_todos(thread: Thread, sender: str, payload_type: str) -> None:
    for todo in thread.todos:
        if todo.wait_for == payload_type and todo.from_listener in (None, sender):
            todo.raised = True
