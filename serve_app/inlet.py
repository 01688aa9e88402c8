"""Injects that arrive together share one call to the pump, and so one commit."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from organism.errors import OrganismUnreachable
from organism.messages import Accepted, Inject
from organism.ref import OrganismRef
from serve_app.errors import ReplicaBusy, ReplicaClosing

MAX_BATCH = 1024
"""Injects in one call: enough to spread the cost of the call, few enough for a commit of some ten milliseconds."""

ENOUGH = 256
"""Injects that need no further company: their share of the call is small."""

GATHER_S = 0.003
"""How long injects wait for company, where the call before had some: a call costs as much as several injects do."""

MAX_WAITING = 20_000
"""Injects that wait in this replica; more are answered with 429."""


class Inlet:
    """Collects injects while a call is under way and sends them with the next; one call at a time, in order.

    A client that injects alone never waits for others.
    """

    def __init__(self, organism: OrganismRef, *, timeout_s: float = 30.0, max_waiting: int = MAX_WAITING) -> None:
        self._organism = organism
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Inject, asyncio.Future[Accepted]]] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="inlet")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None):
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._settle([future for _, future in self._waiting], ReplicaClosing())
        self._waiting.clear()

    def submit(self, inject: Inject) -> asyncio.Future[Accepted]:
        """Queues the inject; the future holds the answer, after the commit, or one of OrganismRef.submit's errors.

        Cancelling the future withdraws an inject that was not sent yet; one under way may still be stored.

        Raises:
            ReplicaBusy: too many wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            raise ReplicaBusy("waiting injects", self._max_waiting)
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((inject, future))
        self._arrived.set()
        return future

    async def _run(self) -> None:
        in_company = False
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            if in_company and len(self._waiting) < ENOUGH:
                await asyncio.sleep(GATHER_S)
            batch = self._next_batch()
            in_company = len(batch) > 1
            if batch:
                await self._send(batch)

    def _next_batch(self) -> list[tuple[Inject, asyncio.Future[Accepted]]]:
        batch: list[tuple[Inject, asyncio.Future[Accepted]]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _send(self, batch: list[tuple[Inject, asyncio.Future[Accepted]]]) -> None:
        futures = [future for _, future in batch]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._organism.submit([inject for inject, _ in batch])
        except TimeoutError:
            self._settle(futures, OrganismUnreachable(f"no answer within {self._timeout_s:g} s"))
        except asyncio.CancelledError:
            self._settle(futures, ReplicaClosing())
            raise
        except Exception as error:  # whoever waits for an answer gets the failure, whatever it is
            self._settle(futures, error)
        else:
            for future, answer in zip(futures, answers, strict=True):
                self._settle([future], answer)

    @staticmethod
    def _settle(futures: list[asyncio.Future[Accepted]], answer: Accepted | Exception) -> None:
        for future in futures:
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
