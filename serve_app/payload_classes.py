"""The payload classes of the running organism, so that an inject is validated before it reaches the pump."""

from __future__ import annotations

import asyncio
from pathlib import Path

from organism.bundle import unpack
from organism.config import Listener
from organism.errors import AgentNotFound, HandlerNotLoaded, OrganismUnreachable
from organism.loading import load_payload
from organism.payloads import PayloadType
from organism.ref import OrganismRef, Snapshot
from serve_app.errors import PayloadClassMissing


class PayloadClasses:
    """The payload class of each agent, from the bundle (the organism's folder) that the pump runs."""

    def __init__(self, organism: OrganismRef) -> None:
        self._organism = organism
        self._loading = asyncio.Lock()
        self._digest = ""
        self._classes: dict[str, PayloadType | PayloadClassMissing] | None = None

    async def load(self, snapshot: Snapshot) -> None:
        """Loads the snapshot's bundle, unless it is the one that is loaded.

        Raises:
            OrganismUnreachable: what was loaded before stays.
        """
        async with self._loading:
            if snapshot.bundle_digest == self._digest:
                return
            content = await self._organism.bundle()
            self._classes = await asyncio.to_thread(_load_all, content, snapshot)
            self._digest = snapshot.bundle_digest

    def of(self, agent: str) -> PayloadType:
        """The class of what `agent` is sent.

        Raises:
            AgentNotFound: no listener has this name.
            PayloadClassMissing: this replica cannot import it.
            OrganismUnreachable: nothing is loaded yet.
        """
        if self._classes is None:
            raise OrganismUnreachable("this API replica has not reached it yet")
        found = self._classes.get(agent)
        if found is None:
            raise AgentNotFound(agent)
        if isinstance(found, PayloadClassMissing):
            raise found
        return found


def _load_all(content: bytes, snapshot: Snapshot) -> dict[str, PayloadType | PayloadClassMissing]:
    folder = unpack(content, snapshot.bundle_digest)
    return {view["name"]: _load(view["name"], view["payload_class"], folder) for view in snapshot.agents}


def _load(agent: str, payload_class: str, folder: Path) -> PayloadType | PayloadClassMissing:
    # Only the payload class is loaded; handlers may need packages that are not installed here.
    listener = Listener(name=agent, payload_class=payload_class, handler=payload_class)
    try:
        return load_payload(listener, folder)
    except HandlerNotLoaded as error:  # one broken agent does not keep the others from being used
        return PayloadClassMissing(agent, error.reason)
