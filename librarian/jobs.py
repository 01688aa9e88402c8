"""Ingests as jobs: a few run, some wait, the latest are remembered, also when this process is killed."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from librarian.errors import (
    IngestCancelled,
    IngestInterrupted,
    JobNotFound,
    LibrarianError,
    LibraryStorageError,
    TooManyJobs,
)
from librarian.folder.base import Folder
from librarian.ingest import Progress
from librarian.values import FileError, IngestResult, Job

JOBS = "jobs"
REMEMBERED = 100
AT_ONCE = 2
TELL_EVERY_S = 0.2
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(slots=True, eq=False)
class Run:
    """A job of this process. `work` uses `tell` and sets `library_id` as soon as it knows it."""

    job: Job
    changed: Callable[[Job], None]
    task: asyncio.Task[IngestResult] | None = None
    told_at: float = 0.0
    rate_since: tuple[float, int] | None = field(default=None)

    def tell(self, progress: Progress) -> None:
        """Each new phase, and in between a few times a second."""
        now = time.monotonic()
        new_phase = progress.phase != self.job.phase
        self.job = replace(
            self.job,
            phase=progress.phase,
            files_done=progress.files_done,
            files_total=progress.files_total,
            chunks=progress.chunks,
            seconds_left=self._seconds_left(progress, now),
        )
        if new_phase or now - self.told_at >= TELL_EVERY_S:
            self.told_at = now
            self.changed(self.job)

    def know(self, library_id: str) -> None:
        self.job = replace(self.job, library_id=library_id)

    def _seconds_left(self, progress: Progress, now: float) -> float | None:
        """By the files per second since chunking began; what was reused came before that."""
        if progress.phase != "chunking" or progress.files_total is None:
            return None
        if not progress.files_done:
            return None
        if self.rate_since is None:
            self.rate_since = (now, progress.files_done)
            return None
        since, before = self.rate_since
        done = progress.files_done - before
        return round((now - since) / done * (progress.files_total - progress.files_done), 1) if done else None


class Jobs:
    """work: the ingest itself. changed: told of each change. `close` ends all."""

    def __init__(
        self,
        folder: Folder,
        max_waiting: int,
        work: Callable[[Run, str], Awaitable[IngestResult]],
        changed: Callable[[Job], None],
    ) -> None:
        self._folder = folder
        self._max_waiting = max_waiting
        self._work = work
        self._changed = changed
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._runs: dict[str, Run] = {}
        self._ended: dict[str, Job] = {}

    async def open(self) -> None:
        """Those that ran when the process died have failed."""
        for job in await asyncio.to_thread(self._remembered):
            if job.status in ENDED:
                self._ended[job.job_id] = job
            else:
                error = IngestInterrupted("the process that ran it ended")
                await self._end(replace(job, status="failed", error=describe(error)))

    async def close(self) -> None:
        """What runs is interrupted, and told so after the next start."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel("closing")
        await asyncio.gather(*tasks, return_exceptions=True)

    def list(self) -> list[Job]:
        jobs = [*(run.job for run in self._runs.values()), *self._ended.values()]
        return sorted(jobs, key=lambda job: (job.created_at, job.job_id), reverse=True)[:REMEMBERED]

    def get(self, job_id: str) -> Job:
        if job_id in self._runs:
            return self._runs[job_id].job
        if job_id in self._ended:
            return self._ended[job_id]
        raise JobNotFound(job_id)

    async def start(self, git_url: str, shown_url: str, branch: str | None, library_name: str | None) -> Run:
        """Joins the one that is under way for the same repository and branch, unless it is to have another name.

        shown_url: without credentials.

        Raises:
            TooManyJobs
            LibraryStorageError
        """
        for run in self._runs.values():
            if (run.job.git_url, run.job.branch) == (shown_url, branch) and run.job.library_name in (
                library_name,
                None,
            ):
                return run
        if len(self._runs) >= self._max_waiting + AT_ONCE:
            raise TooManyJobs(len(self._runs) - AT_ONCE)
        run = Run(_new_job(shown_url, branch, library_name), self._changed)
        self._runs[run.job.job_id] = run
        run.task = asyncio.create_task(self._run(run, git_url), name=f"ingest {run.job.job_id}")
        run.task.add_done_callback(_seen)
        self._changed(run.job)
        return run

    async def cancel(self, job_id: str) -> Job:
        run = self._runs.get(job_id)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.wait([run.task])
        return self.get(job_id)

    async def cancel_library(self, library_id: str) -> None:
        for run in list(self._runs.values()):
            if run.job.library_id == library_id:
                await self.cancel(run.job.job_id)

    async def _run(self, run: Run, git_url: str) -> IngestResult:
        job_id = run.job.job_id
        try:
            await self._write(run.job)
            async with self._slots:
                run.job = replace(run.job, status="running", phase="fetching", started_at=now_text())
                await self._write(run.job)
                self._changed(run.job)
                result = await self._work(run, git_url)
        except asyncio.CancelledError as reason:
            error = (
                IngestInterrupted("the librarian was closed") if "closing" in reason.args else IngestCancelled(job_id)
            )
            status = "failed" if "closing" in reason.args else "cancelled"
            await self._end(replace(run.job, status=status, error=describe(error)))
            raise error from None
        except BaseException as error:
            await self._end(replace(run.job, status="failed", error=describe(error)))
            raise
        job = replace(run.job, status="succeeded", phase="done", library_id=result.library_id, result=result)
        done = job.files_total or result.files_processed
        await self._end(replace(job, files_done=done, files_total=done, chunks=result.chunks_created))
        return result

    async def _end(self, job: Job) -> None:
        job = replace(job, finished_at=now_text(), seconds_left=None)
        self._ended[job.job_id] = job
        self._runs.pop(job.job_id, None)
        while len(self._ended) > REMEMBERED:
            oldest = min(self._ended.values(), key=lambda each: (each.created_at, each.job_id))
            del self._ended[oldest.job_id]
            await asyncio.to_thread(self._folder.remove, _path(oldest.job_id))
        with suppress(LibraryStorageError):  # a full disk: it is remembered as long as this process lives
            await self._write(job)
        self._changed(job)

    async def _write(self, job: Job) -> None:
        await asyncio.to_thread(self._folder.replace, _path(job.job_id), json.dumps(asdict(job)).encode())

    def _remembered(self) -> list[Job]:
        jobs: list[Job] = []
        for name in self._folder.names(JOBS):
            try:
                jobs.append(_from_json(json.loads(self._folder.read(f"{JOBS}/{name}"))))
            except (ValueError, KeyError, TypeError, FileNotFoundError):
                self._folder.remove(f"{JOBS}/{name}")  # half a file of a disk that was full
        return jobs


def describe(error: BaseException) -> dict[str, Any]:
    code = error.code if isinstance(error, LibrarianError) else "internal"
    return {"code": code, "message": str(error) or type(error).__name__}


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_job(git_url: str, branch: str | None, library_name: str | None) -> Job:
    return Job(
        job_id=uuid.uuid4().hex,
        status="queued",
        phase="waiting",
        git_url=git_url,
        branch=branch,
        library_name=library_name,
        library_id=None,
        files_done=0,
        files_total=None,
        chunks=0,
        seconds_left=None,
        created_at=now_text(),
        started_at=None,
        finished_at=None,
    )


def _from_json(body: dict[str, Any]) -> Job:
    if body["result"] is not None:
        errors = [FileError(**each) for each in body["result"]["errors"]]
        body["result"] = IngestResult(**{**body["result"], "errors": errors})
    return Job(**body)


def _path(job_id: str) -> str:
    return f"{JOBS}/{job_id}.json"


def _seen(task: asyncio.Task[IngestResult]) -> None:
    """The job tells of the error; nobody may be waiting for the task."""
    if not task.cancelled():
        task.exception()
