"""The pump's part of agent sessions: creates, finds, places and deletes them, and looks after their cells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from organism.active import Active
from organism.config import OrganismConfig
from organism.errors import ConfigError, OrganismError, SessionAgentNotFound, SessionNotFound, Stopping
from organism.masking import mask_text
from organism.messages import new_id, now_ms
from organism.pump import Pump
from organism.sessions.cell_starter import CellStarter, cell_starter
from organism.sessions.events import Frame
from organism.sessions.log import SessionLog
from organism.sessions.news import SessionNews
from organism.sessions.offers import check_model, default_model, offers_of
from organism.sessions.outreach import Outreach
from organism.sessions.placing import Placing
from organism.sessions.plan import ALONE, SHARED
from organism.sessions.pools import id_of
from organism.sessions.quotas import Quotas
from organism.sessions.records import NewSession, SessionFilter, SessionRecord, SessionView, new_directory
from organism.sessions.recovery import Recovery
from organism.sessions.seats import Seats
from organism.sessions.session_desk import SessionDesk
from organism.sessions.session_keeper import SessionKeeper, take_up
from organism.sessions.wire import (
    Placement,
    ServerStatus,
    SessionCellHost,
    SessionCellRef,
    SessionLink,
    SessionSettings,
)
from organism.sessions.workspace_folders import remove_workspace
from organism.storage.sessions.base import SessionStorage
from organism.tasks import Tasks
from organism.wire import CellDied

ATTACH_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
"""How long a stop waits for the last commit."""

DRAIN_POLL_S = 0.05


class Directory:
    """Implements DirectoryRef; `desk` is for its cells.

    folder: the organism's. session_host: makes what runs the cells, given their link to the pump.
    """

    def __init__(
        self,
        folder: Path,
        pump: Pump,
        storage: SessionStorage,
        session_host: Callable[[SessionLink], SessionCellHost],
        tasks: Tasks,
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._log = SessionLog(storage, tasks)
        self._news = SessionNews(pump.publisher)
        self._recovery = Recovery(self._log, tasks)
        self._seats = Seats()
        self._placing = Placing(self._seats, self._log, self._recovery, self._news, tasks)
        self._quotas = Quotas(self._seats, lambda: self._config.auth.limits, pump.tally)
        self.desk = SessionDesk(
            self._seats, self._log, self._recovery, self._news, self._quotas, Outreach(pump), self._placing.leave
        )
        self._host = session_host(self.desk)
        self._starter: CellStarter | None = None

    @property
    def active(self) -> int:
        """How many sessions are in memory."""
        return len(self._seats)

    @property
    def running(self) -> int:
        return len(self._seats.running)

    @property
    def runs(self) -> int:
        """How many have begun since this process started."""
        return self._news.runs

    @property
    def max_active(self) -> int:
        return self._config.sessions.max_active

    @property
    def _config(self) -> OrganismConfig:
        return self._placing.config

    # Life

    async def open(self, active: Active, *, resume: bool) -> None:
        """Begins to work. resume: the cells of an earlier pump are found again, else they are ended.

        Raises:
            StorageLocked, StorageVersionError, StorageUnavailable, BundleError
        """
        await self._storage.open()
        self._adopt(await cell_starter(active, self._folder, self._host))
        found = await self._host.found()
        keepers = await self._attach(found) if resume else []
        if not resume:
            await asyncio.gather(*(_end(ref) for ref in found))
        used = await self._seat_found(keepers)
        await self._recovery.begin_all({seat.record.id for seat in self._seats}, "it was not there after a restart")
        if used or "sessions" in active.config.model_fields_set:
            self._placing.begin(used)

    def stop(self) -> None:
        """Creates, places and begins nothing more."""
        self._placing.is_stopping = True
        self.desk.is_stopping = True

    async def drain(self, timeout_s: float) -> None:
        """Begins no more runs, and waits until none is left, at most so long; then ends the cells."""
        self.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._seats.running:  # noqa: ASYNC110 - once in a life
                    await asyncio.sleep(DRAIN_POLL_S)
        await self._placing.close()

    async def close(self) -> None:
        """Ends the cells at once and closes the storage; runs that were under way are ended at the next start."""
        self.stop()
        await self._placing.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._log.flush()
        await self._log.close()

    @contextlib.asynccontextmanager
    async def reloading(self, new: Active) -> AsyncIterator[None]:
        """Takes `new` over when the body has; before that a cell of it is tried out, where it needs new ones.

        Raises:
            HandlerNotLoaded, BundleError, ConfigError: nothing has changed.
        """
        starter = await cell_starter(new, self._folder, self._host)
        if not self._placing.has_begun or _kind(starter) == _kind(self._starter):
            yield
            if self._placing.has_begun:
                self._starter = starter
                self._placing.obey(starter)
            else:
                self._adopt(starter)
            self.desk.is_exclusive = self._config.sessions.exclusive
            return
        trial = await self._try_out(starter)
        try:
            yield
        except BaseException:
            await _end(trial.ref)
            raise
        self._starter = starter
        await self._placing.replace(starter, trial)
        self.desk.is_exclusive = self._config.sessions.exclusive

    # DirectoryRef

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        self._check_open()
        config = self._config
        agent = self._agent_of(new)
        if new.model is not None:
            check_model(new.model, config.llm)
        self._placing.begin()
        keeper = self._placing.reserve()
        session_id = (id_of(keeper) if keeper is not None else None) or new_id()
        now = now_ms()
        record = SessionRecord(
            id=session_id,
            created_at=now,
            updated_at=now,
            agent=agent,
            working_directory=new_directory(session_id, isolate=config.workspace.isolate),
            name=new.name,
            tags=new.tags,
            model=new.model,
            owner=owner,
        )
        try:
            await self._log.write([record])
        except BaseException:
            if keeper is not None:
                self._placing.give_back(keeper)
            raise
        is_active = keeper is not None and self._placing.seat_reserved(record, keeper)
        return _view(record, is_active=is_active)

    async def place(self, session_id: str) -> Placement:
        self._check_open()
        return await self._placing.place(session_id)

    async def view(self, session_id: str) -> SessionView:
        return _view(await self._record(session_id), is_active=session_id in self._seats)

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        records, total = await self._storage.sessions(where, limit, offset)
        return [_view(each, is_active=each.id in self._seats) for each in records], total

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        frames = await self._storage.events(session_id, after_seq, limit)
        if not frames:
            await self._record(session_id)
        return frames

    async def delete(self, session_id: str) -> None:
        record = await self._record(session_id)
        self._placing.deleting.add(session_id)
        try:
            await self._placing.settle(session_id)
            await self._recovery.wait(session_id)
            await self._drop(session_id)
            await self._log.flush()
            await self._log.write(deleted=[session_id])
        finally:
            self._placing.deleting.discard(session_id)
        self._news.tell(record, "deleted")
        starter = self._starter
        assert starter is not None
        await asyncio.to_thread(remove_workspace, starter.workspace_root, record)

    async def server_status(self) -> ServerStatus:
        is_exclusive = self._config.sessions.exclusive
        running = next(iter(self._seats.running), None) if is_exclusive else None
        return ServerStatus(is_exclusive, running, running is None and not self._placing.is_stopping)

    async def settings(self) -> SessionSettings:
        config, starter = self._config, self._starter
        assert starter is not None
        return SessionSettings(
            agents=tuple((each.name, each.description) for each in config.sessions.offered),
            models=offers_of(config.llm),
            default_model=default_model(config.sessions, config.llm),
            workspace_root=str(starter.workspace_root),
            workspace=config.workspace,
            sessions=config.sessions,
        )

    # Helpers

    def _adopt(self, starter: CellStarter) -> None:
        self._starter = starter
        self._placing.use(starter)
        self.desk.is_exclusive = starter.active.config.sessions.exclusive

    def _check_open(self) -> None:
        if self._placing.is_stopping:
            raise Stopping

    def _agent_of(self, new: NewSession) -> str:
        offered = self._config.sessions.offered
        if new.agent is None:
            return offered[0].name
        if self._config.sessions.agent(new.agent) is None:
            raise SessionAgentNotFound(new.agent, tuple(each.name for each in offered))
        return new.agent

    async def _record(self, session_id: str) -> SessionRecord:
        if session_id in self._placing.deleting:
            raise SessionNotFound(session_id)
        seat = self._seats.get(session_id)
        if seat is not None:
            return seat.record
        found = await self._storage.records([session_id])
        if session_id not in found:
            raise SessionNotFound(session_id)
        return found[session_id]

    async def _drop(self, session_id: str) -> None:
        """Nobody stores anything in its name any more."""
        seat = self._seats.get(session_id)
        if seat is None:
            return
        self._seats.remove(seat)
        if seat.lease:
            with contextlib.suppress(CellDied):
                await seat.keeper.ref.drop(session_id)
        self._placing.end_single(seat.keeper)

    async def _try_out(self, starter: CellStarter) -> SessionKeeper:
        config = starter.active.config
        is_shared = config.sessions.isolation == "shared"
        name = f"{SHARED}1{starter.suffix}" if is_shared else f"{ALONE}{new_id()}"
        timeout_s = config.supervision.start_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await starter.start(name)
        except TimeoutError:
            problem = f"a session cell has not started within {timeout_s:g} s (supervision.start_timeout_s)"
        except CellDied as error:
            problem = mask_text(str(error))
        remedy = "See the cell's log for what its tools print"
        raise ConfigError(str(self._folder / "organism.yaml"), None, "sessions", problem, remedy)

    # Cells of an earlier pump

    async def _attach(self, found: list[SessionCellRef]) -> list[SessionKeeper]:
        attached = await asyncio.gather(*(take_up(ref, ATTACH_TIMEOUT_S) for ref in found), return_exceptions=True)
        for each in attached:
            if isinstance(each, BaseException) and not isinstance(each, (CellDied, OrganismError)):
                raise each
        return [each for each in attached if isinstance(each, SessionKeeper)]

    async def _seat_found(self, keepers: list[SessionKeeper]) -> list[SessionKeeper]:
        """Seats what cells hold, and has those of another definition retire; returns the others."""
        assert self._starter is not None
        held = {session_id for keeper in keepers for session_id in keeper.held}
        named = {session_id for keeper in keepers if (session_id := id_of(keeper)) is not None}
        records = await self._storage.records([*(held | named)]) if held | named else {}
        used: list[SessionKeeper] = []
        for keeper in sorted(keepers, key=lambda each: -max(each.held.values(), default=0)):
            for session_id, lease in keeper.held.items():
                if session_id in records and session_id not in self._seats:
                    self._placing.adopt(records[session_id], keeper, lease)
                else:
                    with contextlib.suppress(CellDied):
                        await keeper.ref.drop(session_id)
            own = id_of(keeper)
            is_used_up = own in records and not keeper.seated and own in self._seats
            if own in records and not keeper.seated and not is_used_up:
                self._placing.adopt(records[own], keeper, 0)
            if keeper.definition == self._starter.definition and not is_used_up:
                used.append(keeper)
            else:
                self._placing.retire(keeper)
        return used


def _kind(starter: CellStarter | None) -> tuple[object, ...]:
    """What decides whether present cells can go on."""
    assert starter is not None
    sessions = starter.active.config.sessions
    return starter.definition, sessions.shared_cells, sessions.warm


def _view(record: SessionRecord, *, is_active: bool) -> SessionView:
    return SessionView.model_construct(**record.__dict__, active=is_active)


async def _end(ref: SessionCellRef) -> None:
    with contextlib.suppress(CellDied):
        await ref.kill()
