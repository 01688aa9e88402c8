"""The pump: in → validate → commit → deliver → commit → publish. One task does all of it, in that order.

What comes in while a commit is under way is worked into the next one, which begins when that ends: the storage and
the pump work side by side. Nothing of a commit is answered, delivered or published before it is durable. Control
verbs run when no commit is open, so nothing they see is half done. What routes, keeps books, holds queues and looks
after cells has files of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from organism.access.tally import Tally
from organism.agent import Agent
from organism.dispatcher import Dispatcher
from organism.errors import OrganismError, OrganismUnreachable, QueueFull, Stopping, StorageUnavailable, ThreadNotFound
from organism.ledger import Group, Ledger
from organism.messages import Accepted, Inject
from organism.publisher import Publisher
from organism.states import AgentStates
from organism.storage.base import Storage
from organism.threads import Thread
from organism.window import InFlight
from organism.wire import Outcome, Report

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_GROUP = 8192
"""Messages that share a commit; more wait for the next one."""

STORAGE_RETRY_S = 0.5
QUEUE_RETRY_AFTER_S = 1.0


class _Submitted(NamedTuple):
    injects: list[Inject]
    answer: asyncio.Future[list[Accepted | OrganismError]]


class _Reported(NamedTuple):
    report: Report
    answer: asyncio.Future[None]


class _Control(NamedTuple):
    action: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]


class _Settled(NamedTuple):
    agent: Agent
    entry: InFlight
    outcome: Outcome


@dataclass(slots=True)
class _Batch:
    """What one commit consists of, and whom it answers."""

    group: Group
    items: list[_Submitted | _Reported] = field(default_factory=list)
    answers: list[tuple[asyncio.Future[Any], Any]] = field(default_factory=list)
    settled: dict[int, _Settled] = field(default_factory=dict)
    size: int = 0


class Pump:
    """Moves messages between the log and the cells.

    agents: by name; the roster fills it, the pump starts nothing and knows no configuration. retired: agents that a
    reload removed and whose handlers still run. tally: counts the tokens of those who inject.
    """

    def __init__(
        self, storage: Storage, ledger: Ledger, publisher: Publisher, states: AgentStates, tally: Tally
    ) -> None:
        self.storage = storage
        self.ledger = ledger
        self.publisher = publisher
        self.states = states
        self.tally = tally
        self.dispatcher = Dispatcher(states)
        self.agents = self.dispatcher.agents
        self.retired: dict[str, Agent] = {}
        self.status = "running"
        self._inbox: deque[_Submitted | _Reported | _Control] = deque()
        self._news = asyncio.Event()
        self._storage_failed = False
        self._has_ended = False
        self._touched: dict[str, asyncio.Event] = {}
        self._open: _Batch | None = None  # being filled
        self._writing: _Batch | None = None  # being committed
        self._commit: asyncio.Task[None] | None = None

    # What comes in

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        """See OrganismRef.submit."""
        if self.status != "running" or self._has_ended:
            return [Stopping() for _ in injects]
        answer: asyncio.Future[list[Accepted | OrganismError]] = asyncio.get_running_loop().create_future()
        self._put(_Submitted(injects, answer))
        return await answer

    async def report(self, report: Report) -> None:
        """Takes what a cell reports; returns when it is committed."""
        for name, count in report.waiting.items():
            if name in self.agents:
                self.agents[name].waiting = count
                self.states.touch(self.agents[name])
        if report.waiting:
            self.states.flush()
        if report.outcomes:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._put(_Reported(report, answer))
            await answer

    async def control(self, action: Callable[[], Awaitable[T]]) -> T:
        """Runs `action` between two commits and returns what it returns. Raises Stopping when the pump has ended."""
        if self._has_ended:
            raise Stopping
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Control(action, answer))
        return await answer

    async def inactive_thread(self, thread_id: str) -> Thread:
        """The thread as it is stored, when it is active no more. Raises ThreadNotFound."""
        while True:
            touched = self._touched.setdefault(thread_id, asyncio.Event())
            found = await self.storage.threads_by_id([thread_id])
            if thread_id not in found:
                raise ThreadNotFound(thread_id)
            if found[thread_id].status != "active":
                return found[thread_id]
            await touched.wait()

    def _put(self, item: _Submitted | _Reported | _Control) -> None:
        self._inbox.append(item)
        self._news.set()

    # The one loop

    async def run(self) -> None:
        """Works until cancelled; who waits for an answer then is told."""
        try:
            while True:
                await self._turn()
        finally:
            if self._commit is not None:
                self._commit.cancel()
            self.end()

    async def _turn(self) -> None:
        """Does one thing that can be done now, or waits for something to do."""
        if self._commit is not None and self._commit.done():
            await self._conclude()
        elif self._inbox and not isinstance(self._inbox[0], _Control) and self._has_room:
            await self._fill()
        elif self._open is not None and self._writing is None:
            await self._begin_commit()
        elif self._inbox and self._open is None and self._writing is None:
            control = self._inbox.popleft()
            assert isinstance(control, _Control)
            await _answer(control)
        else:
            self.states.flush()
            await self._news.wait()
            self._news.clear()
        if self.dispatcher.wants_refill:
            await self._refill()

    @property
    def _has_room(self) -> bool:
        return self._open is None or self._open.size < MAX_GROUP

    async def _fill(self) -> None:
        """Works what has come in into the open batch."""
        items = self._next_items()
        found = [self._found(item) for item in items]
        try:
            await self.load_threads(_thread_ids(items, found))
        except StorageUnavailable as error:
            await self._put_off(items, error)
            return
        if self._open is None:
            self._open = _Batch(self.ledger.open_group())
        batch = self._open
        batch.items.extend(items)
        for item, outcomes in zip(items, found, strict=True):
            if isinstance(item, _Submitted):
                batch.answers.append((item.answer, self._accept(item.injects)))
                batch.size += len(item.injects)
            else:
                self._settle(outcomes, batch.settled)
                batch.answers.append((item.answer, None))
                batch.size += len(outcomes)

    def _next_items(self) -> list[_Submitted | _Reported]:
        items: list[_Submitted | _Reported] = []
        size = 0
        while self._inbox and size < MAX_GROUP:
            item = self._inbox[0]
            if isinstance(item, _Control):
                break
            self._inbox.popleft()
            items.append(item)
            size += len(item.injects) if isinstance(item, _Submitted) else len(item.report.outcomes)
        return items

    async def _begin_commit(self) -> None:
        batch, self._open = self._open, None
        assert batch is not None
        self.ledger.close_group(batch.group)
        self._writing = batch
        self._commit = asyncio.create_task(self._write(batch.group), name="commit")
        self._commit.add_done_callback(lambda _: self._news.set())
        await asyncio.sleep(0)  # now the storage has taken its copy, and the threads may change again

    async def _write(self, group: Group) -> None:
        if group.commit.messages or group.commit.done:
            await self.storage.commit(group.commit)

    async def _conclude(self) -> None:
        """The commit has ended: what it holds takes effect, or nothing of it."""
        commit, self._commit = self._commit, None
        batch, self._writing = self._writing, None
        assert commit is not None
        assert batch is not None
        try:
            commit.result()
        except StorageUnavailable as error:
            await self._undo(batch, error)
            return
        self._storage_failed = False
        for agent, entry, outcome in batch.settled.values():
            agent.count(outcome)
            agent.window.settle(entry.message.seq)
            self.dispatcher.landed(entry)
        self._note_activity({agent.name: agent for agent, _, _ in batch.settled.values()})
        self.follow(batch.group)
        for future, result in batch.answers:
            if not future.done():
                future.set_result(result)

    async def _undo(self, failed: _Batch, error: StorageUnavailable) -> None:
        """Also of what was built upon it."""
        batches = [failed] if self._open is None else [failed, self._open]
        self._open = None
        self.ledger.roll_back([batch.group for batch in batches])
        await self._put_off([item for batch in batches for item in batch.items], error)

    def _found(self, item: _Submitted | _Reported) -> list[_Settled]:
        """The outcomes of a report that count: the others were settled before, or their thread was killed, or
        another cell has the message now."""
        if isinstance(item, _Submitted):
            return []
        incarnation, outcomes, _ = item.report
        found: list[_Settled] = []
        for outcome in outcomes:
            agent = self.agents.get(outcome.recipient) or self.retired.get(outcome.recipient)
            entry = None if agent is None else agent.window.in_flight.get(outcome.seq)
            if agent is not None and entry is not None and entry.incarnation == incarnation:
                found.append(_Settled(agent, entry, outcome))
        return found

    def _accept(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        max_queue = self.ledger.limits.max_queue
        results: list[Accepted | OrganismError] = []
        for inject in injects:
            agent = self.agents.get(inject.recipient)
            if agent is not None and agent.window.depth + self._joining(inject.recipient) >= max_queue:
                results.append(QueueFull(inject.recipient, max_queue, QUEUE_RETRY_AFTER_S))
            else:
                results.append(self.ledger.accept(inject))
        return results

    def _joining(self, name: str) -> int:
        """Messages for this agent that are accepted and not committed yet."""
        batches = [batch for batch in (self._writing, self._open) if batch is not None]
        return sum(batch.group.joining.get(name, 0) for batch in batches)

    def _settle(self, outcomes: list[_Settled], settled: dict[int, _Settled]) -> None:
        before = self._writing.settled if self._writing is not None else {}
        for each in outcomes:
            seq = each.outcome.seq
            if seq not in settled and seq not in before:  # a report may come twice
                self.ledger.settle(each.entry.message, each.outcome)
                settled[seq] = each

    async def _put_off(self, items: list[_Submitted | _Reported], error: StorageUnavailable) -> None:
        """The storage failed: refuses the injects, keeps the outcomes for the next try."""
        if not self._storage_failed:
            logger.error("%s", error)
        self._storage_failed = True
        kept = [item for item in items if isinstance(item, _Reported)]
        for item in items:
            if isinstance(item, _Submitted) and not item.answer.done():
                item.answer.set_result([error for _ in item.injects])
        self._inbox.extend(kept)  # at the end, so that they do not keep control verbs waiting
        if kept:
            await asyncio.sleep(STORAGE_RETRY_S)

    def end(self) -> None:
        """Answers all who wait, and from now on all who come. What was being written may be in the log, or not."""
        self._has_ended = True
        unknown = OrganismUnreachable("it ended while this was being stored")
        for item in self._writing.items if self._writing is not None else ():
            if isinstance(item, _Submitted) and not item.answer.done():
                item.answer.set_result([unknown for _ in item.injects])
        for item in (*(self._open.items if self._open is not None else ()), *self._inbox):
            if isinstance(item, _Submitted) and not item.answer.done():
                item.answer.set_result([Stopping() for _ in item.injects])
            elif isinstance(item, _Control) and not item.answer.done():
                item.answer.set_exception(Stopping())

    # What follows from a commit

    async def commit(self, fill: Callable[[], None]) -> None:
        """For control verbs: opens a group, lets `fill` write it, commits it and follows it.

        Raises:
            StorageUnavailable: nothing was stored and nothing has changed.
        """
        group = self.ledger.open_group()
        try:
            fill()
            self.ledger.close_group(group)
            await self.storage.commit(group.commit)
        except BaseException:
            self.ledger.roll_back([group])
            raise
        self.follow(group)

    def follow(self, group: Group) -> None:
        """Queues what was committed, publishes it, counts its tokens, and delivers what may go."""
        agents = self.agents
        for message in group.routed:
            agents[message.recipient].window.add(message)
        self.dispatcher.note({message.recipient for message in group.routed})
        self.publisher.publish(group.events)
        for owner, tokens in group.spent.items():
            self.tally.add(owner, tokens)
        self.dispatcher.dispatch()
        for thread_id in self._touched.keys() & group.touched.keys():
            if group.touched[thread_id].status != "active":
                self._touched.pop(thread_id).set()
        self.ledger.trim(keep=self._open.group.touched if self._open is not None else {})

    def release(self, agent: Agent, entry: InFlight) -> None:
        """The message in flight is settled: its agent has room."""
        agent.window.settle(entry.message.seq)
        self.dispatcher.landed(entry)
        self._note_activity({agent.name: agent})

    def _note_activity(self, agents: dict[str, Agent]) -> None:
        self.dispatcher.note(agents)
        for name, agent in agents.items():
            agent.last_activity_ms = self.ledger.now_ms
            if name in self.agents:
                self.states.touch(agent)  # nothing is told of one that was removed

    def flying(self, incarnation: str) -> list[tuple[Agent, InFlight]]:
        """What a cell has at present, with whose it is."""
        return [
            (agent, entry)
            for agent in (*self.agents.values(), *self.retired.values())
            for entry in agent.window.in_flight.values()
            if entry.incarnation == incarnation
        ]

    def wake(self, names: Iterable[str]) -> None:
        """These agents changed: they may have something to deliver, to read from the log, or to show."""
        self.dispatcher.look_at(names)
        self._news.set()

    async def _refill(self) -> None:
        try:
            await self.dispatcher.refill(self.storage)
        except StorageUnavailable:
            asyncio.get_running_loop().call_later(STORAGE_RETRY_S, self._news.set)

    async def load_threads(self, thread_ids: Iterable[str]) -> None:
        """Makes sure that the ledger has those of these threads that exist."""
        missing = self.ledger.missing(thread_ids)
        if missing:
            self.ledger.threads.update(await self.storage.threads_by_id(missing))


def _thread_ids(items: list[_Submitted | _Reported], found: list[list[_Settled]]) -> set[str]:
    """The threads that these items are about, but for new ones."""
    ids = {each.entry.message.thread_id for outcomes in found for each in outcomes}
    for item in items:
        if isinstance(item, _Submitted):
            ids.update([inject.thread_id for inject in item.injects if inject.thread_id is not None])
    return ids


async def _answer(control: _Control) -> None:
    """Runs a control verb; its error goes to who asked, and the pump goes on."""
    try:
        result = await control.action()
    except Exception as error:
        if not control.answer.done():
            control.answer.set_exception(error)
    else:
        if not control.answer.done():
            control.answer.set_result(result)
