"""Tells everybody on /ws how ingests get on: through the organism, which publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from librarian.values import Job
from organism.errors import OrganismUnreachable
from organism.ref import OrganismRef
from serve_app.librarian_errors import without_secrets

RETRY_S = 0.5


class IngestAnnouncer:
    """Sends on the latest state of each job; states that come while one is under way are skipped, a last one never."""

    def __init__(self, connect: Callable[[], OrganismRef]) -> None:
        """`connect` finds the organism, or raises OrganismUnreachable while it is started again."""
        self._connect = connect
        self._organism: OrganismRef | None = None
        self._latest: dict[str, Job] = {}
        self._news = asyncio.Event()

    def put(self, job: Job) -> None:
        """Returns at once; call it in the event loop."""
        self._latest[job.job_id] = job
        self._news.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._latest:
                job_id = next(iter(self._latest))
                await self._tell(self._latest.pop(job_id))

    async def _tell(self, job: Job) -> None:
        try:
            if self._organism is None:
                self._organism = self._connect()
            await self._organism.announce_ingest(asdict(without_secrets(job)))
        except OrganismUnreachable:
            self._organism = None
            self._latest.setdefault(job.job_id, job)  # unless there is a later one
            await asyncio.sleep(RETRY_S)
