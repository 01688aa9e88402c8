"""Pump and cells as Ray actors: the only file of this package that knows Ray.

Classes stay plain; Ray is applied from outside. Batches travel as bytes (see encoding.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorAlreadyExistsError, ActorUnavailableError, RayActorError, RayError, RayTaskError
from ray.util.annotations import RayDeprecationWarning
from ray.util.metrics import Counter, Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from organism.cell import Cell
from organism.config import StorageSection
from organism.encoding import (
    decode_answers,
    decode_deliveries,
    decode_events,
    decode_injects,
    decode_report,
    encode_answers,
    encode_deliveries,
    encode_events,
    encode_injects,
    encode_report,
)
from organism.errors import HandlerNotLoaded, OrganismError, OrganismUnreachable
from organism.garbage import calm_garbage_collector
from organism.messages import Accepted, DeadLetter, Inject, Message
from organism.ref import EventBatch, Reloaded, Snapshot
from organism.runtime import Runtime, open_storage, start_runtime
from organism.storage.base import MessageFilter, ThreadFilter
from organism.threads import Thread
from organism.wire import Attached, CellDied, CellRef, CellSpec, Delivery, Report

logger = logging.getLogger(__name__)

PUMP = "pump"
CELL_PREFIXES = ("agent:", "cell:")
"""Of the names that plan.py gives to cells."""

MAX_CALLS = 100_000
"""Calls an actor may have under way. Ray's default of 1,000 would be a hidden limit; ours are in the pump's windows."""

RETRY_S = 0.1
REOPEN_S = 5.0
NAME_TIMEOUT_S = 10.0
FIND_TIMEOUT_S = 10.0
METRICS_INTERVAL_S = 2.0


# The pump


class PumpActor:
    """Runs the organism of one organism.yaml. Ray restarts it; then it goes on with what was active."""

    def __init__(self, path: str, namespace: str, storage: StorageSection) -> None:
        self._path = Path(path)
        self._namespace = namespace
        self._storage = storage
        self._opening: asyncio.Task[Runtime] | None = None
        self._metrics: asyncio.Task[None] | None = None
        self._is_second = _was_started_again()
        if self._is_second:
            ray.get_runtime_context().current_actor.wake.remote()

    def __repr__(self) -> str:
        return PUMP

    async def wake(self) -> None:
        """Goes on after a restart, though nobody may call: work waits in the log."""
        while (error := await self.open()) is not None:
            logger.error("the pump cannot go on: %s", error)
            await asyncio.sleep(REOPEN_S)

    async def open(self) -> OrganismError | None:
        """Starts the organism; the error says why it cannot be."""
        try:
            await self._runtime()
        except OrganismError as error:
            return error
        return None

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of OrganismRef; an OrganismError is returned, since Ray would wrap a raised one."""
        try:
            return await getattr(await self._runtime(), method)(*arguments)
        except OrganismError as error:
            return error

    async def submit(self, injects: bytes) -> bytes | OrganismError:
        """As `ask`, with injects and answers in one piece each."""
        answers = await self.ask("submit", decode_injects(injects))
        return answers if isinstance(answers, OrganismError) else encode_answers(answers)

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> bytes | OrganismError:
        """As `ask`, with the batch in one piece."""
        batch = await self.ask("events", incarnation, cursor, timeout_s)
        return batch if isinstance(batch, OrganismError) else encode_events(batch)

    async def report(self, report: bytes) -> OrganismError | None:
        """See PumpLink; an error says that it is to be tried again."""
        try:
            await (await self._runtime()).desk.report(decode_report(report))
        except OrganismError as error:
            return error
        return None

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message] | OrganismError:
        """See PumpLink; an error says that it is to be tried again."""
        try:
            return await (await self._runtime()).desk.history(thread_id, until_slot, limit)
        except OrganismError as error:
            return error

    async def wait_stopped(self) -> None:
        await (await self._runtime()).wait_stopped()

    async def close(self) -> None:
        """Ends the cells and closes the storage."""
        if self._metrics is not None:
            self._metrics.cancel()
        if self._opening is not None:
            with contextlib.suppress(OrganismError):
                await (await asyncio.shield(self._opening)).close()

    async def _runtime(self) -> Runtime:
        # Whoever calls first starts it: after a restart by Ray nobody calls open().
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._open(), name="open")
        return await asyncio.shield(self._opening)

    async def _open(self) -> Runtime:
        runtime = await start_runtime(
            self._path,
            lambda _: RayCells(self._namespace),
            storage=open_storage(self._storage, self._path.parent),
            resume=self._is_second,
            on_failure=_end_process,
        )
        calm_garbage_collector()
        self._metrics = asyncio.create_task(Metrics(runtime).run(), name="metrics")
        return runtime


