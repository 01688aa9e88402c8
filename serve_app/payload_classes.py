"""The payload classes of the running organism, so that an inject is validated before it reaches the pump."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from organism.bundle import unpack
from organism.config import Listener
from organism.errors import AgentNotFound, HandlerNotLoaded, OrganismUnreachable
from organism.loading import load_payload
from organism.payloads import PayloadType
from organism.ref import OrganismRef, Snapshot


class PayloadClasses:
    """The payload class of each agent, from the bundle (the organism's folder) that the pump runs."""

    def __init__(self, organism: OrganismRef) -> None:
        self._organism = organism
        self._loading = asyncio.Lock()
        self._digest = ""
        self._classes: dict[str, PayloadType | HandlerNotLoaded] | None = None

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
            HandlerNotLoaded: this replica cannot import it.
            OrganismUnreachable: nothing is loaded yet.
        """
        if self._classes is None:
            raise OrganismUnreachable("this API replica has not reached it yet")
        found = self._classes.get(agent)
        if found is None:
            raise AgentNotFound(agent)
        if isinstance(found, HandlerNotLoaded):
            raise found
        return found


def _load_all(content: bytes, snapshot: Snapshot) -> dict[str, PayloadType | HandlerNotLoaded]:
    folder = unpack(content, snapshot.bundle_digest)
    return {entry["name"]: _load(entry, folder) for entry in snapshot.config.get("listeners", ())}


def _load(entry: dict[str, Any], folder: Path) -> PayloadType | HandlerNotLoaded:
    listener = Listener(name=entry["name"], payload_class=entry["payload_class"], handler=entry["handler"])
    try:
        return load_payload(listener, folder)
    except HandlerNotLoaded as error:  # one broken agent does not keep the others from being used
        return error
