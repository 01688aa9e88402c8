"""What a replica holds while it runs, and how routes get at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from librarian.ref import LibrarianRef
from organism.ref import OrganismRef
from organism.sessions.ref import SessionsRef
from serve_app.access import Access
from serve_app.auth import principal_of
from serve_app.errors import LibrarianNotServed, ReplicaBusy, SessionsNotServed
from serve_app.feed import Feed
from serve_app.hub import Hub
from serve_app.inlet import Inlet
from serve_app.live import Live
from serve_app.owned_sessions import OwnerCache, sessions_of
from serve_app.payload_classes import PayloadClasses


@dataclass(slots=True)
class OpenStreams:
    """How many streams of session events are open, over whichever protocol."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """The parts of one API replica, from the start of the app to its end.

    session_service, library_service: None where the app was built without agent sessions, or without a librarian.
    """

    organism: OrganismRef
    live: Live
    hub: Hub
    classes: PayloadClasses
    feed: Feed
    inlet: Inlet
    streams: OpenStreams
    access: Access
    session_service: SessionsRef | None
    library_service: LibrarianRef | None
    owners: OwnerCache = field(default_factory=OwnerCache)

    @property
    def sessions(self) -> SessionsRef:
        """Raises: SessionsNotServed."""
        if self.session_service is None:
            raise SessionsNotServed
        return self.session_service

    @property
    def librarian(self) -> LibrarianRef:
        """Raises: LibrarianNotServed."""
        if self.library_service is None:
            raise LibrarianNotServed
        return self.library_service

    @contextmanager
    def stream_place(self) -> Iterator[None]:
        """A place for a stream of session events; limits.max_clients is shared with the WebSockets.

        Raises:
            ReplicaBusy: all are taken.
        """
        self.check_room()
        self.streams.count += 1
        try:
            yield
        finally:
            self.streams.count -= 1

    def check_room(self) -> None:
        """Raises: ReplicaBusy, where as many streams are open as limits.max_clients allows."""
        most = self.live.limits.max_clients
        if len(self.hub) + self.streams.count >= most:
            raise ReplicaBusy("open streams (limits.max_clients)", most)

    async def pause(self, agent: str) -> dict[str, Any]:
        """The agent as it is then; the picture shows it at once, so that a GET that follows is not stale."""
        view = await self.organism.pause(agent)
        self.live.put_agent(view)
        return view

    async def resume(self, agent: str) -> dict[str, Any]:
        """As pause."""
        view = await self.organism.resume(agent)
        self.live.put_agent(view)
        return view

    async def stop(self) -> None:
        """Begins a graceful stop; the picture shows it at once."""
        await self.organism.stop()
        self.live.put_status("stopping")


# All are `async def`: FastAPI runs plain functions in a thread, which costs more than most of our routes.


async def _replica(connection: HTTPConnection) -> Replica:
    return connection.app.state.replica


async def _organism(connection: HTTPConnection) -> OrganismRef:
    return connection.app.state.replica.organism


async def _sessions(connection: HTTPConnection) -> SessionsRef:
    """As far as whoever asks may reach them."""
    return sessions_of(connection.app.state.replica, principal_of(connection.scope))


async def _librarian(connection: HTTPConnection) -> LibrarianRef:
    return connection.app.state.replica.librarian


async def _live(connection: HTTPConnection) -> Live:
    return connection.app.state.replica.live


ReplicaDep = Annotated[Replica, Depends(_replica)]
OrganismDep = Annotated[OrganismRef, Depends(_organism)]
SessionsDep = Annotated[SessionsRef, Depends(_sessions)]
LibrarianDep = Annotated[LibrarianRef, Depends(_librarian)]
LiveDep = Annotated[Live, Depends(_live)]