def _was_started_again() -> bool:
    """Whether Ray has restarted this actor."""
    context: Any = ray.get_runtime_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # Ray's own property uses what Ray deprecates
        return bool(context.was_current_actor_reconstructed)


def _end_process(error: BaseException) -> None:
    """A pump with a broken task must not live on: Ray starts a new one, which reads the log."""
    logger.critical("the pump failed and is started again", exc_info=error)
    os._exit(1)


class Metrics:
    """Shows the pump's counts in Ray's metrics, by agent."""

    def __init__(self, runtime: Runtime) -> None:
        self._pump = runtime.pump
        self._depth = Gauge("organism_queue_depth", "Messages that wait for an agent", ("agent",))
        self._running = Gauge("organism_handlers_running", "Handlers of an agent at work", ("agent",))
        self._counters = {
            "handled": Counter("organism_messages", "Messages an agent has handled", ("agent",)),
            "failed": Counter("organism_messages_failed", "Messages an agent has failed on", ("agent",)),
            "handler_seconds": Counter("organism_handler_seconds", "Seconds spent in handlers", ("agent",)),
            "tokens": Counter("organism_tokens", "Tokens an agent's model calls have used", ("agent",)),
            "restarts": Counter("organism_restarts", "Times an agent's cell was started again", ("agent",)),
        }
        self._shown: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(METRICS_INTERVAL_S)
            self.update()

    def update(self) -> None:
        for name, agent in self._pump.agents.items():
            tags = {"agent": name}
            self._depth.set(agent.window.depth, tags)
            self._running.set(len(agent.window.in_flight), tags)
            totals = {
                "handled": agent.handled,
                "failed": agent.failed,
                "handler_seconds": agent.handler_seconds,
                "tokens": agent.tokens,
                "restarts": agent.keeper.restarts,
            }
            for key, total in totals.items():
                grown = total - self._shown.get((name, key), 0)
                if grown > 0:
                    self._counters[key].inc(grown, tags)
                    self._shown[name, key] = total


# Cells


class CellActor:
    """Runs one cell. Its `__repr__` is what the Ray dashboard and the logs show."""

    def __init__(self, spec: CellSpec, namespace: str) -> None:
        self._spec = spec
        self._link = RayPumpLink(namespace)
        self._cell: Cell | None = None

    def __repr__(self) -> str:
        return self._spec.name

    async def open(self) -> Attached | OrganismError:
        """Imports the handlers and begins to work; the error (HandlerNotLoaded, BundleError) says why it cannot."""
        try:
            self._cell = Cell(self._spec, self._link)
        except OrganismError as error:
            return error
        self._cell.start()
        calm_garbage_collector()
        return self._cell.attach()

    async def attach(self) -> Attached | None:
        return None if self._cell is None else self._cell.attach()

    async def deliver(self, batch: bytes) -> None:
        if self._cell is not None:
            self._cell.deliver(decode_deliveries(batch))

    async def cancel(self, seqs: list[int]) -> None:
        if self._cell is not None:
            self._cell.cancel(seqs)

    async def ping(self) -> None:
        return

    async def watch(self) -> None:
        """Never returns: the caller learns from its failure that this process is gone."""
        await asyncio.Event().wait()


