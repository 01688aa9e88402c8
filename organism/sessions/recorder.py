"""A cell's way into the storage: what all its sessions want stored goes together, one append after the other."""

from __future__ import annotations

import asyncio
from typing import Protocol

from organism.errors import OrganismError, StorageUnavailable
from organism.sessions.wire import Append, SessionLink

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 5.0


class Recorded(Protocol):
    """A session as the recorder sees it."""

    def next_append(self) -> Append | None:
        """Everything that is not stored yet; None where there is nothing."""
        ...

    def stored(self, append: Append) -> None: ...

    def not_stored(self, append: Append, error: OrganismError) -> bool:
        """Whether it is to be tried again."""
        ...


class Recorder:
    """Runs one append at a time; what gathers meanwhile goes with the next."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self._dirty: dict[Recorded, None] = {}
        self._news = asyncio.Event()
        self._failed: dict[Recorded, None] = {}
        self._retry_s = FIRST_RETRY_S
        self._retry: asyncio.TimerHandle | None = None

    def add(self, session: Recorded) -> None:
        """It has something to store."""
        self._dirty[session] = None
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. What the storage refuses for now is tried again after a while, and when others succeed."""
        while True:
            await self._news.wait()
            self._news.clear()
            sessions, self._dirty = list(self._dirty), {}
            waiting = [(session, append) for session in sessions if (append := session.next_append()) is not None]
            if not waiting:
                continue
            again = self._settle(waiting, await self._append([append for _, append in waiting]))
            if len(again) < len(waiting):
                self._retry_s = FIRST_RETRY_S
                self._try_again()
            self._failed.update(dict.fromkeys(again))
            if self._failed and self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._try_again)
                self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    def _try_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        failed, self._failed = self._failed, {}
        for session in failed:
            self.add(session)

    async def _append(self, appends: list[Append]) -> list[OrganismError | None]:
        try:
            return await self._link.append(appends)
        except OrganismError as error:
            return [error] * len(appends)

    def _settle(self, waiting: list[tuple[Recorded, Append]], results: list[OrganismError | None]) -> list[Recorded]:
        again: list[Recorded] = []
        for (session, append), error in zip(waiting, results, strict=True):
            if error is None:
                session.stored(append)
            elif session.not_stored(append, error) and isinstance(error, StorageUnavailable):
                again.append(session)
        return again
