"""Starts session cells of one definition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from organism.active import Active
from organism.bundle import unpack
from organism.sessions.plan import session_cell_spec, session_definition
from organism.sessions.session_keeper import SessionKeeper, take_up
from organism.sessions.wire import SessionCellHost


@dataclass(frozen=True, slots=True)
class CellStarter:
    """What the cells of one generation of a configuration are made of."""

    active: Active
    definition: str
    workspace_root: Path
    host: SessionCellHost

    async def start(self, name: str) -> SessionKeeper:
        """Raises HandlerNotLoaded, BundleError, CellDied."""
        spec = session_cell_spec(name, self.definition, self.active.organism, self.workspace_root)
        return await take_up(await self.host.start(spec))

    @property
    def suffix(self) -> str:
        """Of names that earlier generations may still have."""
        return f"@{self.active.generation}" if self.active.generation else ""


async def cell_starter(active: Active, folder: Path, host: SessionCellHost) -> CellStarter:
    """folder: the organism's, where its workspace counts from. Raises BundleError."""
    bundle = active.organism.bundle
    unpacked = await asyncio.to_thread(unpack, bundle.content, bundle.digest)
    definition = await asyncio.to_thread(session_definition, active.organism, unpacked)
    root = (folder / active.config.workspace.path).resolve()
    return CellStarter(active, definition, root, host)
