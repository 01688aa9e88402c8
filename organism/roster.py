"""Who is in the organism: fills the pump's agents from a configuration, keeps their cells alive, reloads.

What is active is stored (configuration text, bundle, cells), so that a pump which Ray restarts goes on with just
that, whatever the files say meanwhile, and finds its cells again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from organism.agent import Agent
from organism.bundle import Bundle, pack, unpack
from organism.config import Listener, OrganismConfig
from organism.config_file import parse_config, read_dotenv
from organism.errors import ConfigError, HandlerNotLoaded, StorageUnavailable
from organism.keeper import Keeper
from organism.messages import Message, iso_timestamp, now_ms
from organism.plan import CellPlan, Organism, cell_spec, definitions_of, isolation_of, plan_cells
from organism.pump import Pump
from organism.ref import Event, Reloaded
from organism.router import Router
from organism.storage.base import Commit, Totals
from organism.tasks import Tasks
from organism.window import Window
from organism.wire import Attached, CellDied, CellHost, CellSpec, Delivery

ACTIVE = "active"
PAUSED = "paused:"
DRAIN_POLL_S = 0.05
STORAGE_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Active:
    """The configuration at work. text: organism.yaml as it was read. definitions: see plan.definitions_of."""

    organism: Organism
    text: str
    definitions: dict[str, str]
    generation: int

    @property
    def config(self) -> OrganismConfig:
        return self.organism.config


def read_active(path: Path, generation: int = 0) -> Active:
    """Reads the file and its folder; blocking.

    Raises:
        ConfigError, HandlerNotLoaded: the organism cannot be run as it is.
    """
    folder = path.parent
    text = path.read_text(encoding="utf-8")
    config = parse_config(text, str(path))
    bundle = pack(folder)
    organism = Organism(config, bundle, read_dotenv(folder))
    unpacked = unpack(bundle.content, bundle.digest)
    return Active(organism, text, definitions_of(organism, unpacked), generation)


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
        await self._store(plans)
        await self._bury_orphans([name for name in totals.queued if name not in self._pump.agents])
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

    async def reload(self) -> Reloaded:
        """Takes over the changed file and code: all of it, or, when anything is wrong with it, nothing.

        Raises:
            ConfigError, HandlerNotLoaded: nothing has changed.
        """
        old = self.active
        new = await asyncio.to_thread(read_active, self.path, old.generation + 1)
        self._refuse_fixed(old.config, new.config)
        report = _compare(old, new)
        fresh = [each for each in new.config.listeners if each.name not in report.unchanged]
        plans = plan_cells(new.config, new.definitions, fresh, new.generation)
        self.active = new
        try:
            keepers = await self._try_out(plans)
        except BaseException:
            self.active = old
            raise
        await self._pump.control(lambda: self._swap(keepers, report))
        return report

    async def _try_out(self, plans: list[CellPlan]) -> list[tuple[Keeper, Attached]]:
        """Starts the new cells beside the old ones."""
        keepers = [Keeper(plan, self._host, self.active.config.supervision, self) for plan in plans]
        started = await asyncio.gather(*(keeper.start() for keeper in keepers), return_exceptions=True)
        failures = [each for each in started if isinstance(each, BaseException)]
        if failures:
            await asyncio.gather(*(keeper.kill() for keeper in keepers))
            raise _as_config_error(failures[0], self.path)
        return [(keeper, each) for keeper, each in zip(keepers, started, strict=True) if isinstance(each, Attached)]

    async def _swap(self, fresh: list[tuple[Keeper, Attached]], report: Reloaded) -> None:
        pump = self._pump
        pump.ledger.router = Router(self.active.config.listeners)
        pump.ledger.limits = self.active.config.limits
        for name in report.removed:
            pump.retired[name] = pump.agents.pop(name)
        for agent in pump.agents.values():
            pump.ledger.router.learn({agent.name: agent.accepts})
        for keeper, attached in fresh:
            for listener in keeper.plan.listeners:
                self._hand_to(listener, keeper)
            await self.cell_up(keeper, attached)
            self._run(keeper)
        for agent in pump.agents.values():
            if agent.name in report.unchanged:
                agent.keeper.revive()
        self._apply_limits()
        current = {agent.keeper for agent in pump.agents.values()}
        for keeper in [each for each in self._running if each not in current]:
            self._tasks.spawn(self._retire(keeper), f"{keeper.name}: retire")
        for keeper in current:
            served = tuple(each for each in keeper.plan.listeners if pump.agents[each.name].keeper is keeper)
            digests = {each.name: keeper.plan.definitions[each.name] for each in served}
            keeper.plan = replace(keeper.plan, listeners=served, definitions=digests)
        await self._store([keeper.plan for keeper in current])
        await self._bury_orphans(report.removed)
        value = {"added": report.added, "changed": report.changed, "removed": report.removed}
        pump.publisher.publish([Event("reloaded", None, value)])
        pump.wake(list(pump.agents))

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
        self._running.pop(keeper).cancel()
        await keeper.kill()
        self._pump.keepers.pop(keeper.incarnation, None)
        for name, agent in list(self._pump.retired.items()):
            if not agent.window.in_flight:
                del self._pump.retired[name]

    async def drain(self, timeout_s: float) -> None:
        """Waits until no handler runs, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._pump.in_flight:  # noqa: ASYNC110 - once in a life
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
                deliveries.append(Delivery(message, thread.states.get(name), todos, thread.tokens.get(name, 0)))
            else:
                deliveries.append(Delivery(message))
        return deliveries

    async def cell_up(self, keeper: Keeper, attached: Attached) -> None:
        pump = self._pump
        pump.keepers[keeper.incarnation] = keeper
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
        for listener in keeper.plan.listeners:
            self._publish_error(listener.name, f"cell {keeper.name} died ({reason}); it is started again")

    async def cell_given_up(self, keeper: Keeper, reason: str) -> None:
        text = f"cell {keeper.name} died too often, at last: {reason}. Resume the agent or reload to start it again"
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
        entries = pump.flying(incarnation)
        max_deaths = self.active.config.supervision.max_deaths
        counted = [(agent, entry._replace(deaths=entry.deaths + 1)) for agent, entry in entries]
        dead = [
            (agent, entry)
            for agent, entry in counted
            if agent.name in pump.retired or (entry.deaths >= max_deaths and len(counted) == 1)
        ]
        alive = [each for each in counted if each not in dead]
        await pump.load_threads(entry.message.thread_id for _, entry in dead)

        def fill() -> None:
            for _, entry in dead:
                died = f"its cell died with it {entry.deaths} times, at last: {reason}"
                pump.ledger.bury(entry.message, died, entry.deaths)
            pump.ledger.note_deaths([entry for _, entry in alive])

        await pump.commit(fill)
        for agent, entry in dead:
            pump.release(agent, entry)
        for agent, entry in sorted(alive, key=lambda each: -each[1].message.seq):
            agent.window.give_back(entry)
            agent.waiting = 0
            pump.landed(entry)
        pump.keepers.pop(incarnation, None)
        pump.wake({agent.name for agent, _ in entries})

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
        config = self.active.config
        self._pump.max_handlers = config.max_concurrent_handlers
        self._pump.max_pipelines = config.max_concurrent_pipelines
        for agent in self._pump.agents.values():
            agent.max_concurrent = self._max_concurrent(agent.listener)

    def _run(self, keeper: Keeper, *, adopt: bool = False) -> None:
        self._running[keeper] = self._tasks.spawn(keeper.run(adopt=adopt), keeper.name)

    def _publish_error(self, agent: str, error: str) -> None:
        value = {"thread_id": None, "agent": agent, "error": error, "timestamp": iso_timestamp(now_ms())}
        self._pump.publisher.publish([Event("error", None, value)])

    async def _bury_orphans(self, names: list[str]) -> None:
        """What waits for a listener that is gone can never be delivered."""
        pump = self._pump
        for name in names:
            flying = pump.retired[name].window.in_flight if name in pump.retired else {}
            after = 0
            while pending := await pump.storage.queued(name, after, 1000):
                after = pending[-1].message.seq
                doomed = [each.message for each in pending if each.message.seq not in flying]
                await pump.load_threads(message.thread_id for message in doomed)

                def fill(doomed: list[Message] = doomed) -> None:
                    for message in doomed:
                        pump.ledger.bury(message, "its listener was removed", 0)

                await pump.commit(fill)

    async def _store(self, plans: list[CellPlan]) -> None:
        active = self.active
        stored = {
            "text": active.text,
            "bundle": base64.b64encode(active.organism.bundle.content).decode(),
            "digest": active.organism.bundle.digest,
            "definitions": active.definitions,
            "generation": active.generation,
            "cells": [[plan.name, plan.definitions] for plan in plans],
        }
        await self._pump.storage.commit(Commit(settings={ACTIVE: orjson.dumps(stored).decode()}))

    def _refuse_fixed(self, old: OrganismConfig, new: OrganismConfig) -> None:
        for field in ("organism", "storage", "api"):
            if getattr(old, field) != getattr(new, field):
                remedy = "Undo the change, or stop the organism and start it again"
                raise ConfigError(str(self.path), None, field, "cannot change while the organism runs", remedy)


