"""The session cells of one definition: a fixed number that sessions share, or one each with some kept warm."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from organism.config import Supervision
from organism.errors import OrganismError, OrganismUnreachable
from organism.messages import new_id
from organism.sessions.plan import ALONE, SHARED
from organism.sessions.session_keeper import SessionKeeper
from organism.supervisor import Restarts
from organism.tasks import Tasks
from organism.wire import CellDied

logger = logging.getLogger(__name__)

Start = Callable[[str], Awaitable[SessionKeeper]]
"""Starts a cell of this name. Raises HandlerNotLoaded, BundleError, CellDied."""

Died = Callable[[SessionKeeper, str], Awaitable[None]]
"""Told of a cell's death, and why."""

Policy = Callable[[], Supervision]


class PoolClosed(Exception):
    """Another definition took over while somebody waited for a cell of this one."""


class CellPool(Protocol):
    """Where places come from."""

    def begin(self, found: Iterable[SessionKeeper] = ()) -> None:
        """Starts its cells in the background; `found` are running already."""
        ...

    def take(self) -> SessionKeeper | None:
        """A cell for one more session, without waiting; None where none is ready."""
        ...

    async def obtain(self, session_id: str) -> SessionKeeper:
        """As `take`, but waits for a process.

        Raises:
            HandlerNotLoaded, BundleError: the cells cannot be started.
            OrganismUnreachable: their processes end before they are up.
            PoolClosed: ask the pool that came after this one.
        """
        ...

    def give_back(self, keeper: SessionKeeper) -> None:
        """Nothing came of what it was taken for."""
        ...

    def keepers(self) -> list[SessionKeeper]: ...

    async def close(self) -> list[SessionKeeper]:
        """Starts no more; its cells are the caller's from now on."""
        ...


class SharedCells:
    """`count` cells named `sessions:<n>`; the one with the fewest sessions takes the next. One that dies is started
    again, after growing delays, for ever: sessions have nowhere else to go."""

    def __init__(self, count: int, suffix: str, start: Start, died: Died, policy: Policy, tasks: Tasks) -> None:
        self._count = count
        self._suffix = suffix
        self._start = start
        self._died = died
        self._policy = policy
        self._tasks = tasks
        self._up: dict[int, SessionKeeper] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._change = asyncio.Event()
        self._trouble: Exception | None = None
        self._is_closed = False

    def begin(self, found: Iterable[SessionKeeper] = ()) -> None:
        by_number = {_number(each.name): each for each in found}
        for number in range(1, max([self._count, *by_number]) + 1):
            keeper = by_number.get(number)
            if keeper is not None:
                self._up[number] = keeper
            self._keeping.append(self._tasks.spawn(self._keep(number, keeper), f"{SHARED}{number}"))

    def take(self) -> SessionKeeper | None:
        return min(self._up.values(), key=lambda each: len(each.seated), default=None)

    async def obtain(self, session_id: str) -> SessionKeeper:
        while (keeper := self.take()) is None:
            if self._is_closed:
                raise PoolClosed
            await self._change.wait()
            if self._trouble is not None and not self._up:
                raise _as_organism_error(self._trouble)
        return keeper

    def give_back(self, keeper: SessionKeeper) -> None:
        return

    def keepers(self) -> list[SessionKeeper]:
        return list(self._up.values())

    async def close(self) -> list[SessionKeeper]:
        self._is_closed = True
        await _cancel(self._keeping)
        self._tell()
        return self.keepers()

    async def _keep(self, number: int, keeper: SessionKeeper | None) -> None:
        deaths = Restarts(self._policy())
        while True:
            try:
                if keeper is None:
                    keeper = await self._start(f"{SHARED}{number}{self._suffix}")
                    self._set(number, keeper)
                reason = await keeper.live()
                self._up.pop(number, None)
                await self._died(keeper, reason)
            except (OrganismError, CellDied) as error:
                logger.warning("session cell %s%d cannot be started: %s", SHARED, number, error)
                self._trouble = error
                self._tell()
            keeper = None
            await _pause(deaths, self._policy())

    def _set(self, number: int, keeper: SessionKeeper) -> None:
        self._up[number] = keeper
        self._trouble = None
        self._tell()

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class SingleCells:
    """A cell for each session, named `session:<id>`, `warm` of which are started in advance."""

    def __init__(self, warm: int, start: Start, died: Died, policy: Policy, tasks: Tasks) -> None:
        self._wanted = warm
        self._start = start
        self._died = died
        self._policy = policy
        self._tasks = tasks
        self._warm: deque[SessionKeeper] = deque()
        self._watched: dict[SessionKeeper, asyncio.Task[None]] = {}
        self._refilling: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def begin(self, found: Iterable[SessionKeeper] = ()) -> None:
        for keeper in found:
            self._watch(keeper)
            if not keeper.seated:
                self._warm.append(keeper)
        self._news.set()
        self._refilling = self._tasks.spawn(self._refill(), "warm session cells")

    def take(self) -> SessionKeeper | None:
        """A warm cell: a new session gets the id that it is named for (see `id_of`)."""
        if not self._warm:
            return None
        self._news.set()
        return self._warm.popleft()

    async def obtain(self, session_id: str) -> SessionKeeper:
        keeper = self.take()
        if keeper is None:
            try:
                keeper = await self._start(f"{ALONE}{session_id}")
            except CellDied as error:
                raise _as_organism_error(error) from error
            self._watch(keeper)
        return keeper

    def give_back(self, keeper: SessionKeeper) -> None:
        """It is as warm as before."""
        if not keeper.is_dead and not keeper.is_retired:
            self._warm.appendleft(keeper)

    def keepers(self) -> list[SessionKeeper]:
        return list(self._watched)

    async def close(self) -> list[SessionKeeper]:
        keepers = self.keepers()
        await _cancel([*([self._refilling] if self._refilling else []), *self._watched.values()])
        return keepers

    def _watch(self, keeper: SessionKeeper) -> None:
        self._watched[keeper] = self._tasks.spawn(self._until_death(keeper), keeper.name)

    async def _until_death(self, keeper: SessionKeeper) -> None:
        reason = await keeper.live()
        if keeper in self._warm:
            self._warm.remove(keeper)
            self._news.set()
        await self._died(keeper, reason)
        self._watched.pop(keeper, None)

    async def _refill(self) -> None:
        failures = Restarts(self._policy())
        while True:
            await self._news.wait()
            self._news.clear()
            while len(self._warm) < self._wanted:
                try:
                    keeper = await self._start(f"{ALONE}{new_id()}")
                except (OrganismError, CellDied) as error:
                    logger.warning("no warm session cell can be started: %s", error)
                    await _pause(failures, self._policy())
                    continue
                self._watch(keeper)
                self._warm.append(keeper)


def id_of(keeper: SessionKeeper) -> str | None:
    """The id of the session that a cell is named for; None for a shared one."""
    return keeper.name.removeprefix(ALONE) if keeper.name.startswith(ALONE) else None


def _number(name: str) -> int:
    """Of `sessions:<n>` or `sessions:<n>@<generation>`."""
    return int(name.removeprefix(SHARED).partition("@")[0])


def _as_organism_error(error: Exception) -> OrganismError:
    if isinstance(error, OrganismError):
        return error
    return OrganismUnreachable(f"no session cell can be started: {error}")


async def _pause(deaths: Restarts, policy: Supervision) -> None:
    deaths.obey(policy)
    delay_s = deaths.next_delay_s(time.monotonic())
    await asyncio.sleep(policy.max_restart_delay_s if delay_s is None else delay_s)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
