"""Which ready message goes to its cell next: under the limits of each agent, of its cell, and of the organism."""

from __future__ import annotations

from collections.abc import Iterable

from organism.agent import Agent
from organism.keeper import Keeper
from organism.states import AgentStates
from organism.storage.base import Storage
from organism.window import InFlight


class Dispatcher:
    """Hands messages to the cells and counts what they have.

    agents: by name; the roster fills it. keepers: by the incarnation of their cell. in_flight: handlers at work in
    the organism; max_handlers bounds them, and max_pipelines the threads at work; None is no limit.
    """

    def __init__(self, states: AgentStates) -> None:
        self.agents: dict[str, Agent] = {}
        self.keepers: dict[str, Keeper] = {}
        self.max_handlers: int | None = None
        self.max_pipelines: int | None = None
        self.in_flight = 0
        self.is_open = True
        self._states = states
        self._hot: set[str] = set()  # agents that may have something to deliver
        self._overflowing: set[str] = set()  # agents whose queue is not all in memory
        self._threads_at_work: dict[str, int] = {}  # messages in flight, counted only under max_pipelines

    @property
    def wants_refill(self) -> bool:
        """Whether some queue is not all in memory."""
        return bool(self._overflowing)

    def note(self, names: Iterable[str]) -> None:
        """These agents may have something to deliver at the next dispatch."""
        self._hot.update(names)

    def look_at(self, names: Iterable[str]) -> None:
        """These agents changed: they may have something to deliver, to read from the log, or to show."""
        for name in names:
            agent = self.agents.get(name)
            if agent is not None:
                self._hot.add(name)
                self._states.touch(agent)
                if agent.window.overflow:
                    self._overflowing.add(name)
        self.dispatch()

    def landed(self, entry: InFlight) -> None:
        """A message is not in flight any more."""
        self.in_flight -= 1
        if self._threads_at_work:
            thread_id = entry.message.thread_id
            left = self._threads_at_work.get(thread_id, 1) - 1
            if left:
                self._threads_at_work[thread_id] = left
            else:
                self._threads_at_work.pop(thread_id, None)
        keeper = self.keepers.get(entry.incarnation)
        if keeper is not None:
            keeper.settled(entry.message.seq)  # at last: it may hand over the next one

    def dispatch(self) -> None:
        """Hands ready messages to the cells, as far as all limits allow."""
        if not self.is_open:
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
        self._states.touch(agent)
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
            self._states.touch(agent)
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

    async def refill(self, storage: Storage) -> None:
        """Reads from the log what memory has room for again.

        Raises:
            StorageUnavailable: it is to be tried again later.
        """
        for name in list(self._overflowing):
            agent = self.agents.get(name)
            if agent is None or not agent.window.overflow:
                self._overflowing.discard(name)
            elif agent.window.wants_refill:
                window = agent.window
                room = window.room
                pending = await storage.queued(name, window.loaded_to, room)
                window.refill(pending, all_read=len(pending) < room)
                self._hot.add(name)
        self.dispatch()