class Stored(NamedTuple):
    """What an earlier pump had at work, and its cells."""

    active: Active
    plans: list[CellPlan]


def stored_active(path: Path, settings: dict[str, str]) -> Stored | None:
    """None if there was none. `.env` is read again: secrets are not stored."""
    text = settings.get(ACTIVE)
    if text is None:
        return None
    stored = orjson.loads(text)
    config = parse_config(stored["text"], str(path))
    bundle = Bundle(stored["digest"], base64.b64decode(stored["bundle"]))
    organism = Organism(config, bundle, read_dotenv(path.parent))
    active = Active(organism, stored["text"], stored["definitions"], stored["generation"])
    by_name = {each.name: each for each in config.listeners}
    plans = [
        CellPlan(name, tuple(by_name[each] for each in definitions), definitions)
        for name, definitions in stored["cells"]
    ]
    return Stored(active, plans)


def _compare(old: Active, new: Active) -> Reloaded:
    before, after = old.definitions, new.definitions
    return Reloaded(
        added=[name for name in after if name not in before],
        changed=[name for name in after if name in before and before[name] != after[name]],
        removed=[name for name in before if name not in after],
        unchanged=[name for name in after if before.get(name) == after[name]],
    )


def _as_config_error(failure: BaseException, path: Path) -> BaseException:
    if isinstance(failure, HandlerNotLoaded) or not isinstance(failure, CellDied):
        return failure
    return ConfigError(str(path), None, "listeners", str(failure), "See the cell's log for what its handlers print")
