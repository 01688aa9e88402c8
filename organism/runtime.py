"""An organism at work: opens and wires its parts, answers its ref, closes them. No Ray here: see ray_actors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from organism.access.desk import AccessDesk
from organism.access.tally import Tally
from organism.active import Active, read_active, stored_active
from organism.agent import Agent
from organism.config import OrganismConfig
from organism.config_file import environment, sanitized
from organism.errors import AgentNotFound, DeadLetterNotFound, OrganismError, Stopping, ThreadKilled, ThreadNotFound
from organism.ledger import Ledger
from organism.local_cells import LocalCells
from organism.messages import Accepted, DeadLetter, Inject, Message, iso_timestamp, now_ms
from organism.plan import CellPlan
from organism.publisher import Publisher
from organism.pump import Pump
from organism.ref import Event, EventBatch, Reloaded, Snapshot
from organism.roster import Roster
from organism.router import Router
from organism.sessions.directory import Directory
from organism.sessions.wire import SessionCellHost, SessionLink
from organism.states import AgentStates
from organism.storage.access.base import AccessStorage
from organism.storage.base import MessageFilter, Storage, ThreadFilter, Totals
from organism.storage.opening import open_access_storage, open_session_storage, open_storage
from organism.storage.sessions.base import SessionStorage
from organism.tasks import Tasks
from organism.threads import Thread
from organism.wire import CellHost, PumpLink, Report

logger = logging.getLogger(__name__)

RECENT_THREADS = 100
FLUSH_TIMEOUT_S = 5.0
"""How long a stop waits for the last commits."""

FIND_TIMEOUT_S = 15.0
"""How long a report waits for its cell to be found again; one that died meanwhile never is."""

FIND_POLL_S = 0.02


class Desk:
    """What cells ask of the pump. Implements PumpLink."""

    def __init__(self, pump: Pump, storage: Storage) -> None:
        self._pump = pump
        self._storage = storage

    async def report(self, report: Report) -> None:
        """Takes what a cell reports. One that is yet to be found again, after a restart of the pump, has to wait: its
        outcomes would be taken for those of a stranger, and the work done once more."""
        keepers = self._pump.dispatcher.keepers
        if report.outcomes and report.incarnation not in keepers:
            deadline_s = time.monotonic() + FIND_TIMEOUT_S
            while report.incarnation not in keepers and time.monotonic() < deadline_s:  # noqa: ASYNC110 - rare
                await asyncio.sleep(FIND_POLL_S)
        await self._pump.report(report)

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        """The thread's last `limit` messages up to slot `until_slot`, oldest first."""
        count = max(0, min(limit, until_slot + 1))
        found, _ = await self._storage.messages(MessageFilter(threads=(thread_id,)), count, until_slot + 1 - count)
        return found


