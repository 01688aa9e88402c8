"""The outside of an organism on Ray: starting it, connecting to it, asking it, ending it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from organism.config import StorageSection
from organism.encoding import decode_answers, decode_events, encode_injects
from organism.errors import OrganismError, OrganismUnreachable
from organism.messages import Accepted, DeadLetter, Inject, Message
from organism.ray_actors.cells import RayCells
from organism.ray_actors.pump_actor import RemotePump
from organism.ray_actors.pump_name import MAX_CALLS, PUMP, find_pump
from organism.ray_actors.reasons import reason_of
from organism.ray_actors.session_cells import RaySessionCells
from organism.ref import EventBatch, Reloaded, Snapshot
from organism.storage.base import MessageFilter, ThreadFilter
from organism.threads import Thread


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

    async def requeue(self, message_id: str, owner: str | None = None) -> Message:
        return await self._ask("requeue", message_id, owner)

    async def kill_thread(self, thread_id: str) -> Thread:
        return await self._ask("kill_thread", thread_id)

    async def pause(self, agent: str) -> dict[str, Any]:
        return await self._ask("pause", agent)

    async def resume(self, agent: str) -> dict[str, Any]:
        return await self._ask("resume", agent)

    async def reload(self) -> Reloaded:
        return await self._ask("reload")

    async def announce_ingest(self, job: dict[str, Any]) -> None:
        await self._ask("announce_ingest", job)

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
        raise OrganismUnreachable(reason_of(error)) from error


def connect(namespace: str) -> RayOrganism:
    """The organism of this namespace.

    Raises:
        OrganismUnreachable: there is none.
    """
    return RayOrganism(find_pump(namespace))


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
        actor: Any = find_pump(namespace)
        with contextlib.suppress(RayActorError):
            await actor.close.remote()
        ray.kill(actor)
    await RayCells(namespace).end_others(())
    await RaySessionCells(namespace).end_all()
