"""A session cell's process, and its way to the pump."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from organism.errors import OrganismError, OrganismUnreachable
from organism.garbage import calm_garbage_collector
from organism.masked_log import mask_logs
from organism.ray_actors.library_search import RayLibrarySearch
from organism.ray_actors.pump_name import find_pump
from organism.ray_actors.session_display import show_session
from organism.sessions.encoding import decode_loaded, decode_refusals, encode_appends, encode_feed
from organism.sessions.plan import ALONE
from organism.sessions.session_cell import SessionCell
from organism.sessions.wire import AgentAnswer, Append, Loaded, SessionCellAttached, SessionCellSpec, SessionNotHere

logger = logging.getLogger(__name__)

RETRY_S = 0.1
WAIT_AT_ONCE_S = 20.0
"""How long one call waits for a thread; then comes the next, so that a pump which restarts is found again."""


class SessionCellActor:
    """Runs one session cell. Its `__repr__` is what the Ray dashboard and the logs show."""

    def __init__(self, spec: SessionCellSpec, namespace: str) -> None:
        mask_logs()
        self._spec = spec
        self._link = RaySessionLink(namespace, show_session if spec.name.startswith(ALONE) else None)
        self._search_library = RayLibrarySearch(namespace)
        self._cell: SessionCell | None = None

    def __repr__(self) -> str:
        return self._spec.name

    async def open(self) -> SessionCellAttached | OrganismError:
        """Loads the tools and begins to work; the error (HandlerNotLoaded, BundleError) says why it cannot."""
        try:
            cell = SessionCell(self._spec, self._link, _end_process, self._search_library)
            await cell.open()
        except OrganismError as error:
            return error
        cell.start()
        self._cell = cell
        calm_garbage_collector()
        return cell.attach()

    async def attach(self) -> SessionCellAttached | None:
        return None if self._cell is None else self._cell.attach()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of SessionCellPort; an OrganismError is returned, since Ray would wrap a raised one."""
        if self._cell is None:
            return SessionNotHere(arguments[0])
        try:
            return await getattr(self._cell, method)(*arguments)
        except OrganismError as error:
            return error

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> bytes | OrganismError:
        """As `ask`, with the batch in one piece."""
        batch = await self.ask("poll", follower, cursor, timeout_s)
        return batch if isinstance(batch, OrganismError) else encode_feed(batch)

    async def ping(self) -> None:
        return

    async def watch(self) -> None:
        """Never returns: the caller learns from its failure that this process is gone."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Ends what its tools have started, before its process is ended."""
        if self._cell is not None:
            await self._cell.close()


def _end_process(error: BaseException) -> None:
    """A cell with a broken task must not live on: another one is started."""
    logger.critical("the session cell failed and is replaced", exc_info=error)
    os._exit(1)


class RaySessionLink:
    """Implements SessionLink: finds the pump by its name, and waits for one that is restarted or cannot work yet.

    loaded: told of each session that the cell takes up.
    """

    def __init__(self, namespace: str, loaded: Callable[[str], None] | None = None) -> None:
        self._namespace = namespace
        self._loaded = loaded
        self._pump: ActorHandle[Any] | None = None

    async def load(self, session_id: str, incarnation: str) -> Loaded:
        loaded = decode_loaded(await self._call(lambda pump: pump.load_session.remote(session_id, incarnation)))
        if self._loaded is not None:
            self._loaded(session_id)
        return loaded

    async def append(self, appends: list[Append]) -> list[OrganismError | None]:
        data = encode_appends(appends)
        return decode_refusals(await self._call(lambda pump: pump.append_to_sessions.remote(data)))

    async def release(self, session_id: str, lease: int) -> None:
        await self._ask("release", session_id, lease)

    async def inject(self, session_id: str, agent: str, payload: dict[str, Any]) -> str:
        return await self._ask("inject", session_id, agent, payload)

    async def wait_thread(self, thread_id: str, timeout_s: float) -> AgentAnswer:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            wait_s = max(0.0, min(deadline_s - loop.time(), WAIT_AT_ONCE_S))
            answer: AgentAnswer = await self._ask("wait_thread", thread_id, wait_s)
            if answer.status != "active" or loop.time() >= deadline_s:
                return answer

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await self._call(lambda pump: pump.ask_desk.remote(method, *arguments))

    async def _call(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        while True:
            try:
                if self._pump is None:
                    self._pump = find_pump(self._namespace)
                answer = await call(self._pump)
            except (RayActorError, OrganismUnreachable):
                self._pump = None
            else:
                if not isinstance(answer, OrganismError):
                    return answer
                if not isinstance(answer, OrganismUnreachable):
                    raise answer
            await asyncio.sleep(RETRY_S)


RemoteSessionCell: Any = ray.remote(SessionCellActor)
