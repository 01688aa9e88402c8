"""A cell's process, and its way to the pump."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from organism.cell import Cell
from organism.encoding import decode_deliveries, encode_report
from organism.errors import OrganismError, OrganismUnreachable
from organism.garbage import calm_garbage_collector
from organism.masked_log import mask_logs
from organism.messages import Message
from organism.ray_actors.pump_name import find_pump
from organism.wire import Attached, CellSpec, Report

logger = logging.getLogger(__name__)

RETRY_S = 0.1


class CellActor:
    """Runs one cell. Its `__repr__` is what the Ray dashboard and the logs show."""

    def __init__(self, spec: CellSpec, namespace: str) -> None:
        mask_logs()
        self._spec = spec
        self._link = RayPumpLink(namespace)
        self._cell: Cell | None = None

    def __repr__(self) -> str:
        return self._spec.name

    async def open(self) -> Attached | OrganismError:
        """Imports the handlers and begins to work; the error (HandlerNotLoaded, BundleError) says why it cannot."""
        try:
            self._cell = Cell(self._spec, self._link, _end_process)
        except OrganismError as error:
            return error
        self._cell.start()
        calm_garbage_collector()
        return self._cell.attach()

    async def attach(self) -> Attached | None:
        return None if self._cell is None else self._cell.attach()

    async def deliver(self, batch: bytes) -> None:
        if self._cell is not None:
            self._cell.deliver(decode_deliveries(batch))

    async def cancel(self, seqs: list[int]) -> None:
        if self._cell is not None:
            self._cell.cancel(seqs)

    async def ping(self) -> None:
        return

    async def watch(self) -> None:
        """Never returns: the caller learns from its failure that this process is gone."""
        await asyncio.Event().wait()


def _end_process(error: BaseException) -> None:
    """A cell with a broken task must not live on: its keeper starts another one."""
    logger.critical("the cell failed and is started again", exc_info=error)
    os._exit(1)


class RayPumpLink:
    """Implements PumpLink: finds the pump by its name, and waits for one that is restarted or cannot work yet."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._pump: ActorHandle[Any] | None = None

    async def report(self, report: Report) -> None:
        data = encode_report(report)
        await self._call(lambda pump: pump.report.remote(data))

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        return await self._call(lambda pump: pump.history.remote(thread_id, until_slot, limit))

    async def _call(self, call: Callable[[Any], Any]) -> Any:
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
            await asyncio.sleep(RETRY_S)


RemoteCell: Any = ray.remote(CellActor)
