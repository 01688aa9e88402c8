"""Which session is in which cell, and in whose name it may store: bookkeeping without I/O."""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from dataclasses import dataclass

from organism.sessions.records import SessionRecord
from organism.sessions.session_keeper import SessionKeeper
from organism.sessions.wire import Placement


@dataclass(slots=True)
class Seat:
    """A session's place in a cell. lease: 0 until the cell has loaded it; only its holder may append.

    record: as it was last stored. used_s: monotonic time of its placement or last append.
    """

    record: SessionRecord
    keeper: SessionKeeper
    lease: int = 0
    is_running: bool = False
    used_s: float = 0.0

    @property
    def placement(self) -> Placement:
        return Placement(self.record.id, self.keeper.name, self.keeper.incarnation)


class Seats:
    """All of them, the longest unused first."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._running_of: dict[str, set[str]] = {}  # session ids by owner
        self._seats: dict[str, Seat] = {}
        self._last_lease = 0

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._seats

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._seats.values()))

    def get(self, session_id: str) -> Seat | None:
        return self._seats.get(session_id)

    def add(self, record: SessionRecord, keeper: SessionKeeper, lease: int = 0) -> Seat:
        seat = Seat(record, keeper, lease, used_s=time.monotonic())
        self._seats[record.id] = seat
        keeper.seated.add(record.id)
        self._last_lease = max(self._last_lease, lease)
        self.set_running(seat, is_running=record.is_running)
        return seat

    def remove(self, seat: Seat) -> None:
        """From now on nobody may append in its name."""
        session_id = seat.record.id
        if self._seats.get(session_id) is seat:
            del self._seats[session_id]
            self._unlist(seat)
        seat.keeper.seated.discard(session_id)

    def next_lease(self, seat: Seat) -> int:
        """Leases rise, also over restarts of the pump: they are times, in microseconds."""
        self._last_lease = seat.lease = max(self._last_lease + 1, time.time_ns() // 1000)
        return seat.lease

    def use(self, seat: Seat) -> None:
        """Makes it the last one to be given up for others."""
        seat.used_s = time.monotonic()
        self._seats[seat.record.id] = self._seats.pop(seat.record.id)

    def set_running(self, seat: Seat, *, is_running: bool) -> None:
        seat.is_running = is_running
        session_id, owner = seat.record.id, seat.record.owner
        if is_running:
            self.running.add(session_id)
            if owner is not None:
                self._running_of.setdefault(owner, set()).add(session_id)
        else:
            self._unlist(seat)

    def running_of(self, owner: str) -> Set[str]:
        """Ids of the sessions of this owner that run."""
        return self._running_of.get(owner, frozenset())

    def _unlist(self, seat: Seat) -> None:
        session_id, owner = seat.record.id, seat.record.owner
        self.running.discard(session_id)
        if owner is not None and (runs := self._running_of.get(owner)) is not None:
            runs.discard(session_id)
            if not runs:
                del self._running_of[owner]
