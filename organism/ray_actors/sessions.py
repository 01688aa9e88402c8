"""The outside of agent sessions on Ray: the directory in the pump, and the cells by their names."""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.exceptions import RayActorError

from organism.errors import OrganismError, OrganismUnreachable
from organism.ray_actors.pump_name import find_pump
from organism.ray_actors.reasons import reason_of
from organism.ray_actors.session_cells import session_cell_port
from organism.sessions.encoding import decode_frames
from organism.sessions.events import Frame
from organism.sessions.records import NewSession, SessionFilter, SessionView
from organism.sessions.service import SessionService
from organism.sessions.wire import Placement, ServerStatus, SessionSettings


class RayDirectory:
    """Implements DirectoryRef: asks the pump's actor, which it finds by its name."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._pump: Any = None

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        return await self._ask("create", new, owner)

    async def place(self, session_id: str) -> Placement:
        return await self._ask("place", session_id)

    async def view(self, session_id: str) -> SessionView:
        return await self._ask("view", session_id)

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        return await self._ask("sessions", where, limit, offset)

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        return decode_frames(await self._call("session_events", session_id, after_seq, limit))

    async def delete(self, session_id: str) -> None:
        await self._ask("delete", session_id)

    async def server_status(self) -> ServerStatus:
        return await self._ask("server_status")

    async def settings(self) -> SessionSettings:
        return await self._ask("settings")

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await self._call("ask_sessions", method, *arguments)

    async def _call(self, method: str, *arguments: Any) -> Any:
        if self._pump is None:
            self._pump = find_pump(self._namespace)
        try:
            answer = await getattr(self._pump, method).remote(*arguments)
        except RayActorError as error:
            self._pump = None
            raise OrganismUnreachable(reason_of(error)) from error
        if isinstance(answer, OrganismError):
            raise answer
        return answer


def connect_sessions(namespace: str) -> SessionService:
    """The agent sessions of the organism in this namespace, which need not be up yet."""
    return SessionService(RayDirectory(namespace), partial(session_cell_port, namespace=namespace))
