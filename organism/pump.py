"""The pump: in → validate → commit → deliver → commit → publish. One task does all of it, in that order.

Injects and reports gather while the last commit is under way and go together in the next. Control verbs run between
commits, so nothing they see is half done. What routes, keeps books, holds queues and looks after cells has files of
its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from organism.agent import Agent
from organism.errors import OrganismError, QueueFull, Stopping, StorageUnavailable
from organism.keeper import Keeper
from organism.ledger import Group, Ledger
from organism.messages import Accepted, Inject
from organism.publisher import Publisher
from organism.states import AgentStates
from organism.storage.base import Storage
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


class Pump:
    """Moves messages between the log and the cells.

    agents: by name; the roster fills it, the pump starts nothing and knows no configuration. retired: agents that a
    reload removed and whose handlers still run. keepers: by the incarnation of their cell.
    max_handlers: handlers at work in the organism; max_pipelines: threads at work; None is no limit.
    """

    def __init__(self, storage: Storage, ledger: Ledger, publisher: Publisher, states: AgentStates) -> None:
        self.storage = storage
        self.ledger = ledger
        self.publisher = publisher
        self.states = states
        self.agents: dict[str, Agent] = {}
        self.retired: dict[str, Agent] = {}
        self.keepers: dict[str, Keeper] = {}
        self.status = "running"
        self.max_handlers: int | None = None
        self.max_pipelines: int | None = None
        self.in_flight = 0
        self._inbox: deque[_Submitted | _Reported | _Control] = deque()
        self._news = asyncio.Event()
        self._hot: set[str] = set()  # agents that may have something to deliver
        self._overflowing: set[str] = set()  # agents whose queue is not all in memory
        self._threads_at_work: dict[str, int] = {}  # messages in flight, counted only under max_pipelines
        self._storage_failed = False

    # What comes in

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        """See OrganismRef.submit."""
        if self.status != "running":
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
        """Runs `action` between two commits and returns what it returns."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Control(action, answer))
        return await answer

    def _put(self, item: _Submitted | _Reported | _Control) -> None:
        self._inbox.append(item)
        self._news.set()

    # The one loop

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._inbox:
                await self._step()
            await self._refill()
            self.states.flush()

    async def _step(self) -> None:
        first = self._inbox[0]
        if isinstance(first, _Control):
            self._inbox.popleft()
            await _answer(first)
        else:
            await self._commit_group(self._next_group())
        if self._overflowing:
            await self._refill()
        self.states.flush()

    def _next_group(self) -> list[_Submitted | _Reported]:
        group: list[_Submitted | _Reported] = []
        size = 0
        while self._inbox and size < MAX_GROUP:
            item = self._inbox[0]
            if isinstance(item, _Control):
                break
            self._inbox.popleft()
            group.append(item)
            size += len(item.injects) if isinstance(item, _Submitted) else len(item.report.outcomes)
        return group

    async def _commit_group(self, items: list[_Submitted | _Reported]) -> None:
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        settled: dict[int, _Settled] = {}
        self.ledger.open_group()
        try:
            await self.load_threads(self._thread_ids(items))
            for item in items:
                if isinstance(item, _Submitted):
                    answers.append((item.answer, self._accept(item.injects)))
                else:
                    self._settle(item.report, settled)
                    answers.append((item.answer, None))
            group = self.ledger.close_group()
            if group.commit.messages or group.commit.done:
                await self.storage.commit(group.commit)
        except StorageUnavailable as error:
            self.ledger.roll_back()
            await self._put_off(items, error)
            return
        self._storage_failed = False
        for agent, entry, outcome in settled.values():
            agent.count(outcome)
            self.release(agent, entry)
        self.follow(group)
        for future, result in answers:
            if not future.done():
                future.set_result(result)

    def _thread_ids(self, items: list[_Submitted | _Reported]) -> list[str]:
        ids: list[str] = []
        for item in items:
            if isinstance(item, _Submitted):
                ids.extend([inject.thread_id for inject in item.injects if inject.thread_id is not None])
            else:
                for outcome in item.report.outcomes:
                    entry = self._entry(outcome.recipient, outcome.seq)
                    if entry is not None:
                        ids.append(entry.message.thread_id)
        return ids

    def _entry(self, name: str, seq: int) -> InFlight | None:
        agent = self.agents.get(name) or self.retired.get(name)
        return None if agent is None else agent.window.in_flight.get(seq)

    def _accept(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        max_queue = self.ledger.limits.max_queue
        results: list[Accepted | OrganismError] = []
        for inject in injects:
            agent = self.agents.get(inject.recipient)
            if agent is not None and agent.window.depth + self.ledger.joining(inject.recipient) >= max_queue:
                results.append(QueueFull(inject.recipient, max_queue, QUEUE_RETRY_AFTER_S))
            else:
                results.append(self.ledger.accept(inject))
        return results

    def _settle(self, report: Report, settled: dict[int, _Settled]) -> None:
        incarnation, outcomes, _ = report
        for outcome in outcomes:
            agent = self.agents.get(outcome.recipient) or self.retired.get(outcome.recipient)
            entry = None if agent is None else agent.window.in_flight.get(outcome.seq)
            if agent is None or entry is None or entry.incarnation != incarnation or outcome.seq in settled:
                continue  # committed before, or its thread was killed, or another cell has it now
            self.ledger.settle(entry.message, outcome)
            settled[outcome.seq] = _Settled(agent, entry, outcome)

    async def _put_off(self, items: list[_Submitted | _Reported], error: StorageUnavailable) -> None:
        """The storage failed: refuses the injects, keeps the outcomes for the next try."""
        if not self._storage_failed:
            logger.error("%s", error)
        self._storage_failed = True
        kept = [item for item in items if isinstance(item, _Reported)]
        for item in items:
            if isinstance(item, _Submitted) and not item.answer.done():
                item.answer.set_result([error for _ in item.injects])
        self._inbox.extendleft(reversed(kept))
        if kept:
            await asyncio.sleep(STORAGE_RETRY_S)

    # What follows from a commit

    async def commit(self, fill: Callable[[], None]) -> None:
        """For control verbs: opens a group, lets `fill` write it, commits it and follows it.

        Raises:
            StorageUnavailable: nothing was stored and nothing has changed.
        """
        self.ledger.open_group()
        try:
            fill()
            group = self.ledger.close_group()
            await self.storage.commit(group.commit)
        except BaseException:
            self.ledger.roll_back()
            raise
        self.follow(group)

    def follow(self, group: Group) -> None:
        """Queues what was committed, publishes it, and delivers what may go."""
        agents, hot = self.agents, self._hot
        for message in group.routed:
            agents[message.recipient].window.add(message)
            hot.add(message.recipient)
        self.publisher.publish(group.events)
        self.dispatch()
        self.ledger.trim()

    def release(self, agent: Agent, entry: InFlight) -> None:
        """The message in flight is settled: its agent has room."""
        agent.window.settle(entry.message.seq)
        agent.last_activity_ms = self.ledger.now_ms
        self._hot.add(agent.name)
        self.states.touch(agent)
        self.landed(entry)

    def landed(self, entry: InFlight) -> None:
        """A message is not in flight any more."""
        self.in_flight -= 1
        keeper = self.keepers.get(entry.incarnation)
        if keeper is not None:
            keeper.settled(entry.message.seq)
        if self._threads_at_work:
            thread_id = entry.message.thread_id
            left = self._threads_at_work.get(thread_id, 1) - 1
            if left:
                self._threads_at_work[thread_id] = left
            else:
                self._threads_at_work.pop(thread_id, None)

    def flying(self, incarnation: str) -> list[tuple[Agent, InFlight]]:
        """What a cell has at present, with whose it is."""
        return [
            (agent, entry)
            for agent in (*self.agents.values(), *self.retired.values())
            for entry in agent.window.in_flight.values()
            if entry.incarnation == incarnation
        ]

    async def load_threads(self, thread_ids: Iterable[str]) -> None:
        """Makes sure that the ledger has those of these threads that exist."""
        missing = self.ledger.missing(thread_ids)
        if missing:
            self.ledger.threads.update(await self.storage.threads_by_id(missing))

    def wake(self, names: Iterable[str]) -> None:
        """These agents may have something to deliver or to show."""
        for name in names:
            agent = self.agents.get(name)
            if agent is not None:
                self._hot.add(name)
                self.states.touch(agent)
                if agent.window.overflow:
                    self._overflowing.add(name)
        self.dispatch()
        self._news.set()

    def dispatch(self) -> None:
        """Hands ready messages to the cells, as far as all limits allow."""
        if self.status != "running":
            return
        if self.max_handlers is not None or self.max_pipelines is not None:
            self._deliver_in_turn()
            return
        hot, self._hot = self._hot, set()
        for name in hot:
            agent = self.agents.get(name)
            if agent is not None:
                self._deliver_all(agent)

    def _deliver_all(self, agent: Agent) -> None:
        self.states.touch(agent)
        if agent.window.overflow:
            self._overflowing.add(agent.name)
        keeper, window = agent.keeper, agent.window
        if not agent.may_take:
            return
        ready, incarnation = window.ready, keeper.incarnation
        count = min(agent.max_concurrent - len(window.in_flight), len(ready))
        while count > 0 and keeper.may_take(ready.first().deaths):
            entry = window.take(incarnation)
            keeper.hand_over(entry.message, entry.deaths)
            self.in_flight += 1
            count -= 1

    def _deliver_in_turn(self) -> None:
        """With limits over all agents: whose first message is first in the order of scheduling goes first."""
        while self.max_handlers is None or self.in_flight < self.max_handlers:
            agent = min(self._startable(), key=lambda each: each.window.ready.rank(), default=None)
            if agent is None:
                return
            entry = agent.window.take(agent.keeper.incarnation)
            agent.keeper.hand_over(entry.message, entry.deaths)
            self.in_flight += 1
            self.states.touch(agent)
            if self.max_pipelines is not None:
                thread_id = entry.message.thread_id
                self._threads_at_work[thread_id] = self._threads_at_work.get(thread_id, 0) + 1

    def _startable(self) -> list[Agent]:
        startable: list[Agent] = []
        for name in list(self._hot):
            agent = self.agents.get(name)
            if agent is not None and agent.window.overflow:
                self._overflowing.add(name)
            if agent is None or not agent.may_take or not agent.keeper.may_take(agent.window.ready.first().deaths):
                self._hot.discard(name)
            elif self._may_start_thread(agent.window.ready.first().message.thread_id):
                startable.append(agent)
        return startable

    def _may_start_thread(self, thread_id: str) -> bool:
        at_work = self._threads_at_work
        return self.max_pipelines is None or thread_id in at_work or len(at_work) < self.max_pipelines

    async def _refill(self) -> None:
        """Reads from the log what memory has room for again."""
        for name in list(self._overflowing):
            agent = self.agents.get(name)
            if agent is None or not agent.window.overflow:
                self._overflowing.discard(name)
            elif agent.window.wants_refill:
                window = agent.window
                room = window.room
                try:
                    pending = await self.storage.queued(name, window.loaded_to, room)
                except StorageUnavailable:
                    asyncio.get_running_loop().call_later(STORAGE_RETRY_S, self._news.set)
                    return
                window.refill(pending, all_read=len(pending) < room)
                self._hot.add(name)
        self.dispatch()


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