class RayPumpLink:
    """Implements PumpLink: finds the pump by its name, and waits for one that is restarted or cannot work yet."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._pump: ActorHandle[Any] | None = None

    async def report(self, report: Report) -> None:
        data = encode_report(report)
        await self._call(lambda pump: pump.report.remote(data))

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        return await self._call(lambda pump: pump.history.remote(thread_id, until_slot, limit))

    async def _call(self, call: Callable[[Any], Any]) -> Any:
        while True:
            try:
                if self._pump is None:
                    self._pump = _find_pump(self._namespace)
                answer = await call(self._pump)
            except (RayActorError, OrganismUnreachable):
                self._pump = None
            else:
                if not isinstance(answer, OrganismError):
                    return answer
            await asyncio.sleep(RETRY_S)


class RayCells:
    """Implements CellHost with detached, named actors."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def start(self, spec: CellSpec) -> CellRef:
        """See CellHost.start."""
        actor = await self._create(spec)
        ref = RayCell(spec.name, spec.incarnation, actor)
        try:
            await ref.open()
        except BaseException:
            await ref.kill()
            raise
        return ref

    async def find(self, name: str) -> CellRef | None:
        """See CellHost.find."""
        try:
            actor: Any = ray.get_actor(name, self._namespace)
            async with asyncio.timeout(FIND_TIMEOUT_S):  # a handler may block it, or it may not be placed yet
                attached = await actor.attach.remote()
        except (ValueError, RayError, TimeoutError):
            return None
        return None if attached is None else RayCell(name, attached.incarnation, actor)

    async def end_others(self, names: Collection[str]) -> None:
        """See CellHost.end_others."""
        for each in ray.util.list_named_actors(all_namespaces=True):
            entry: Any = each
            name = entry["name"]
            if entry["namespace"] == self._namespace and name.startswith(CELL_PREFIXES) and name not in names:
                self._end(name)

    async def _create(self, spec: CellSpec) -> Any:
        options: dict[str, Any] = {
            "name": spec.name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "max_restarts": 0,  # the keeper starts it again: it knows what was in it
            "max_concurrency": MAX_CALLS,
            "num_cpus": sum(each.num_cpus for each in spec.listeners),
            "resources": _largest(spec),
        }
        runtime_env = {key: value for each in spec.listeners for key, value in each.runtime_env.items()}
        if runtime_env:
            options["runtime_env"] = runtime_env
        deadline_s = time.monotonic() + NAME_TIMEOUT_S
        while True:
            try:
                return RemoteCell.options(**options).remote(spec, self._namespace)
            except ActorAlreadyExistsError:  # a dead one for a moment, or a leftover
                if time.monotonic() > deadline_s:
                    raise CellDied(spec.name, "its name is still taken by another actor") from None
                self._end(spec.name)
                await asyncio.sleep(RETRY_S)
            except (ValueError, TypeError, RuntimeError) as error:
                raise CellDied(spec.name, f"Ray takes no actor with these options: {error}") from error

    def _end(self, name: str) -> None:
        with contextlib.suppress(ValueError):  # nobody has the name any more
            ray.kill(ray.get_actor(name, self._namespace))


class RayCell:
    """Implements CellRef."""

    def __init__(self, name: str, incarnation: str, actor: Any) -> None:
        self.name = name
        self.incarnation = incarnation
        self._actor = actor

    async def open(self) -> None:
        """Raises HandlerNotLoaded, or CellDied for all other reasons."""
        with _cell_errors(self.name):
            opened = await self._actor.open.remote()
        if isinstance(opened, HandlerNotLoaded):
            raise opened
        if isinstance(opened, OrganismError):
            raise CellDied(self.name, str(opened))

    async def attach(self) -> Attached:
        return await self._call(self._actor.attach.remote)

    async def deliver(self, batch: list[Delivery]) -> None:
        data = encode_deliveries(batch)
        await self._call(self._actor.deliver.remote, data)

    async def cancel(self, seqs: list[int]) -> None:
        await self._call(self._actor.cancel.remote, seqs)

    async def ping(self) -> None:
        await self._call(self._actor.ping.remote)

    async def wait_died(self) -> str:
        try:
            await self._call(self._actor.watch.remote)
        except CellDied as death:
            return death.reason
        return "ended"

    async def kill(self) -> None:
        ray.kill(self._actor)

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Repeats what a network hiccup prevented: the cell does everything once."""
        while True:
            with _cell_errors(self.name):
                try:
                    return await method(*arguments)
                except ActorUnavailableError:
                    await asyncio.sleep(RETRY_S)
                except RayTaskError:  # it does not work as a cell should
                    await self.kill()
                    raise


@contextlib.contextmanager
def _cell_errors(name: str) -> Iterator[None]:
    """Whatever Ray says of a cell, it costs nobody else anything."""
    try:
        yield
    except RayError as error:
        raise CellDied(name, _reason(error)) from error


def _reason(error: RayError) -> str:
    """Ray's explanation without the addresses and advice around it."""
    if isinstance(error, ActorUnavailableError):
        return "its process cannot be reached at present"
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if "exit" in line.lower() or "killed" in line.lower() or "died" in line.lower()]
    return (telling or lines or ["unknown"])[-1].partition(" Some common causes")[0][:300].rstrip(". ")


