"""Session cells as the pump holds them, and as API replicas ask them: detached, named actors."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import ActorAlreadyExistsError, ActorUnavailableError, RayError, RayTaskError

from organism.errors import BundleError, HandlerNotLoaded, OrganismError
from organism.ray_actors.pump_name import MAX_CALLS
from organism.ray_actors.reasons import reason_of
from organism.ray_actors.session_cell_actor import RemoteSessionCell
from organism.sessions.encoding import decode_feed
from organism.sessions.events import Frame
from organism.sessions.plan import PREFIXES
from organism.sessions.records import ModelChoice, SessionChanges, SessionRecord
from organism.sessions.wire import (
    Answered,
    FeedBatch,
    Placement,
    Query,
    SessionCellAttached,
    SessionCellRef,
    SessionCellSpec,
    SessionStatus,
    Summary,
)
from organism.wire import CellDied

RETRY_S = 0.1
NAME_TIMEOUT_S = 10.0
FIND_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
"""How long a cell may take to end what its tools have started."""


class RaySessionCells:
    """Implements SessionCellHost with detached, named actors."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def start(self, spec: SessionCellSpec) -> SessionCellRef:
        """See SessionCellHost.start."""
        ref = RaySessionCell(spec.name, spec.incarnation, await self._create(spec))
        try:
            await ref.open()
        except BaseException:
            await ref.kill()
            raise
        return ref

    async def found(self) -> list[SessionCellRef]:
        """See SessionCellHost.found; those that do not answer are ended."""
        found = await asyncio.gather(*(self._find(name) for name in self._names()))
        return [each for each in found if each is not None]

    async def end_all(self) -> None:
        """Ends them at once."""
        for name in self._names():
            self._end(name)

    async def _find(self, name: str) -> SessionCellRef | None:
        try:
            actor: Any = ray.get_actor(name, self._namespace)
        except ValueError:
            return None
        try:
            async with asyncio.timeout(FIND_TIMEOUT_S):
                attached = await actor.attach.remote()
        except (RayError, TimeoutError):
            attached = None
        if attached is None:
            self._end(name)
            return None
        return RaySessionCell(name, attached.incarnation, actor)

    async def _create(self, spec: SessionCellSpec) -> Any:
        options: dict[str, Any] = {
            "name": spec.name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "max_restarts": 0,  # the pump starts another one: it knows what was in it
            "max_concurrency": MAX_CALLS,
            "num_cpus": 0,
        }
        deadline_s = time.monotonic() + NAME_TIMEOUT_S
        while True:
            try:
                return RemoteSessionCell.options(**options).remote(spec, self._namespace)
            except ActorAlreadyExistsError:  # a dead one for a moment, or a leftover
                if time.monotonic() > deadline_s:
                    raise CellDied(spec.name, "its name is still taken by another actor") from None
                self._end(spec.name)
                await asyncio.sleep(RETRY_S)

    def _names(self) -> list[str]:
        entries: list[Any] = ray.util.list_named_actors(all_namespaces=True)
        ours = (entry["name"] for entry in entries if entry["namespace"] == self._namespace)
        return [name for name in ours if name.startswith(PREFIXES)]

    def _end(self, name: str) -> None:
        with contextlib.suppress(ValueError):  # nobody has the name any more
            ray.kill(ray.get_actor(name, self._namespace))


class RaySessionCellPort:
    """Implements SessionCellPort. A call that a network hiccup broke off counts as the cell's death: whoever asks
    finds out what came of it."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor

    async def begin(self, session_id: str, query: Query, follower: str | None = None) -> Frame:
        return await self._ask("begin", session_id, query, follower)

    async def ask(self, session_id: str, query: Query) -> Answered:
        return await self._ask("ask", session_id, query)

    async def abort(self, session_id: str) -> bool:
        return await self._ask("abort", session_id)

    async def status(self, session_id: str) -> SessionStatus:
        return await self._ask("status", session_id)

    async def change(self, session_id: str, changes: SessionChanges) -> SessionRecord:
        return await self._ask("change", session_id, changes)

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        return await self._ask("summarize", session_id, messages, model)

    async def follow(self, follower: str, session_id: str) -> int:
        return await self._ask("follow", follower, session_id)

    async def unfollow(self, follower: str, session_id: str) -> None:
        await self._ask("unfollow", follower, session_id)

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> FeedBatch:
        return decode_feed(await self._call(self._actor.poll.remote, follower, cursor, timeout_s))

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await self._call(self._actor.ask.remote, method, *arguments)

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        with _cell_errors(self.name):
            answer = await method(*arguments)
        if isinstance(answer, OrganismError):
            raise answer
        return answer


class RaySessionCell(RaySessionCellPort):
    """Implements SessionCellRef."""

    def __init__(self, name: str, incarnation: str, actor: Any) -> None:
        super().__init__(name, actor)
        self.incarnation = incarnation

    async def open(self) -> None:
        """Raises HandlerNotLoaded, BundleError, or CellDied for all other reasons."""
        try:
            await self._call(self._actor.open.remote)
        except (HandlerNotLoaded, BundleError):
            raise
        except OrganismError as error:
            raise CellDied(self.name, str(error)) from error

    async def attach(self) -> SessionCellAttached:
        attached = await self._repeat(self._actor.attach.remote)
        if attached is None:
            raise CellDied(self.name, "it has not been opened")
        return attached

    async def passivate(self, session_id: str) -> bool:
        return await self._repeat(self._actor.ask.remote, "passivate", session_id)

    async def drop(self, session_id: str) -> None:
        await self._repeat(self._actor.ask.remote, "drop", session_id)

    async def retire(self) -> None:
        await self._repeat(self._actor.ask.remote, "retire")

    async def ping(self) -> None:
        await self._repeat(self._actor.ping.remote)

    async def wait_died(self) -> str:
        try:
            await self._repeat(self._actor.watch.remote)
        except CellDied as death:
            return death.reason
        return "ended"

    async def kill(self) -> None:
        """Its tools may have started processes, which it ends before it is ended itself."""
        with contextlib.suppress(RayError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._actor.close.remote()
        ray.kill(self._actor)

    async def _repeat(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Repeats what a network hiccup prevented: the cell does these any number of times."""
        while True:
            with _cell_errors(self.name):
                try:
                    answer = await method(*arguments)
                except ActorUnavailableError:
                    await asyncio.sleep(RETRY_S)
                    continue
                except RayTaskError:  # it does not work as a cell should
                    ray.kill(self._actor)
                    raise
            if isinstance(answer, OrganismError):
                raise answer
            return answer


def session_cell_port(placement: Placement, namespace: str) -> RaySessionCellPort:
    """The cell of a placement, for those who ask it. Raises CellDied when nobody has its name any more."""
    try:
        return RaySessionCellPort(placement.cell, ray.get_actor(placement.cell, namespace))
    except ValueError:
        raise CellDied(placement.cell, "nobody has its name any more") from None


@contextlib.contextmanager
def _cell_errors(name: str) -> Iterator[None]:
    """Whatever Ray says of a cell, it costs nobody else anything."""
    try:
        yield
    except RayError as error:
        raise CellDied(name, reason_of(error)) from error
