"""Session cells in this process, and what happens when one dies."""

from __future__ import annotations

import asyncio

import pytest
from session_pump import FakeLink, Follower, cell_spec, scripted, served

from organism.config import Backend, LlmSection
from organism.llm.base import ModelNotFound
from organism.sessions.local_cells import LocalSessionCells
from organism.sessions.records import ModelChoice
from organism.sessions.wire import Query
from organism.wire import CellDied
from tests.fake_llm import FakeLlm, Reply


@pytest.fixture
async def link() -> FakeLink:
    link = FakeLink()
    link.create()
    return link


async def test_a_cell_that_dies_stores_nothing_more_and_all_its_calls_fail(tmp_path, link):
    async with FakeLlm(Reply(text="one two", hangs_after=2)) as llm:
        cells = LocalSessionCells(link)
        cell = await cells.start(cell_spec(tmp_path, served(llm.base_url)))
        follower = Follower(cell)
        await cell.begin("s", Query("Hi"), follower.name)
        await follower.until(lambda each: "assistant_streaming_message" in each.types)
        poll = asyncio.create_task(cell.poll(follower.name, follower.cursor, 60))
        await asyncio.sleep(0)
        await cells.cells["sessions:1"].die("kill -9")
        with pytest.raises(CellDied):
            await poll
        with pytest.raises(CellDied):
            await cell.status("s")
        assert await cell.wait_died() == "kill -9"
        assert await cells.found() == []
    assert link.types() == ["user_message", "agent_run_start"]


async def test_cells_that_live_are_found_and_tell_what_they_hold(tmp_path, link):
    cells = LocalSessionCells(link)
    cell = await cells.start(cell_spec(tmp_path, scripted("Hi.")))
    await cell.status("s")
    (found,) = await cells.found()
    assert (await found.attach()).held == {"s": 1}
    await cell.kill()


async def test_tools_of_the_workspace_work_in_a_session_without_a_folder_yet(tmp_path, link):
    call = (("write_file", '{"path": "notes/a.txt", "content": "hello"}'),)
    async with FakeLlm() as llm:
        llm.script(Reply(text="", tool_calls=call), Reply(text="Done."))
        cell = await LocalSessionCells(link).start(cell_spec(tmp_path, served(llm.base_url), {"tools": ("files",)}))
        assert (await cell.ask("s", Query("Write"))).result == "Done."
        await cell.kill()
    assert [each.get("error") for each in link.events(kind="tool_result")] == [None]
    assert (tmp_path / "workspace" / "s" / "notes" / "a.txt").read_text() == "hello"


async def test_a_session_talks_to_the_backend_it_has_chosen(tmp_path, link):
    link.create("chosen", model=ModelChoice(provider="second", id="scripted"))
    link.create("gone", model=ModelChoice(provider="third", id="scripted"))
    backends = (
        Backend(name="first", provider="scripted", replies=("I am the first.",)),
        Backend(name="second", provider="scripted", replies=("I am the second.",)),
    )
    cell = await LocalSessionCells(link).start(cell_spec(tmp_path, LlmSection(backends=backends, retries=0)))
    assert (await cell.ask("s", Query("Who?"))).result == "I am the first."
    assert (await cell.ask("chosen", Query("Who?"))).result == "I am the second."
    assert isinstance((await cell.ask("gone", Query("Who?"))).error, ModelNotFound)
    (start,) = link.events("chosen", "agent_run_start")
    assert (start["provider"], start["model"], start["agentName"]) == ("second", "scripted", "assistant")
    await cell.kill()
