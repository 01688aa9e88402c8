"""An organism in memory whose log, events and failures a test controls. No handlers run in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml

from organism.bundle import pack
from organism.errors import (
    AgentNotFound,
    DeadLetterNotFound,
    OrganismError,
    OrganismUnreachable,
    ThreadKilled,
    ThreadNotFound,
)
from organism.messages import Accepted, DeadLetter, Inject, Message, new_id
from organism.ref import Event, EventBatch, Reloaded, Snapshot
from organism.storage.base import MessageFilter, ThreadFilter
from organism.threads import Thread

HELLO = Path(__file__).parents[2] / "examples" / "hello"
NOW_MS = 1_705_314_600_000


class FakeOrganism:
    """Implements OrganismRef.

    down: every call raises OrganismUnreachable. refuse: what submit answers instead of accepting.
    submitted: the injects of each call of submit. gate: while not set, submit waits. requeuers: who pays for each
    requeue.
    """

    def __init__(self, **config: Any) -> None:
        self.log: list[Message] = []
        self.all_threads: dict[str, Thread] = {}
        self.letters: list[DeadLetter] = []
        self.events_so_far: list[Event] = []
        self.first_kept = 0
        self.incarnation = "first"
        self.down = False
        self.stopping = False
        self.refuse: OrganismError | None = None
        self.submitted: list[list[Inject]] = []
        self.requeuers: list[str | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.config = yaml.safe_load((HELLO / "organism.yaml").read_text()) | config
        self.agents = {entry["name"]: agent_view(entry) for entry in self.config["listeners"]}
        self._bundle = pack(HELLO)
        self._news = asyncio.Event()

    # What a test does to it

    def happen(self, *events: Event) -> None:
        self.events_so_far += events
        self._news.set()
        self._news = asyncio.Event()

    def send(self, thread_id: str = "t1", sender: str = "console", to: str = "greeter", **payload: Any) -> Message:
        """A message appears in the log, and its events are published."""
        message = self.append(thread_id, sender, to, Inject(to, "Greeting", b'{"name":"Dan"}').payload)
        self.happen(Event("message", message.seq, message))
        return message

    def append(self, thread_id: str, sender: str, to: str, payload: bytes) -> Message:
        """A message appears in the log; no event tells of it."""
        thread = self.all_threads.setdefault(thread_id, Thread(thread_id, NOW_MS, NOW_MS, participants=[sender, to]))
        seq = len(self.log) + 1
        message = Message(
            seq, new_id(), thread_id, thread.message_count, sender, to, "Greeting", payload, NOW_MS + seq, sender
        )
        thread.message_count += 1
        self.log.append(message)
        return message

    def change(self, name: str, **fields: Any) -> None:
        self.agents[name] = self.agents[name] | fields
        self.happen(Event("agent_state", None, self.agents[name]))

    def forget_events(self) -> None:
        self.first_kept = len(self.events_so_far)

    def restart(self) -> None:
        self.incarnation = new_id()
        self.events_so_far = []
        self.first_kept = 0

    # OrganismRef

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        self.submitted.append(injects)
        await self.gate.wait()
        self._check()
        return [self.refuse or self._accept(inject) for inject in injects]

    def _accept(self, inject: Inject) -> Accepted | OrganismError:
        thread = self.all_threads.get(inject.thread_id or "")
        if inject.thread_id and thread is None:
            return ThreadNotFound(inject.thread_id)
        if thread and thread.status == "killed":
            return ThreadKilled(thread.id)
        message = self.append(inject.thread_id or new_id(), "console", inject.recipient, inject.payload)
        self.happen(Event("message", message.seq, message))
        return Accepted(message.thread_id, message.id, message.seq)

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> EventBatch:
        self._check()
        if incarnation == self.incarnation and cursor >= len(self.events_so_far):
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._check()
        missed = incarnation != self.incarnation or cursor < self.first_kept
        new = [] if missed else self.events_so_far[cursor:]
        return EventBatch(
            self.incarnation, len(self.events_so_far), new, missed, len(self.log), len(self.all_threads), "running"
        )

    async def snapshot(self) -> Snapshot:
        self._check()
        organism = {
            "name": "hello",
            "status": "running",
            "uptime_seconds": 5,
            "agent_count": len(self.agents),
            "active_threads": len(self.all_threads),
            "total_messages": len(self.log),
            "started_at": "2024-01-15T10:30:00.000Z",
        }
        return Snapshot(
            incarnation=self.incarnation,
            cursor=len(self.events_so_far),
            seq=len(self.log),
            organism=organism,
            agents=list(self.agents.values()),
            threads=[thread.to_api() for thread in reversed(self.all_threads.values())],
            config=self.config,
            bundle_digest=self._bundle.digest,
        )

    async def bundle(self) -> bytes:
        self._check()
        return self._bundle.content

    async def thread(self, thread_id: str) -> Thread:
        self._check()
        if thread_id not in self.all_threads:
            raise ThreadNotFound(thread_id)
        return self.all_threads[thread_id]

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        self._check()
        found = [
            thread
            for thread in reversed(self.all_threads.values())
            if where.status in (None, thread.status)
            and (where.agent is None or where.agent in thread.participants)
            and (not where.agents or not set(where.agents).isdisjoint(thread.participants))
            and thread.last_activity_ms >= (where.since_ms or 0)
        ]
        return found[offset : offset + limit], len(found)

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        self._check()
        found = [message for message in self.log if passes(where, message)]
        if newest_first:
            found.reverse()
        return found[offset : offset + limit], len(found)

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        return (await self.messages(where, limit))[0]

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        self._check()
        found = [each for each in reversed(self.letters) if agent in (None, each.message.recipient)]
        return found[offset : offset + limit], len(found)

    async def requeue(self, message_id: str, owner: str | None = None) -> Message:
        self._check()
        for letter in self.letters:
            if letter.message.id == message_id:
                self.requeuers.append(owner)
                self.letters.remove(letter)
                return letter.message
        raise DeadLetterNotFound(message_id)

    async def kill_thread(self, thread_id: str) -> Thread:
        thread = await self.thread(thread_id)
        thread.status = "killed"
        return thread

    async def pause(self, agent: str) -> dict[str, Any]:
        return self._set_paused(agent, True)

    async def resume(self, agent: str) -> dict[str, Any]:
        return self._set_paused(agent, False)

    def _set_paused(self, agent: str, paused: bool) -> dict[str, Any]:
        self._check()
        if agent not in self.agents:
            raise AgentNotFound(agent)
        self.agents[agent] = self.agents[agent] | {"paused": paused}  # and no event, so the answer alone tells
        return self.agents[agent]

    async def reload(self) -> Reloaded:
        self._check()
        return Reloaded([], [], [], list(self.agents))

    async def announce_ingest(self, job: dict[str, Any]) -> None:
        self._check()
        self.happen(Event("ingest", None, job))

    async def stop(self) -> None:
        self._check()
        self.stopping = True

    async def ping(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.down:
            raise OrganismUnreachable("it is down in this test")


def agent_view(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "description": entry.get("description", ""),
        "is_agent": entry.get("agent", False),
        "peers": entry.get("peers", []),
        "payload_class": entry["payload_class"],
        "state": "idle",
        "current_thread": None,
        "queue_depth": 0,
        "last_activity": None,
        "paused": False,
        "running": 0,
        "handled": 0,
        "failed": 0,
        "tokens": 0,
        "restarts": 0,
        "isolation": "actor",
        "cell": f"agent:{entry['name']}",
        "pid": 4711,
        "error": None,
    }


def passes(where: MessageFilter, message: Message) -> bool:
    return (
        (not where.agents or message.sender in where.agents or message.recipient in where.agents)
        and (not where.threads or message.thread_id in where.threads)
        and (not where.payload_types or message.payload_type in where.payload_types)
        and message.seq > where.after_seq
        and (where.until_seq is None or message.seq <= where.until_seq)
        and (where.since_ms is None or message.timestamp_ms >= where.since_ms)
        and where.fate in (None, message.fate)
    )
