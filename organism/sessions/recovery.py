"""Ends, truthfully and before anybody can use them again, the runs of sessions whose process is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from organism.errors import Stopping, StorageUnavailable
from organism.sessions.events import Frame
from organism.sessions.interrupted import RECENT_EVENTS, Ending, end_run
from organism.sessions.log import SessionLog
from organism.sessions.records import SessionFilter
from organism.tasks import Tasks

STORAGE_RETRY_S = 0.5
AT_ONCE = 200
"""Sessions whose runs are ended in one commit."""


class Recovery:
    """Sessions that it has not finished with have to wait (`wait`)."""

    def __init__(self, log: SessionLog, tasks: Tasks) -> None:
        self._log = log
        self._tasks = tasks
        self._ending: dict[str, asyncio.Task[None]] = {}

    def begin(self, session_ids: Collection[str], reason: str) -> None:
        """Ends what runs in these sessions, in the background, trying again while the storage fails."""
        ids = list(session_ids)
        if not ids:
            return
        task = self._tasks.spawn(self._end_patiently(ids, reason), "end of interrupted runs")
        for session_id in ids:
            self._ending[session_id] = task

    async def wait(self, session_id: str) -> None:
        """Returns when nothing is left to be ended in the session."""
        task = self._ending.get(session_id)
        if task is not None:
            await asyncio.shield(task)

    async def end(self, session_ids: list[str], reason: str) -> None:
        """Ends what runs in these sessions; nobody may append to them any more. Raises StorageUnavailable."""
        await self._log.flush()  # what was accepted before counts
        storage = self._log.storage
        records = await storage.records(session_ids)
        endings: list[Ending] = [
            end_run(record, await storage.last_events(record.id, RECENT_EVENTS), reason)
            for record in records.values()
            if record.is_running
        ]
        if endings:
            frames: list[Frame] = [frame for ending in endings for frame in ending.frames]
            await self._log.write([ending.record for ending in endings], frames)

    async def begin_all(self, living: Collection[str], reason: str) -> None:
        """As `begin`, for all stored sessions that run by their record but for those in `living` cells."""
        found: list[str] = []
        offset, total = 0, 1
        while offset < total:
            page, total = await self._log.storage.sessions(SessionFilter(is_running=True), AT_ONCE, offset)
            found.extend(record.id for record in page if record.id not in living)
            offset += AT_ONCE
        self.begin(found, reason)

    async def _end_patiently(self, session_ids: list[str], reason: str) -> None:
        try:
            for first in range(0, len(session_ids), AT_ONCE):
                await self._end_some(session_ids[first : first + AT_ONCE], reason)
        except Stopping:
            return  # the next start does it
        finally:
            this = asyncio.current_task()
            for session_id in session_ids:
                if self._ending.get(session_id) is this:
                    del self._ending[session_id]

    async def _end_some(self, session_ids: list[str], reason: str) -> None:
        while True:
            try:
                return await self.end(session_ids, reason)
            except StorageUnavailable:
                await asyncio.sleep(STORAGE_RETRY_S)
