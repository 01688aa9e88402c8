"""Looks after one life of one session cell: takes it up, notices its death, ends it."""

from __future__ import annotations

import asyncio

from organism.errors import OrganismError
from organism.sessions.wire import SessionCellAttached, SessionCellRef
from organism.wire import CellDied

PING_INTERVAL_S = 2.0
PING_GRACE_S = 20.0
"""How long a cell may fail to answer (a tool blocks it) before it is killed."""


class SessionKeeper:
    """A session cell that runs. `seated`: ids of the sessions placed in it; `is_retired`: it gets no more of them."""

    def __init__(self, ref: SessionCellRef, attached: SessionCellAttached) -> None:
        self.ref = ref
        self.name = ref.name
        self.incarnation = attached.incarnation
        self.definition = attached.definition
        self.pid = attached.pid
        self.held = attached.held
        self.seated: set[str] = set()
        self.is_retired = False
        self.is_dead = False

    def __repr__(self) -> str:
        return f"SessionKeeper({self.name})"

    async def live(self) -> str:
        """Watches until the cell has died; returns why."""
        died = asyncio.create_task(self.ref.wait_died(), name=f"{self.name}: watch")
        pinging = asyncio.create_task(self._ping(), name=f"{self.name}: ping")
        try:
            return await died
        finally:
            self.is_dead = died.done() and not died.cancelled()
            died.cancel()
            pinging.cancel()
            await asyncio.gather(died, pinging, return_exceptions=True)

    async def kill(self) -> None:
        await self.ref.kill()

    async def _ping(self) -> None:
        """A cell that does not answer is as good as dead, and is made so."""
        try:
            while True:
                await asyncio.sleep(PING_INTERVAL_S)
                async with asyncio.timeout(PING_GRACE_S):
                    await self.ref.ping()
        except TimeoutError:
            await self.ref.kill()
        except CellDied:
            return  # wait_died() tells why


async def take_up(ref: SessionCellRef, timeout_s: float | None = None) -> SessionKeeper:
    """The keeper of a cell that runs; one that does not answer is ended.

    Raises:
        CellDied: it did not answer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return SessionKeeper(ref, await ref.attach())
    except TimeoutError:
        await ref.kill()
        raise CellDied(ref.name, f"it did not answer for {timeout_s:g} s") from None
    except (CellDied, OrganismError):
        await ref.kill()
        raise
