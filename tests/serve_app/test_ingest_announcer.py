from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from conftest import until
from fake_organism import FakeOrganism

from librarian.values import Job
from serve_app import ingest_announcer
from serve_app.ingest_announcer import IngestAnnouncer

JOB = Job("j", "running", "fetching", "u", None, None, None, 0, None, 0, None, "t", "t", None)


def announced(organism: FakeOrganism) -> list[tuple[str, int]]:
    return [(each.value["status"], each.value["files_done"]) for each in organism.events_so_far]


@pytest.fixture
async def announcer(organism: FakeOrganism, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IngestAnnouncer]:
    monkeypatch.setattr(ingest_announcer, "RETRY_S", 0.01)
    announcer = IngestAnnouncer(lambda: organism)
    running = asyncio.create_task(announcer.run())
    yield announcer
    running.cancel()
    await asyncio.wait([running])


async def test_each_job_is_told_of_as_it_is_last(organism, announcer):
    announcer.put(JOB)
    announcer.put(replace(JOB, files_done=1))
    announcer.put(replace(JOB, job_id="other", files_done=7))
    await until(lambda: len(organism.events_so_far) == 2)
    assert announced(organism) == [("running", 1), ("running", 7)]


async def test_an_error_is_told_of_without_secrets(organism, announcer):
    announcer.put(replace(JOB, status="failed", error={"code": "internal", "message": "refused: token=abc"}))
    await until(lambda: organism.events_so_far)
    assert organism.events_so_far[0].value["error"] == {"code": "internal", "message": "refused: token=***"}


async def test_the_end_of_a_job_is_told_of_when_the_organism_is_back(organism, announcer):
    organism.down = True
    announcer.put(JOB)
    await asyncio.sleep(0.03)  # it tries
    announcer.put(replace(JOB, status="succeeded", files_done=3))
    await asyncio.sleep(0.03)
    organism.down = False
    await until(lambda: organism.events_so_far)
    assert announced(organism) == [("succeeded", 3)]
