"""Decides which cell each session is in: finds room, brings stored ones back, takes seats away, survives cells."""

from __future__ import annotations

import asyncio
import logging
import time

from organism.config import OrganismConfig, Supervision
from organism.errors import OrganismError, SessionNotFound, Stopping, TooManySessions
from organism.sessions.cell_starter import CellStarter
from organism.sessions.log import SessionLog
from organism.sessions.news import SessionNews
from organism.sessions.pools import CellPool, PoolClosed, SharedCells, SingleCells, id_of
from organism.sessions.records import SessionRecord
from organism.sessions.recovery import Recovery
from organism.sessions.seats import Seat, Seats
from organism.sessions.session_keeper import SessionKeeper
from organism.sessions.wire import Placement
from organism.tasks import Tasks
from organism.wire import CellDied

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
"""What a client is told to wait when all sessions are busy."""

MAX_SWEEP_S = 30.0


class Placing:
    """Seats sessions in the cells of `pool`, and in nobody's when there is no room.

    deleting: ids of sessions that are being deleted; they are placed no more.
    """

    def __init__(self, seats: Seats, log: SessionLog, recovery: Recovery, news: SessionNews, tasks: Tasks) -> None:
        self.seats = seats
        self.deleting: set[str] = set()
        self.is_stopping = False
        self._log = log
        self._recovery = recovery
        self._news = news
        self._tasks = tasks
        self._starter: CellStarter | None = None
        self._pool: CellPool | None = None
        self._has_begun = False
        self._placing: dict[str, asyncio.Future[Placement]] = {}
        self._reserved = 0
        self._making_room = asyncio.Lock()
        self._retired: dict[SessionKeeper, asyncio.Task[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def config(self) -> OrganismConfig:
        assert self._starter is not None
        return self._starter.active.config

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    # Cells

    def use(self, starter: CellStarter) -> None:
        """Takes a configuration over; its cells start with `begin`."""
        self._starter = starter
        self._pool = self._new_pool(starter)

    def obey(self, starter: CellStarter) -> None:
        """As `use`, of a configuration with which the present cells go on."""
        self._starter = starter

    def begin(self, found: list[SessionKeeper] | None = None) -> None:
        """Starts cells in the background, once; `found` run already."""
        if self._has_begun or self.is_stopping:
            return
        assert self._pool is not None
        self._has_begun = True
        self._pool.begin(found or [])
        self._sweeping = self._tasks.spawn(self._sweep(), "sweep of session seats")

    async def replace(self, starter: CellStarter, trial: SessionKeeper) -> None:
        """New sessions go to cells of `starter`, `trial` being the first; the old cells end when they are empty."""
        assert self._pool is not None
        old = self._pool
        self.use(starter)
        self._pool.begin([trial])
        for keeper in await old.close():
            self.retire(keeper)

    def retire(self, keeper: SessionKeeper) -> None:
        """It gets no more sessions, and ends when it has none."""
        keeper.is_retired = True
        self._retired[keeper] = self._tasks.spawn(self._until_death(keeper), f"{keeper.name}: retired")
        for session_id in list(keeper.seated):
            seat = self.seats.get(session_id)
            if seat is not None and seat.lease == 0:
                self.leave(seat)
        self._tasks.spawn(self._ask_to_retire(keeper), f"{keeper.name}: retire")

    async def close(self) -> None:
        """Ends all cells at once."""
        self.is_stopping = True
        keepers = await self._pool.close() if self._pool is not None else []
        watching = [*self._retired.values(), *([self._sweeping] if self._sweeping else [])]
        keepers += self._retired
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for seat in self.seats:
            self.seats.remove(seat)
        await asyncio.gather(*(_kill(keeper) for keeper in keepers))

    # Places

    def reserve(self) -> SessionKeeper | None:
        """A cell for a session that is being created, where there is room and one is up; it is seated or given back."""
        if self._is_full() or self._has_enough_unused() or self._pool is None:
            return None
        keeper = self._pool.take()
        self._reserved += keeper is not None
        return keeper

    def give_back(self, keeper: SessionKeeper) -> None:
        """Nothing came of what was reserved."""
        self._reserved -= 1
        if keeper.is_retired:
            self._end_if_empty(keeper)
        elif self._pool is not None:
            self._pool.give_back(keeper)

    def seat_reserved(self, record: SessionRecord, keeper: SessionKeeper) -> bool:
        """False: the cell is gone meanwhile; the session is placed when it is first used."""
        self._reserved -= 1
        if keeper.is_retired or keeper.is_dead:
            self._end_if_empty(keeper)
            return False
        self._sit(record, keeper)
        return True

    async def place(self, session_id: str) -> Placement:
        """See DirectoryRef.place."""
        if self.is_stopping:
            raise Stopping
        seat = self.seats.get(session_id)
        if seat is not None:
            await self._log.flush()  # what a cell that died stored at last is seen by who asks after it
            if self.seats.get(session_id) is seat:
                self.seats.use(seat)
                return seat.placement
        placing = self._placing.get(session_id)
        if placing is None:
            placing = self._placing[session_id] = asyncio.get_running_loop().create_future()
            placing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more
            self._tasks.spawn(self._answer(session_id, placing), f"placing of session {session_id}")
        return await asyncio.shield(placing)

    async def settle(self, session_id: str) -> None:
        """Returns when nobody is placing the session."""
        placing = self._placing.get(session_id)
        if placing is not None:
            await asyncio.wait([placing])

    def leave(self, seat: Seat) -> None:
        """The session is only stored from now on; a run that it had is ended."""
        was_running = seat.is_running
        self.seats.remove(seat)
        self._news.tell(seat.record, "stored")
        if was_running:
            self._recovery.begin([seat.record.id], "it was given up by its cell")
        self.end_single(seat.keeper)

    def end_single(self, keeper: SessionKeeper) -> None:
        """A process serves one session and ends with it; a retired one ends with its last."""
        if keeper.is_retired or id_of(keeper) is not None:
            self._end_if_empty(keeper)

    def adopt(self, record: SessionRecord, keeper: SessionKeeper, lease: int) -> None:
        """A cell of an earlier pump holds the session."""
        self.seats.add(record, keeper, lease)

    async def cell_died(self, keeper: SessionKeeper, reason: str) -> None:
        """Its sessions are only stored now; what ran in them is ended before they can be placed again."""
        seats = [seat for session_id in list(keeper.seated) if (seat := self.seats.get(session_id)) is not None]
        running = [seat.record.id for seat in seats if seat.is_running]
        for seat in seats:
            self.seats.remove(seat)
        self._recovery.begin(running, reason)
        for seat in seats:
            self._news.tell(seat.record, "error" if seat.record.id in running else "stored")
        if seats:
            ended = f"; the runs of {len(running)} sessions ended with it" if running else ""
            text = f"session cell {keeper.name} died ({reason}){ended}"
            logger.warning("%s", text)
            self._news.tell_error(text)

    # Placing one

    async def _answer(self, session_id: str, placing: asyncio.Future[Placement]) -> None:
        try:
            placement = await self._place(session_id)
        except OrganismError as error:
            placing.set_exception(error)
        except BaseException:
            placing.set_exception(Stopping())
            raise
        else:
            placing.set_result(placement)
        finally:
            del self._placing[session_id]

    async def _place(self, session_id: str) -> Placement:
        self.begin()
        await self._recovery.wait(session_id)
        record = await self._record(session_id)
        if record.is_running:
            await self._recovery.end([session_id], "it had no cell any more")
            record = await self._record(session_id)
        await self._make_room()
        try:
            keeper = await self._obtain(session_id)
        finally:
            self._reserved -= 1
        if session_id in self.deleting:
            if self._pool is not None:
                self._pool.give_back(keeper)
            raise SessionNotFound(session_id)
        return self._sit(record, keeper).placement

    async def _record(self, session_id: str) -> SessionRecord:
        found = await self._log.storage.records([session_id])
        if session_id not in found or session_id in self.deleting:
            raise SessionNotFound(session_id)
        return found[session_id]

    async def _obtain(self, session_id: str) -> SessionKeeper:
        while True:
            if self.is_stopping:
                raise Stopping
            assert self._pool is not None
            pool = self._pool
            try:
                keeper = await pool.obtain(session_id)
            except PoolClosed:
                continue
            if not keeper.is_dead and not keeper.is_retired:
                return keeper

    def _sit(self, record: SessionRecord, keeper: SessionKeeper) -> Seat:
        seat = self.seats.add(record, keeper)
        self._news.tell(record, "active", keeper)
        return seat

    # Room

    def _is_full(self) -> bool:
        return len(self.seats) + self._reserved >= self.config.sessions.max_active

    def _has_enough_unused(self) -> bool:
        """Whether as many processes as are kept warm stand by for sessions that were created and not used yet; more
        of these would fill the machine with idle processes."""
        sessions = self.config.sessions
        return sessions.isolation == "actor" and sum(seat.lease == 0 for seat in self.seats) >= sessions.warm

    async def _make_room(self) -> None:
        """Reserves a place; where all are taken the longest unused session that can do without its own loses it.

        Raises TooManySessions.
        """
        async with self._making_room:
            while self._is_full():  # again where a new session took what was freed
                await self._evict()
            self._reserved += 1

    async def _evict(self) -> None:
        for seat in self.seats:
            if not seat.is_running and self.seats.get(seat.record.id) is seat and await self._gives_up(seat):
                return
            if not self._is_full():
                return
        raise TooManySessions(self.config.sessions.max_active, RETRY_AFTER_S)

    async def _gives_up(self, seat: Seat) -> bool:
        if seat.lease == 0:
            self.leave(seat)
            return True
        try:
            if not await seat.keeper.ref.passivate(seat.record.id):
                return False
        except CellDied:
            return False  # its keeper takes the seats away
        if self.seats.get(seat.record.id) is seat:
            self.leave(seat)
        return True

    async def _sweep(self) -> None:
        """Takes places away that nobody came to use; what has been loaded its cell gives up by itself."""
        while True:
            idle_timeout_s = self.config.sessions.idle_timeout_s
            await asyncio.sleep(min(idle_timeout_s / 4, MAX_SWEEP_S))
            oldest_s = time.monotonic() - idle_timeout_s
            for seat in self.seats:
                if seat.lease == 0 and seat.used_s < oldest_s:
                    self.leave(seat)

    # Cells

    def _new_pool(self, starter: CellStarter) -> CellPool:
        sessions = starter.active.config.sessions
        if sessions.isolation == "shared":
            count, suffix = sessions.shared_cells, starter.suffix
            return SharedCells(count, suffix, starter.start, self.cell_died, self._policy, self._tasks)
        return SingleCells(sessions.warm, starter.start, self.cell_died, self._policy, self._tasks)

    def _policy(self) -> Supervision:
        return self.config.supervision

    async def _until_death(self, keeper: SessionKeeper) -> None:
        reason = await keeper.live()
        self._retired.pop(keeper, None)
        await self.cell_died(keeper, reason)

    async def _ask_to_retire(self, keeper: SessionKeeper) -> None:
        try:
            await keeper.ref.retire()
        except CellDied:
            return
        self._end_if_empty(keeper)

    def _end_if_empty(self, keeper: SessionKeeper) -> None:
        if not keeper.seated and not keeper.is_dead:
            self._tasks.spawn(_kill(keeper), f"{keeper.name}: end")


async def _kill(keeper: SessionKeeper) -> None:
    try:
        await keeper.kill()
    except CellDied:
        return