def _largest(spec: CellSpec) -> dict[str, float]:
    resources: dict[str, float] = {}
    for listener in spec.listeners:
        for name, amount in listener.resources.items():
            resources[name] = max(amount, resources.get(name, 0.0))
    return resources


RemotePump: Any = ray.remote(PumpActor)
RemoteCell: Any = ray.remote(CellActor)


# The outside


class RayOrganism:
    """Implements OrganismRef: asks the pump's actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def submit(self, injects: list[Inject]) -> list[Accepted | OrganismError]:
        return decode_answers(await self._call(self._actor.submit, encode_injects(injects)))

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> EventBatch:
        return decode_events(await self._call(self._actor.events, incarnation, cursor, timeout_s))

    async def snapshot(self) -> Snapshot:
        return await self._ask("snapshot")

    async def bundle(self) -> bytes:
        return await self._ask("bundle")

    async def thread(self, thread_id: str) -> Thread:
        return await self._ask("thread", thread_id)

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        return await self._ask("threads", where, limit, offset)

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        return await self._ask("messages", where, limit, offset, newest_first)

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        return await self._ask("message_page", where, limit)

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        return await self._ask("dead_letters", agent, limit, offset)

    async def requeue(self, message_id: str) -> Message:
        return await self._ask("requeue", message_id)

    async def kill_thread(self, thread_id: str) -> Thread:
        return await self._ask("kill_thread", thread_id)

    async def pause(self, agent: str) -> dict[str, Any]:
        return await self._ask("pause", agent)

    async def resume(self, agent: str) -> dict[str, Any]:
        return await self._ask("resume", agent)

    async def reload(self) -> Reloaded:
        return await self._ask("reload")

    async def stop(self) -> None:
        await self._ask("stop")

    async def ping(self) -> None:
        await self._ask("ping")

    async def wait_stopped(self) -> None:
        """Returns when a graceful stop has ended."""
        with _pump_errors():
            await self._actor.wait_stopped.remote()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await self._call(self._actor.ask, method, *arguments)

    async def _call(self, method: Any, *arguments: Any) -> Any:
        with _pump_errors():
            answer = await method.remote(*arguments)
        if isinstance(answer, OrganismError):
            raise answer
        return answer


@contextlib.contextmanager
def _pump_errors() -> Iterator[None]:
    try:
        yield
    except RayActorError as error:
        raise OrganismUnreachable(_reason(error)) from error


def connect(namespace: str) -> RayOrganism:
    """The organism of this namespace.

    Raises:
        OrganismUnreachable: there is none.
    """
    return RayOrganism(_find_pump(namespace))


def _find_pump(namespace: str) -> ActorHandle[Any]:
    try:
        return ray.get_actor(PUMP, namespace)
    except ValueError:
        raise OrganismUnreachable(f"no pump in namespace {namespace!r}") from None


async def start_pump(path: Path, namespace: str, storage: StorageSection) -> RayOrganism:
    """Starts the pump on this node, where its storage lies, and the cells wherever Ray puts them.

    Raises:
        ConfigError, BundleError, StorageError: nothing is left running.
        OrganismUnreachable: an organism runs in this namespace already, or the process ended while it started.
    """
    node_id = ray.get_runtime_context().get_node_id()
    try:
        actor = RemotePump.options(
            name=PUMP,
            namespace=namespace,
            lifetime="detached",
            max_restarts=-1,
            max_concurrency=MAX_CALLS,
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(str(path), namespace, storage)
    except ValueError:
        raise OrganismUnreachable(f"an organism runs in namespace {namespace!r} already") from None
    with _pump_errors():
        error = await actor.open.remote()
    if error is not None:
        ray.kill(actor)
        raise error
    return RayOrganism(actor)


async def shut_down(namespace: str) -> None:
    """Ends pump and cells at once; what was not done is done after the next start. No error if there is none."""
    with contextlib.suppress(OrganismUnreachable):
        actor: Any = _find_pump(namespace)
        with contextlib.suppress(RayActorError):
            await actor.close.remote()
        ray.kill(actor)
    await RayCells(namespace).end_others(())
