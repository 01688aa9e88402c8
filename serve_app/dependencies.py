"""What a replica holds while it runs, and how routes get at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from organism.ref import OrganismRef
from serve_app.feed import Feed
from serve_app.hub import Hub
from serve_app.inlet import Inlet
from serve_app.live import Live
from serve_app.payload_classes import PayloadClasses


@dataclass(frozen=True, slots=True)
class Replica:
    """The parts of one API replica, from the start of the app to its end."""

    organism: OrganismRef
    live: Live
    hub: Hub
    classes: PayloadClasses
    feed: Feed
    inlet: Inlet

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


async def _live(connection: HTTPConnection) -> Live:
    return connection.app.state.replica.live


ReplicaDep = Annotated[Replica, Depends(_replica)]
OrganismDep = Annotated[OrganismRef, Depends(_organism)]
LiveDep = Annotated[Live, Depends(_live)]
