from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from librarian.errors import IngestCancelled, IngestInterrupted, JobNotFound, SourceUnavailable, TooManyJobs
from librarian.folder.local import LocalFolder
from librarian.ingest import Progress
from librarian.jobs import AT_ONCE, REMEMBERED, Jobs, Run
from librarian.values import IngestResult, Job

RESULT = IngestResult("shop-00000000", "shop", 3, 9, True, [], "main", "c", True, 0, 0, 0, 0.1)


class Desk:
    """Jobs whose work waits for `gate`."""

    def __init__(self, root: Path) -> None:
        self.gate = asyncio.Event()
        self.told: list[Job] = []
        self.working = 0
        self.problem: Exception | None = None
        self.jobs = Jobs(LocalFolder(str(root)), 2, self._work, self.told.append)

    async def start(self, url: str, branch: str | None = None, name: str | None = None) -> Run:
        return await self.jobs.start(url, url, branch, name)

    async def _work(self, run: Run, git_url: str) -> IngestResult:
        run.know("shop-00000000")
        self.working += 1
        try:
            await self.gate.wait()
        finally:
            self.working -= 1
        if self.problem:
            raise self.problem
        return RESULT


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.jobs.open()
    yield desk
    await desk.jobs.close()


def task_of(run: Run) -> Awaitable[IngestResult]:
    assert run.task is not None
    return run.task


async def test_a_job_goes_from_queued_to_succeeded(desk: Desk) -> None:
    run = await desk.start("u")
    assert run.job.status == "queued"
    await until(lambda: desk.working == 1)
    desk.gate.set()
    assert await task_of(run) == RESULT
    job = desk.jobs.get(run.job.job_id)
    assert (job.status, job.phase, job.result, job.files_done) == ("succeeded", "done", RESULT, 3)
    assert [each.status for each in desk.told] == ["queued", "running", "succeeded"]


async def test_the_same_repository_and_branch_join_the_ingest_under_way(desk: Desk) -> None:
    first = await desk.start("u")
    assert await desk.start("u") is first
    assert await desk.start("u", "next") is not first


async def test_two_run_at_once_some_wait_and_more_are_refused(desk: Desk) -> None:
    runs = [await desk.start(f"u{number}") for number in range(AT_ONCE + 2)]
    await until(lambda: desk.working == AT_ONCE)
    with pytest.raises(TooManyJobs):
        await desk.start("one more")
    assert sorted(run.job.status for run in runs) == ["queued"] * 2 + ["running"] * AT_ONCE
    desk.gate.set()
    await asyncio.gather(*(task_of(run) for run in runs))
    assert len(desk.jobs.list()) == AT_ONCE + 2


@pytest.mark.parametrize("place", [0, AT_ONCE], ids=["running", "queued"])
async def test_a_cancelled_job_ends_at_once(desk: Desk, place: int) -> None:
    runs = [await desk.start(f"u{number}") for number in range(AT_ONCE + 1)]
    await until(lambda: desk.working == AT_ONCE)
    job = await desk.jobs.cancel(runs[place].job.job_id)
    assert job.status == "cancelled"
    assert job.error is not None
    assert job.error["code"] == "ingest_cancelled"
    with pytest.raises(IngestCancelled):
        await task_of(runs[place])
    desk.gate.set()
    await until(lambda: all(each.finished_at for each in desk.jobs.list()))
    assert (await desk.jobs.cancel(runs[1].job.job_id)).status == "succeeded"


async def test_a_failure_is_told_by_its_code(desk: Desk) -> None:
    desk.problem = SourceUnavailable("u", "not there")
    desk.gate.set()
    run = await desk.start("u")
    with pytest.raises(SourceUnavailable):
        await task_of(run)
    assert desk.jobs.get(run.job.job_id).error == {"code": "source_unavailable", "message": "u: not there"}


async def test_a_job_whose_process_was_killed_has_failed_after_the_next_start(tmp_path: Path, desk: Desk) -> None:
    desk.gate.set()
    ended = await desk.start("ended")
    await task_of(ended)
    desk.gate.clear()
    run = await desk.start("running")
    await until(lambda: desk.working == 1)
    after = Desk(tmp_path)  # as if the first had been killed: nothing of it was closed
    await after.jobs.open()
    assert after.jobs.get(ended.job.job_id) == desk.jobs.get(ended.job.job_id)
    job = after.jobs.get(run.job.job_id)
    assert (job.status, (job.error or {})["code"]) == ("failed", "ingest_interrupted")
    assert [each.job_id for each in after.told] == [run.job.job_id]


async def test_closing_interrupts_what_runs(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.jobs.open()
    run = await desk.start("u")
    await until(lambda: desk.working == 1)
    await desk.jobs.close()
    with pytest.raises(IngestInterrupted):
        await task_of(run)
    assert desk.jobs.get(run.job.job_id).status == "failed"


async def test_half_a_record_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x.json").write_text('{"job_id": "x"')
    desk = Desk(tmp_path)
    await desk.jobs.open()
    assert desk.jobs.list() == []
    with pytest.raises(JobNotFound):
        desk.jobs.get("x")


async def test_the_latest_are_remembered(desk: Desk, tmp_path: Path) -> None:
    desk.gate.set()
    for number in range(REMEMBERED + 3):
        await task_of(await desk.start(f"u{number}"))
    assert len(desk.jobs.list()) == REMEMBERED
    assert len(list((tmp_path / "jobs").iterdir())) == REMEMBERED
    assert desk.jobs.list()[0].git_url == f"u{REMEMBERED + 2}"


async def test_progress_tells_each_phase_and_estimates_what_is_left(desk: Desk) -> None:
    run = await desk.start("u")
    await until(lambda: desk.working == 1)
    run.tell(Progress("chunking", 10, 110, 50))
    await asyncio.sleep(0.01)
    run.tell(Progress("chunking", 60, 110, 300))
    left = run.job.seconds_left
    assert left is not None
    assert 0 <= left < 10
    run.tell(Progress("writing", 110, 110, 500))
    assert run.job.seconds_left is None
    phases = [each.phase for each in desk.told]
    assert phases == ["waiting", "fetching", "chunking", "writing"]
