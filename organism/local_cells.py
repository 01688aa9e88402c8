"""Cells in this process: for tests, for trying handlers out, and wherever there is no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from organism.cell import Cell
from organism.wire import Attached, CellDied, CellRef, CellSpec, Delivery, PumpLink


class LocalCells:
    """Hosts cells as objects on this event loop. `cells` by name, for those who want to end one."""

    def __init__(self, pump: PumpLink) -> None:
        self._pump = pump
        self.cells: dict[str, LocalCell] = {}

    async def start(self, spec: CellSpec) -> CellRef:
        """See CellHost.start."""
        cell = Cell(spec, self._pump)
        cell.start()
        local = LocalCell(cell)
        self.cells[spec.name] = local
        return local

    async def find(self, name: str) -> CellRef | None:
        """See CellHost.find."""
        found = self.cells.get(name)
        return found if found is not None and not found.is_dead else None

    async def end_others(self, names: Collection[str]) -> None:
        """See CellHost.end_others."""
        for name in [name for name in self.cells if name not in names]:
            await self.cells.pop(name).kill()


class LocalCell:
    """Implements CellRef by calling the cell."""

    def __init__(self, cell: Cell) -> None:
        self.name = cell.spec.name
        self.incarnation = cell.spec.incarnation
        self._cell = cell
        self._died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_dead(self) -> bool:
        return self._died.done()

    async def attach(self) -> Attached:
        self._check()
        return self._cell.attach()

    async def deliver(self, batch: list[Delivery]) -> None:
        self._check()
        self._cell.deliver(batch)

    async def cancel(self, seqs: list[int]) -> None:
        self._check()
        self._cell.cancel(seqs)

    async def ping(self) -> None:
        self._check()

    async def wait_died(self) -> str:
        return await asyncio.shield(self._died)

    async def kill(self) -> None:
        await self.die("killed")

    async def die(self, reason: str) -> None:
        """Ends the cell as if its process were gone: what it ran is lost, nothing more is reported.

        It ends also when the caller is cancelled meanwhile.
        """
        if self._closing is None:
            self._died.set_result(reason)
            self._closing = asyncio.create_task(self._cell.close(), name=f"{self.name}: close")
        await asyncio.shield(self._closing)

    def _check(self) -> None:
        if self._died.done():
            raise CellDied(self.name, self._died.result())
