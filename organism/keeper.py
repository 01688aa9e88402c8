"""Looks after one cell: starts it or finds it again, hands it messages, notices its death, starts it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from organism.config import Supervision
from organism.errors import OrganismError
from organism.messages import Message
from organism.plan import CellPlan
from organism.supervisor import Restarts
from organism.wire import Attached, CellDied, CellHost, CellRef, CellSpec, Delivery

PROBE_S = 1.0
"""A suspect that has not killed its cell within this time gets company again."""

PING_INTERVAL_S = 2.0
PING_GRACE_S = 10.0
"""How much longer than its longest timeout a cell may fail to answer (a handler blocks it) before it is killed."""


class KeeperEvents(Protocol):
    """What a keeper tells the pump."""

    def new_spec(self, plan: CellPlan) -> CellSpec: ...

    async def deliveries(self, messages: list[Message]) -> list[Delivery]: ...

    async def cell_up(self, keeper: Keeper, attached: Attached) -> None: ...

    async def cell_died(self, keeper: Keeper, incarnation: str, reason: str) -> None: ...

    async def cell_given_up(self, keeper: Keeper, reason: str) -> None: ...

    def cell_has_room(self, keeper: Keeper) -> None: ...


class Keeper:
    """One cell of the plan. `restarts` counts how often it was started again."""

    def __init__(self, plan: CellPlan, host: CellHost, policy: Supervision, pump: KeeperEvents) -> None:
        self.plan = plan
        self.incarnation = ""
        self.restarts = 0
        self.pid: int | None = None
        self._host = host
        self._policy = policy
        self._pump = pump
        self._deaths = Restarts(policy)
        self._ref: CellRef | None = None
        self._outbox: list[Message] = []
        self._cancelled: list[int] = []
        self._news = asyncio.Event()
        self._revived = asyncio.Event()
        self._suspect: int | None = None  # seq of the one that has the cell to itself
        self._suspect_from = max(1, policy.max_deaths - 1)  # deaths
        self._is_emptying = False  # a suspect waits for the cell to be empty
        self._in_flight = 0

    def __repr__(self) -> str:
        return f"Keeper({self.name})"

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def is_up(self) -> bool:
        return self._ref is not None

    def may_take(self, deaths: int) -> bool:
        """Whether a message that `deaths` cells died with may go now: suspects go alone."""
        if self._suspect is not None:
            return False
        if self._is_suspect(deaths):
            self._is_emptying = self._in_flight > 0
        return not self._is_emptying

    def hand_over(self, message: Message, deaths: int) -> None:
        """Sends the message with the next call."""
        self._in_flight += 1
        if self._is_suspect(deaths):
            self._suspect = message.seq
            if deaths < self._policy.max_deaths:
                asyncio.get_running_loop().call_later(PROBE_S, self._clear, message.seq)
        self._outbox.append(message)
        self._news.set()

    def settled(self, seq: int) -> None:
        """The message came back."""
        self._in_flight -= 1
        if self._suspect == seq:
            self._clear(seq)
        if self._is_emptying and self._in_flight == 0:
            self._is_emptying = False
            self._pump.cell_has_room(self)

    def cancel(self, seq: int) -> None:
        """The message's thread was killed: cancels its handler, or sees to it that it does not begin."""
        self._outbox = [message for message in self._outbox if message.seq != seq]
        self._cancelled.append(seq)
        self._news.set()

    def obey(self, policy: Supervision) -> None:
        """Takes over a changed policy."""
        self._policy = policy
        self._suspect_from = max(1, policy.max_deaths - 1)
        self._deaths.obey(policy)

    def revive(self) -> None:
        """Forgets earlier deaths; a cell that was given up is started again."""
        self._deaths.forgive()
        self._revived.set()

    async def kill(self) -> None:
        """Ends the cell's process; whoever runs this keeper has stopped it before."""
        ref, self._ref = self._ref, None
        if ref is not None:
            await ref.kill()

    async def start(self, spec: CellSpec) -> Attached:
        """Starts a new incarnation and waits until its handlers are loaded.

        Raises:
            HandlerNotLoaded, BundleError: user code cannot be used.
            CellDied: the process ended.
        """
        ref = await self._host.start(spec)
        try:
            return await self._take(ref)
        except BaseException:
            await ref.kill()
            raise

    async def run(self, *, adopt: bool = False) -> None:
        """Keeps the cell alive until cancelled. `adopt` looks for a running one first, that of an earlier pump."""
        while True:
            try:
                reason = await self._live(adopt)
            except OrganismError as error:
                reason = str(error)
            except CellDied as error:
                reason = error.reason
            adopt = False
            await self._after_death(reason)

    async def _live(self, adopt: bool) -> str:
        """One life of the cell; returns why it died. A reload has started it already, on trial."""
        if self._ref is None:
            attached = await self._find() if adopt else None
            if attached is None:
                attached = await self.start(self._pump.new_spec(self.plan))
            await self._pump.cell_up(self, attached)
        ref = self._ref
        return await self._serve(ref) if ref is not None else "it was gone before it could be used"

    async def _find(self) -> Attached | None:
        ref = await self._host.find(self.name)
        if ref is None:
            return None
        try:
            async with asyncio.timeout(PING_GRACE_S):
                attached = await self._take(ref)
        except (CellDied, TimeoutError):
            self._ref = None
            await ref.kill()
            return None
        if attached.definition == self.plan.definition:
            return attached
        await self.kill()
        return None

    async def _take(self, ref: CellRef) -> Attached:
        attached = await ref.attach()
        self.incarnation = attached.incarnation
        self.pid = attached.pid
        self._outbox.clear()
        self._cancelled.clear()
        self._in_flight = 0
        self._suspect = None
        self._is_emptying = False
        self._ref = ref
        return attached

    async def _serve(self, ref: CellRef) -> str:
        """Delivers and watches; returns why the cell died."""
        died = asyncio.create_task(ref.wait_died(), name=f"{self.name}: watch")
        others = [
            asyncio.create_task(self._until_death(work(ref)), name=f"{self.name}: {work.__name__}")
            for work in (self._deliver, self._ping)
        ]
        try:
            await _first_end(died, others)
            return died.result()
        finally:
            for task in (died, *others):
                task.cancel()
            await asyncio.gather(died, *others, return_exceptions=True)

    async def _until_death(self, work: Awaitable[None]) -> None:
        try:
            await work
        except CellDied:
            return  # wait_died() tells why

    async def _deliver(self, ref: CellRef) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._outbox = self._outbox, []
            cancelled, self._cancelled = self._cancelled, []
            if cancelled:
                await ref.cancel(cancelled)
            if batch:
                await ref.deliver(await self._pump.deliveries(batch))

    async def _ping(self, ref: CellRef) -> None:
        longest_s = max(each.timeout_s or self._policy.handler_timeout_s for each in self.plan.listeners)
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            try:
                async with asyncio.timeout(longest_s + PING_GRACE_S):
                    await ref.ping()
            except TimeoutError:
                await ref.kill()
                return

    async def _after_death(self, reason: str) -> None:
        self._ref = None
        await self._pump.cell_died(self, self.incarnation, reason)
        self._revived.clear()
        delay_s = self._deaths.next_delay_s(time.monotonic())
        if delay_s is None:
            await self._pump.cell_given_up(self, reason)
            await self._revived.wait()
        else:
            await asyncio.sleep(delay_s)
        self.restarts += 1

    def _is_suspect(self, deaths: int) -> bool:
        return deaths >= self._suspect_from

    def _clear(self, seq: int) -> None:
        if self._suspect == seq:
            self._suspect = None
            self._pump.cell_has_room(self)


async def _first_end(died: asyncio.Task[str], others: list[asyncio.Task[None]]) -> None:
    """Returns when `died` has ended; an error in one of the others is raised at once, not kept until then."""
    waiting: set[asyncio.Task[Any]] = {died, *others}
    while not died.done():
        ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
