"""What sessions want stored goes together, one append after the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from session_pump import FakeLink, cell_spec, scripted

from organism.errors import StorageUnavailable
from organism.sessions.local_cells import LocalSessionCells
from organism.sessions.wire import Query

MANY = [f"s{number}" for number in range(50)]


@pytest.fixture
async def link() -> FakeLink:
    link = FakeLink()
    for name in MANY:
        link.create(name)
    return link


async def test_what_gathers_during_one_append_goes_with_the_next(tmp_path: Path, link: FakeLink):
    cell = await LocalSessionCells(link).start(cell_spec(tmp_path, scripted("Hi.")))
    link.gate.clear()
    asked = [asyncio.create_task(cell.ask(name, Query("Hi"))) for name in MANY]
    await asyncio.sleep(0.1)
    assert link.batches == 1
    link.gate.set()
    await asyncio.gather(*asked)
    assert link.batches < 10
    assert all(link.types(name)[-1] == "agent_run_end" for name in MANY)
    await cell.kill()


async def test_a_session_that_cannot_be_stored_holds_up_no_other(tmp_path: Path, link: FakeLink):
    cell = await LocalSessionCells(link).start(cell_spec(tmp_path, scripted("Hi.")))

    def fails(append):
        is_end = append.record.id == "s0" and not append.begins_run
        return StorageUnavailable("disk full") if is_end else None

    link.failure = fails
    answered = await cell.ask("s0", Query("Hi"))
    assert answered.error is None or isinstance(answered.error, StorageUnavailable)
    async with asyncio.timeout(5):
        for name in MANY[1:]:
            assert (await cell.ask(name, Query("Hi"))).error is None
    await cell.kill()