class Runtime:
    """The organism of one organism.yaml. Implements OrganismRef; `desk` is for its cells, `sessions` a DirectoryRef,
    `access` an AccessRef."""

    def __init__(
        self,
        pump: Pump,
        desk: Desk,
        storage: Storage,
        roster: Roster,
        sessions: Directory,
        access: AccessDesk,
        tasks: Tasks,
    ) -> None:
        self.pump = pump
        self.desk = desk
        self.sessions = sessions
        self.access = access
        self._storage = storage
        self._roster = roster
        self._tasks = tasks
        self._started_ms = now_ms()
        self._reloading = asyncio.Lock()
        self._stopped = asyncio.Event()

    @property
    def config(self) -> OrganismConfig:
        return self._roster.active.config

    async def open(self, totals: Totals, *, plans: list[CellPlan] | None) -> None:
        """Starts to work; see Roster.open."""
        self._tasks.spawn(self.pump.run(), "pump")
        self._tasks.spawn(self.pump.states.run(), "agent states")
        await self.access.open()
        await self.sessions.open(self._roster.active, resume=plans is not None)
        await self._roster.open(totals, plans=plans)

    async def close(self) -> None:
        """Ends the cells at once and closes the storage; what was not done is done after the next start."""
        await self.sessions.close()
        await self._tasks.close()
        self.pump.end()
        await self._roster.close()
        await self.pump.tally.close()
        await self.access.close()
        await self._storage.close()

    # OrganismRef: what everyone else asks

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        return await self.pump.submit(injects)

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> EventBatch:
        pump, publisher = self.pump, self.pump.publisher
        if incarnation == publisher.incarnation:
            await publisher.wait(cursor, timeout_s)
        events, missed = publisher.since(incarnation, cursor)
        ledger = pump.ledger
        return EventBatch(
            publisher.incarnation,
            publisher.cursor,
            events,
            missed,
            ledger.last_seq,
            ledger.active_threads,
            pump.status,
        )

    async def snapshot(self) -> Snapshot:
        self.pump.publisher.watch()
        return await self.pump.control(self._snapshot)

    async def bundle(self) -> bytes:
        return self._roster.active.organism.bundle.content

    async def thread(self, thread_id: str) -> Thread:
        found = await self._storage.threads_by_id([thread_id])
        if thread_id not in found:
            raise ThreadNotFound(thread_id)
        return found[thread_id]

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        return await self._storage.threads(where, limit, offset)

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        return await self._storage.messages(where, limit, offset, newest_first)

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        return await self._storage.message_page(where, limit)

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        return await self._storage.dead_letters(agent, limit, offset)

    async def requeue(self, message_id: str, owner: str | None = None) -> Message:
        return await self.pump.control(lambda: self._requeue(message_id, owner))

    async def kill_thread(self, thread_id: str) -> Thread:
        return await self.pump.control(lambda: self._kill_thread(thread_id))

    async def pause(self, agent: str) -> dict[str, Any]:
        return await self.pump.control(lambda: self._change(agent, self._roster.pause))

    async def resume(self, agent: str) -> dict[str, Any]:
        return await self.pump.control(lambda: self._change(agent, self._roster.resume))

    async def reload(self) -> Reloaded:
        if self.pump.status != "running":
            raise Stopping
        async with self._reloading:
            return await self._roster.reload(self.sessions.reloading)

    async def announce_ingest(self, job: dict[str, Any]) -> None:
        self.pump.publisher.publish([Event("ingest", None, job)])

    async def stop(self) -> None:
        if self.pump.status == "running":
            self.pump.status = "stopping"
            self.pump.dispatcher.is_open = False
            self.sessions.stop()
            self._tasks.spawn(self._drain(), "drain")

    async def wait_stopped(self) -> None:
        """Returns when a stop has ended: nothing runs any more."""
        await self._stopped.wait()

    async def ping(self) -> None:
        await self._storage.message_page(MessageFilter(after_seq=self.pump.ledger.last_seq), 1)

    # Between commits

    async def _snapshot(self) -> Snapshot:
        pump = self.pump
        threads, _ = await self._storage.threads(ThreadFilter(), RECENT_THREADS, 0)
        active = self._roster.active
        return Snapshot(
            incarnation=pump.publisher.incarnation,
            cursor=pump.publisher.cursor,
            seq=pump.ledger.last_seq,
            organism={
                "name": self.config.organism.name,
                "status": pump.status,
                "uptime_seconds": (now_ms() - self._started_ms) // 1000,
                "agent_count": len(pump.agents),
                "active_threads": pump.ledger.active_threads,
                "total_messages": pump.ledger.last_seq,
                "started_at": iso_timestamp(self._started_ms),
            },
            agents=[agent.view() for agent in pump.agents.values()],
            threads=[thread.to_api() for thread in threads],
            config=sanitized(active.text),
            bundle_digest=active.organism.bundle.digest,
        )

    async def _change(self, name: str, change: Callable[[str], Any]) -> dict[str, Any]:
        agent = self._agent(name)
        await change(name)
        return agent.view()

    def _agent(self, name: str) -> Agent:
        agent = self.pump.agents.get(name)
        if agent is None:
            raise AgentNotFound(name)
        return agent

    async def _kill_thread(self, thread_id: str) -> Thread:
        pump = self.pump
        await pump.load_threads([thread_id])
        thread = pump.ledger.threads.get(thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        if thread.status == "killed":
            return thread
        waiting = [each.message for each in await self._storage.queued_in_thread(thread_id)]
        await pump.commit(lambda: pump.ledger.kill(thread, waiting))
        names = [message.recipient for message in waiting]
        for name in set(names):
            agent = pump.agents.get(name) or pump.retired.get(name)
            if agent is not None:
                agent.window.depth -= names.count(name)
                self._cancel(agent, thread_id)
        pump.wake(set(names))
        return thread

    def _cancel(self, agent: Agent, thread_id: str) -> None:
        for entry in agent.window.drop_thread(thread_id):
            keeper = self.pump.dispatcher.keepers.get(entry.incarnation)
            if keeper is not None:
                keeper.cancel(entry.message.seq)
            self.pump.dispatcher.landed(entry)

    async def _requeue(self, message_id: str, owner: str | None) -> Message:
        letter = await self._storage.dead_letter(message_id)
        if letter is None:
            raise DeadLetterNotFound(message_id)
        message = letter.message._replace(fate=None)
        agent = self._agent(message.recipient)
        pump = self.pump
        await pump.load_threads([message.thread_id])
        if pump.ledger.threads[message.thread_id].status == "killed":
            raise ThreadKilled(message.thread_id)
        await pump.commit(lambda: pump.ledger.revive(message, owner))
        agent.window.requeue(message)
        pump.wake([agent.name])
        return message

    async def _drain(self) -> None:
        timeout_s = self.config.supervision.drain_timeout_s
        await asyncio.gather(self._roster.drain(timeout_s), self.sessions.drain(timeout_s))
        await self._roster.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self.pump.control(_nothing)  # until all that came before the stop is committed and answered
        self.pump.status = "stopped"
        self._stopped.set()


async def start_runtime(
    path: Path,
    host: Callable[[PumpLink], CellHost] = LocalCells,
    *,
    session_host: Callable[[SessionLink], SessionCellHost] | None = None,
    storage: Storage | None = None,
    session_storage: SessionStorage | None = None,
    access_storage: AccessStorage | None = None,
    resume: bool = False,
    on_failure: Callable[[BaseException], None] | None = None,
) -> Runtime:
    """Starts the organism of `path` (organism.yaml); the caller closes it.

    Args:
        host: makes what runs the cells, given their link to the pump; session_host: the same for session cells, None
            for cells in this process.
        storage, session_storage, access_storage: to use instead of those that the configuration names; not open yet.
        resume: go on with what was active in `storage` and find its cells: for a pump that was restarted.
        on_failure: told of an error that ended a task of the pump, after which it is of no use any more.

    Raises:
        ConfigError, BundleError, StorageLocked, StorageVersionError, StorageUnavailable (an agent whose handler cannot
        be loaded does not stop the others: it is in state error)
    """
    active = None if resume and storage is not None else await asyncio.to_thread(read_active, path)
    if storage is None:
        assert active is not None
        storage = open_storage(active.config.storage, path.parent, environment(path.parent, os.environ))
    totals = await storage.open()
    try:
        stored = stored_active(path, totals.settings) if resume else None
        active = stored.active if stored is not None else active or await asyncio.to_thread(read_active, path)
        if session_storage is None:
            environ = environment(path.parent, os.environ)
            session_storage = open_session_storage(active.config.storage, path.parent, environ)
        if access_storage is None:
            environ = environment(path.parent, os.environ)
            access_storage = open_access_storage(active.config.storage, path.parent, environ)
        tasks = Tasks(on_failure or _log_failure)
        session_host = session_host or _local_session_cells
        runtime = _wire(path, active, storage, totals, host, session_storage, session_host, access_storage, tasks)
    except BaseException:
        await storage.close()
        raise
    try:
        await runtime.open(totals, plans=None if stored is None else stored.plans)
    except BaseException:
        await runtime.close()
        raise
    return runtime


def _wire(
    path: Path,
    active: Active,
    storage: Storage,
    totals: Totals,
    host: Callable[[PumpLink], CellHost],
    session_storage: SessionStorage,
    session_host: Callable[[SessionLink], SessionCellHost],
    access_storage: AccessStorage,
    tasks: Tasks,
) -> Runtime:
    config = active.config
    publisher = Publisher()
    states = AgentStates(publisher, config.limits.agent_state_interval_s)
    ledger = Ledger(Router(config.listeners), config.limits, totals.last_seq, totals.active_threads)
    access = AccessDesk(access_storage, lambda: roster.active.config.auth.limits)
    pump = Pump(storage, ledger, publisher, states, Tally(access, tasks))
    desk = Desk(pump, storage)
    roster = Roster(path, active, pump, host(desk), tasks)
    sessions = Directory(path.parent, pump, session_storage, session_host, tasks)
    return Runtime(pump, desk, storage, roster, sessions, access, tasks)


@contextlib.asynccontextmanager
async def open_runtime(path: Path, **options: Any) -> AsyncIterator[Runtime]:
    """`start_runtime`, closed at the end of the `async with`."""
    runtime = await start_runtime(path, **options)
    try:
        yield runtime
    finally:
        await runtime.close()


def _local_session_cells(link: SessionLink) -> SessionCellHost:
    from organism.sessions.local_cells import LocalSessionCells  # the agent loop; a pump on Ray does without it

    return LocalSessionCells(link)


async def _nothing() -> None:
    """For its place in the queue."""


def _log_failure(error: BaseException) -> None:
    logger.critical("a task of the pump failed", exc_info=error)
