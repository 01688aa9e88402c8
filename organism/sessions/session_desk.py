"""What session cells ask of the pump: to load a session, to store what happens in it, to send to agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from organism.errors import OrganismError, ServerExclusive, SessionNotFound, Stopping
from organism.sessions.events import Frame
from organism.sessions.log import SessionLog
from organism.sessions.news import SessionNews
from organism.sessions.outreach import Outreach
from organism.sessions.quotas import Quotas
from organism.sessions.recovery import Recovery
from organism.sessions.seats import Seat, Seats
from organism.sessions.wire import RECENT_EVENTS, AgentAnswer, Append, Loaded, SessionNotHere


class SessionDesk:
    """Implements SessionLink. `is_exclusive`: sessions.exclusive; `is_stopping`: no run begins any more."""

    def __init__(
        self,
        seats: Seats,
        log: SessionLog,
        recovery: Recovery,
        news: SessionNews,
        quotas: Quotas,
        outreach: Outreach,
        left: Callable[[Seat], None],
    ) -> None:
        self.is_exclusive = False
        self.is_stopping = False
        self._seats = seats
        self._log = log
        self._recovery = recovery
        self._news = news
        self._quotas = quotas
        self._outreach = outreach
        self._left = left

    async def load(self, session_id: str, incarnation: str) -> Loaded:
        """See SessionLink.load."""
        seat = self._seats.get(session_id)
        if seat is None or seat.keeper.incarnation != incarnation:
            raise SessionNotHere(session_id)
        self._seats.use(seat)
        lease = self._seats.next_lease(seat)  # whoever held it before stores nothing more
        await self._log.flush()
        if seat.is_running:
            await self._recovery.end([session_id], "its cell has lost it")
            await self._read_again(seat)
        recent = await self._log.storage.last_events(session_id, RECENT_EVENTS) if seat.record.last_seq else []
        if seat.lease != lease or self._seats.get(session_id) is not seat:
            raise SessionNotHere(session_id)
        return Loaded(seat.record, lease, recent, self._quotas.may_refuse(seat.record.owner))

    async def append(self, appends: list[Append]) -> list[OrganismError | None]:
        """See SessionLink.append."""
        unpaid = await self._unpaid(appends)
        answers = [self._refusal(each, unpaid.get(each.record.id)) for each in appends]
        taken = [each for each, refusal in zip(appends, answers, strict=True) if refusal is None]
        if not taken:
            return answers
        try:
            await self._log.write([each.record for each in taken], [frame for each in taken for frame in each.frames])
        except OrganismError as error:
            for each in taken:
                self._undo(each)
            return [error if refusal is None else refusal for refusal in answers]
        for each in taken:
            self._note(each)
        return answers

    async def release(self, session_id: str, lease: int) -> None:
        """See SessionLink.release."""
        seat = self._seats.get(session_id)
        if seat is not None and seat.lease == lease:
            self._left(seat)

    async def inject(self, session_id: str, agent: str, payload: dict[str, Any]) -> str:
        """See SessionLink.inject."""
        seat = self._seats.get(session_id)
        if seat is None:
            raise SessionNotHere(session_id)
        refusal = await self._quotas.tokens_refusal(seat)
        if refusal is not None:
            raise refusal
        return await self._outreach.inject(agent, payload, seat.record.owner)

    async def wait_thread(self, thread_id: str, timeout_s: float) -> AgentAnswer:
        """See SessionLink.wait_thread."""
        return await self._outreach.wait_thread(thread_id, timeout_s)

    def _seat_of(self, append: Append) -> Seat | None:
        """None where the session is somebody else's now."""
        seat = self._seats.get(append.record.id)
        return None if seat is None or seat.lease != append.lease else seat

    async def _unpaid(self, appends: list[Append]) -> dict[str, OrganismError]:
        """By session id, why a run cannot be paid for with the tokens of its owner."""
        unpaid: dict[str, OrganismError] = {}
        for append in appends:
            seat = self._seat_of(append) if append.begins_run else None
            if seat is not None and _is_new(seat, append):
                refusal = await self._quotas.tokens_refusal(seat)
                if refusal is not None:
                    unpaid[append.record.id] = refusal
        return unpaid

    def _refusal(self, append: Append, unpaid: OrganismError | None) -> OrganismError | None:
        session_id = append.record.id
        seat = self._seat_of(append)
        if seat is None:
            return SessionNotHere(session_id)
        if append.begins_run:
            if self.is_stopping:
                return Stopping()
            other = next((each for each in self._seats.running if each != session_id), None)
            if self.is_exclusive and other is not None:
                return ServerExclusive(other)
            refusal = unpaid or self._quotas.runs_refusal(seat)
            if refusal is not None and _is_new(seat, append):
                return refusal
            self._seats.set_running(seat, is_running=True)  # before it is stored: another one may ask meanwhile
        return None

    def _undo(self, append: Append) -> None:
        seat = self._seats.get(append.record.id)
        if seat is not None and append.begins_run:
            self._seats.set_running(seat, is_running=seat.record.is_running)

    def _note(self, append: Append) -> None:
        """It is stored: keeps the record, and tells of a run that began or ended."""
        record = append.record
        seat = self._seat_of(append)
        if seat is None:
            return
        self._quotas.count(record.owner, record.tokens - seat.record.tokens)
        was_running, seat.record = seat.record.is_running, record
        self._seats.set_running(seat, is_running=record.is_running)
        self._seats.use(seat)
        self._news.runs += sum(frame.type == "agent_run_start" for frame in append.frames)
        if record.is_running and not was_running:
            self._news.tell(record, "executing", seat.keeper)
        elif was_running and not record.is_running:
            self._news.tell(record, "error" if _has_failed(append.frames) else "idle", seat.keeper)

    async def _read_again(self, seat: Seat) -> None:
        found = await self._log.storage.records([seat.record.id])
        if seat.record.id not in found:
            raise SessionNotFound(seat.record.id)
        seat.record = found[seat.record.id]
        self._seats.set_running(seat, is_running=seat.record.is_running)


def _is_new(seat: Seat, append: Append) -> bool:
    """False where it is stored already: the pump that stored it has ended before the cell was told."""
    return append.record.last_seq > seat.record.last_seq


def _has_failed(frames: list[Frame]) -> bool:
    """Whether the run that ends with these events has ended with an error."""
    return any(orjson.loads(frame.body)["status"] == "error" for frame in frames if frame.type == "agent_run_end")
