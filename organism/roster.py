"""Who is in the organism: fills the pump's agents from a configuration, keeps their cells alive, reloads.

What is active is stored (configuration text, bundle, cells), so that a pump which Ray restarts goes on with just
that, whatever the files say meanwhile, and finds its cells again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from organism.active import ACTIVE, Active, compare, read_active, to_setting
from organism.agent import Agent
from organism.config import Listener, OrganismConfig
from organism.errors import ConfigError, Stopping, StorageUnavailable
from organism.keeper import Keeper
from organism.messages import Message, iso_timestamp, now_ms
from organism.plan import CellPlan, cell_spec, isolation_of, plan_cells
from organism.pump import Pump
from organism.ref import Event, Reloaded
from organism.router import Router
from organism.storage.base import Commit, Totals
from organism.tasks import Tasks
from organism.window import InFlight, Window
from organism.wire import Attached, CellDied, CellHost, CellSpec, Delivery

logger = logging.getLogger(__name__)

PAUSED = "paused:"
DRAIN_POLL_S = 0.05
STORAGE_RETRY_S = 0.5
BURIED_AT_ONCE = 1000
"""Messages that become dead letters in one commit."""


class Roster:
    """The agents and the keepers of their cells. Implements KeeperEvents."""

    def __init__(self, path: Path, active: Active, pump: Pump, host: CellHost, tasks: Tasks) -> None:
        self.path = path
        self.active = active
        self._pump = pump
        self._host = host
        self._tasks = tasks
        self._running: dict[Keeper, asyncio.Task[None]] = {}

    # Starting and ending

    async def open(self, totals: Totals, *, plans: list[CellPlan] | None) -> None:
        """Fills the pump. `plans`: the cells of an earlier pump, to be found again; None starts new ones."""
        config = self.active.config
        adopt = plans is not None
        if plans is None:
            plans = plan_cells(config, self.active.definitions, list(config.listeners), self.active.generation)
        keepers = [Keeper(plan, self._host, config.supervision, self) for plan in plans]
        for keeper in keepers:
            for listener in keeper.plan.listeners:
                agent = self._new_agent(listener, keeper, totals.queued.get(listener.name, 0))
                agent.paused = f"{PAUSED}{listener.name}" in totals.settings
        self._apply_limits()
        await self._store(self.active, plans)
        await self._bury_orphans([name for name in totals.queued if name not in self._pump.agents])
        await self._host.end_others([keeper.name for keeper in keepers])
        for keeper in keepers:
            self._run(keeper, adopt=adopt)
        self._pump.wake(list(self._pump.agents))

    async def close(self) -> None:
        """Ends all cells; what they run is done again some day."""
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        await asyncio.gather(*(keeper.kill() for keeper in running))

    # Control verbs

    async def pause(self, name: str) -> None:
        await self._pump.storage.commit(Commit(settings={f"{PAUSED}{name}": "1"}))
        self._pump.agents[name].paused = True
        self._pump.wake([name])

    async def resume(self, name: str) -> None:
        """Also starts an agent again whose cell was given up."""
        await self._pump.storage.commit(Commit(settings={f"{PAUSED}{name}": None}))
        agent = self._pump.agents[name]
        agent.paused = False
        agent.error = None
        agent.keeper.revive()
        self._pump.wake([name])

    async def reload(self, beside: Callable[[Active], AbstractAsyncContextManager[None]]) -> Reloaded:
        """Takes over the changed file and code: all of it, or, when anything is wrong with it, nothing.

        beside: for what else depends on the configuration: entered before anything changes, which it may refuse, and
        left when the change is at work, or with the error that prevented it.

        Raises:
            ConfigError, BundleError, HandlerNotLoaded, Stopping, StorageUnavailable: nothing has changed.
        """
        old = self.active
        new = await asyncio.to_thread(read_active, self.path, old.generation + 1)
        self._refuse_fixed(old.config, new.config)
        report = compare(old, new)
        fresh = [each for each in new.config.listeners if each.name not in report.unchanged]
        plans = plan_cells(new.config, new.definitions, fresh, new.generation)
        keepers = [Keeper(plan, self._host, new.config.supervision, self) for plan in plans]
        try:
            async with beside(new):
                started = await self._try_out(keepers, new)
                await self._pump.control(lambda: self._swap(new, started, report))
        except BaseException:
            await asyncio.gather(*(keeper.kill() for keeper in keepers))
            raise
        if report.removed:
            self._tasks.spawn(self._bury_removed(report.removed), "bury what waits for removed listeners")
        return report

    async def _try_out(self, keepers: list[Keeper], new: Active) -> list[tuple[Keeper, Attached]]:
        """Starts the new cells beside the old ones."""
        starting = (self._try(keeper, new) for keeper in keepers)
        started = await asyncio.gather(*starting, return_exceptions=True)
        for each in started:
            if isinstance(each, BaseException):
                raise _as_config_error(each, self.path)
        return [(keeper, each) for keeper, each in zip(keepers, started, strict=True) if isinstance(each, Attached)]

    async def _try(self, keeper: Keeper, new: Active) -> Attached:
        """Bounded, since Ray waits for ever for a node with resources that none has."""
        timeout_s = new.config.supervision.start_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await keeper.start(cell_spec(keeper.plan, new.organism))
        except TimeoutError:
            problem = f"{keeper.name} has not started within {timeout_s:g} s (supervision.start_timeout_s)"
            remedy = "See whether a node has the resources it asks for, and how long its module takes to import"
            raise ConfigError(str(self.path), None, "listeners", problem, remedy) from None

    async def _swap(self, new: Active, fresh: list[tuple[Keeper, Attached]], report: Reloaded) -> None:
        """Between two commits: the new configuration is at work, or, when it cannot be stored, the old one still is."""
        pump = self._pump
        if pump.status != "running":
            raise Stopping
        kept = self._kept_plans(report.unchanged)
        await self._store(new, [*kept.values(), *(keeper.plan for keeper, _ in fresh)])
        self.active = new
        for name in report.removed:
            self._remove(name)
        for keeper, plan in kept.items():
            keeper.plan = plan
            keeper.revive()
        pump.ledger.limits = new.config.limits
        pump.ledger.router = Router(new.config.listeners, [each.listener for each in pump.retired.values()])
        pump.ledger.router.learn({name: pump.agents[name].accepts for name in report.unchanged})
        for keeper, attached in fresh:
            for listener in keeper.plan.listeners:
                self._hand_to(listener, keeper)
            await self.cell_up(keeper, attached)
            self._run(keeper)
        for keeper in [each for each in self._running if each not in {agent.keeper for agent in pump.agents.values()}]:
            self._tasks.spawn(self._retire(keeper), f"{keeper.name}: retire")
        self._apply_limits()
        value = {"added": report.added, "changed": report.changed, "removed": report.removed}
        pump.publisher.publish([Event("reloaded", None, value)])
        pump.wake(list(pump.agents))

    def _kept_plans(self, unchanged: list[str]) -> dict[Keeper, CellPlan]:
        """What is left of the present cells: those of their listeners that did not change."""
        agents = self._pump.agents
        kept: dict[Keeper, CellPlan] = {}
        for keeper in {agents[name].keeper: None for name in unchanged}:
            served = tuple(each for each in keeper.plan.listeners if each.name in unchanged)
            digests = {each.name: keeper.plan.definitions[each.name] for each in served}
            kept[keeper] = replace(keeper.plan, listeners=served, definitions=digests)
        return kept

    def _remove(self, name: str) -> None:
        """It finishes what it runs; what waits for it in the log is buried soon."""
        pump = self._pump
        agent = pump.retired[name] = pump.agents.pop(name)
        agent.window.unload()
        pump.states.forget(name)

    async def _bury_removed(self, names: list[str]) -> None:
        """Tries until the storage lets it; should the organism end before, the next start does it."""
        while True:
            try:
                await self._pump.control(lambda: self._bury_orphans([name for name in names if self._is_gone(name)]))
            except StorageUnavailable:
                await asyncio.sleep(STORAGE_RETRY_S)
            else:
                self._forget_drained()
                return

    def _is_gone(self, name: str) -> bool:
        return name not in self._pump.agents  # a later reload may have brought it back

    def _hand_to(self, listener: Listener, keeper: Keeper) -> None:
        """Gives a changed listener its new cell, or makes a new agent."""
        pump = self._pump
        agent = pump.agents.get(listener.name) or pump.retired.pop(listener.name, None)
        if agent is None:
            self._new_agent(listener, keeper, 0)
            return
        pump.agents[listener.name] = agent
        agent.listener, agent.keeper, agent.error = listener, keeper, None
        agent.max_concurrent = self._max_concurrent(listener)
        agent.isolation = isolation_of(listener, self.active.config)

    async def _retire(self, keeper: Keeper) -> None:
        """Lets a replaced cell finish what it runs, then ends it."""
        while self._pump.flying(keeper.incarnation):  # noqa: ASYNC110 - rare, so no event is set for each message
            await asyncio.sleep(DRAIN_POLL_S)
        task = self._running.get(keeper)
        if task is None:
            return  # the organism is being closed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await keeper.kill()
        self._running.pop(keeper, None)
        self._pump.dispatcher.keepers.pop(keeper.incarnation, None)
        self._forget_drained()

    def _forget_drained(self) -> None:
        retired = self._pump.retired
        for name in [name for name, agent in retired.items() if agent.window.depth == 0]:
            del retired[name]

    async def drain(self, timeout_s: float) -> None:
        """Waits until no handler runs, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._pump.dispatcher.in_flight:  # noqa: ASYNC110 - once in a life
                    await asyncio.sleep(DRAIN_POLL_S)

    # What keepers tell

    def new_spec(self, plan: CellPlan) -> CellSpec:
        return cell_spec(plan, self.active.organism)

    async def deliveries(self, messages: list[Message]) -> list[Delivery]:
        """Adds what the listeners keep for these threads; waits while the storage fails."""
        threads = self._pump.ledger.threads
        missing = self._pump.ledger.missing(message.thread_id for message in messages)
        while missing:
            try:
                # Not put in the ledger's cache: a commit under way may know these threads better by now.
                threads = {**threads, **await self._pump.storage.threads_by_id(missing)}
                break
            except StorageUnavailable:
                await asyncio.sleep(STORAGE_RETRY_S)
        deliveries: list[Delivery] = []
        for message in messages:
            thread = threads[message.thread_id]
            if thread.states or thread.todos or thread.tokens:
                name = message.recipient
                todos = tuple(replace(each) for each in thread.todos if each.listener == name)
                own = thread.tokens.get(name, 0)
                others = sum(thread.tokens.values()) - own
                deliveries.append(Delivery(message, thread.states.get(name), todos, own, others))
            else:
                deliveries.append(Delivery(message))
        return deliveries

    async def cell_up(self, keeper: Keeper, attached: Attached) -> None:
        pump = self._pump
        pump.dispatcher.keepers[keeper.incarnation] = keeper
        pump.ledger.router.learn(attached.accepts)
        names = []
        for name, accepts in attached.accepts.items():
            agent = pump.agents.get(name)
            if agent is not None and agent.keeper is keeper:
                agent.accepts = accepts
                agent.error = None
                names.append(name)
        pump.wake(names)

    async def cell_died(self, keeper: Keeper, incarnation: str, reason: str) -> None:
        """Gives its messages back to their queues; buries the one that has killed too many cells."""
        if incarnation:
            while True:
                try:
                    await self._pump.control(lambda: self._take_back(keeper, incarnation, reason))
                    break
                except StorageUnavailable:
                    await asyncio.sleep(STORAGE_RETRY_S)
        text = f"cell {keeper.name} died ({reason}); it is started again"
        logger.warning("%s", text)
        for listener in keeper.plan.listeners:
            self._publish_error(listener.name, text)

    async def cell_given_up(self, keeper: Keeper, reason: str) -> None:
        text = f"cell {keeper.name} died too often, at last: {reason}. Resume the agent or reload to start it again"
        logger.error("%s", text)
        for listener in keeper.plan.listeners:
            agent = self._pump.agents.get(listener.name)
            if agent is not None and agent.keeper is keeper:
                agent.error = text
                agent.waiting = 0
                self._publish_error(listener.name, text)
                self._pump.wake([listener.name])

    def cell_has_room(self, keeper: Keeper) -> None:
        self._pump.wake([each.name for each in keeper.plan.listeners])

    async def _take_back(self, keeper: Keeper, incarnation: str, reason: str) -> None:
        pump = self._pump
        lost = [(agent, entry._replace(deaths=entry.deaths + 1)) for agent, entry in pump.flying(incarnation)]
        is_alone = len(lost) == 1  # in company nobody knows which of them it was
        dead = [each for each in lost if self._is_hopeless(*each, is_alone=is_alone)]
        alive = [each for each in lost if not self._is_hopeless(*each, is_alone=is_alone)]
        await pump.load_threads(entry.message.thread_id for _, entry in dead)

        def fill() -> None:
            for _, entry in dead:
                died = f"its cell died with it, {entry.deaths} times by now, at last: {reason}"
                pump.ledger.bury(entry.message, died, entry.deaths)
            pump.ledger.note_deaths([entry for _, entry in alive])

        await pump.commit(fill)
        for agent, entry in dead:
            pump.release(agent, entry)
        for agent, entry in sorted(alive, key=lambda each: -each[1].message.seq):
            agent.window.give_back(entry)
            pump.dispatcher.landed(entry)
        for agent, _ in lost:
            agent.waiting = 0
        pump.dispatcher.keepers.pop(incarnation, None)
        pump.wake({agent.name for agent, _ in lost})

    def _is_hopeless(self, agent: Agent, entry: InFlight, *, is_alone: bool) -> bool:
        """Whether the message becomes a dead letter instead of being delivered again."""
        has_died_enough = entry.deaths >= self.active.config.supervision.max_deaths
        return agent.name in self._pump.retired or (has_died_enough and is_alone)

    # Helpers

    def _new_agent(self, listener: Listener, keeper: Keeper, depth: int) -> Agent:
        config = self.active.config
        window = Window(config.limits.window, depth=depth, depth_first=config.thread_scheduling == "depth-first")
        isolation = isolation_of(listener, config)
        agent = Agent(listener, window, self._max_concurrent(listener), isolation, keeper)
        self._pump.agents[listener.name] = agent
        return agent

    def _max_concurrent(self, listener: Listener) -> int:
        return listener.max_concurrent or self.active.config.max_concurrent_per_agent

    def _apply_limits(self) -> None:
        config, pump = self.active.config, self._pump
        pump.dispatcher.max_handlers = config.max_concurrent_handlers
        pump.dispatcher.max_pipelines = config.max_concurrent_pipelines
        pump.states.interval_s = config.limits.agent_state_interval_s
        for agent in pump.agents.values():
            agent.max_concurrent = self._max_concurrent(agent.listener)
            agent.window.arrange(config.limits.window, depth_first=config.thread_scheduling == "depth-first")
            agent.keeper.obey(config.supervision)

    def _run(self, keeper: Keeper, *, adopt: bool = False) -> None:
        self._running[keeper] = self._tasks.spawn(keeper.run(adopt=adopt), keeper.name)

    def _publish_error(self, agent: str, error: str) -> None:
        value = {"thread_id": None, "agent": agent, "error": error, "timestamp": iso_timestamp(now_ms())}
        self._pump.publisher.publish([Event("error", None, value)])

    async def _bury_orphans(self, names: list[str]) -> None:
        """What waits for a listener that is gone can never be delivered."""
        for name in names:
            agent = self._pump.retired.get(name)
            running = agent.window.in_flight if agent is not None else {}
            after_seq = 0
            while pending := await self._pump.storage.queued(name, after_seq, BURIED_AT_ONCE):
                after_seq = pending[-1].message.seq
                doomed = [each.message for each in pending if each.message.seq not in running]
                await self._bury(doomed, "its listener was removed")
                if agent is not None:
                    agent.window.depth -= len(doomed)

    async def _bury(self, messages: list[Message], reason: str) -> None:
        pump = self._pump
        await pump.load_threads(message.thread_id for message in messages)

        def fill() -> None:
            for message in messages:
                pump.ledger.bury(message, reason, 0)

        await pump.commit(fill)

    async def _store(self, active: Active, plans: list[CellPlan]) -> None:
        await self._pump.storage.commit(Commit(settings={ACTIVE: to_setting(active, plans)}))

    def _refuse_fixed(self, old: OrganismConfig, new: OrganismConfig) -> None:
        for field in ("organism", "storage", "api", "workspace", "librarian"):
            if getattr(old, field) != getattr(new, field):
                remedy = "Undo the change, or stop the organism and start it again"
                raise ConfigError(str(self.path), None, field, "cannot change while the organism runs", remedy)


def _as_config_error(failure: BaseException, path: Path) -> BaseException:
    if not isinstance(failure, CellDied):
        return failure
    return ConfigError(str(path), None, "listeners", str(failure), "See the cell's log for what its handlers print")
