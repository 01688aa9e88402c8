"""What owners of sessions may use: runs at once and tokens per day, as the pump sees to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from organism.access import tally
from organism.errors import AgentNotFound, Stopping, StorageUnavailable, TokensSpent, TooManyRuns
from organism.runtime import Runtime
from organism.sessions.events import AgentRunEnd
from organism.sessions.records import NewSession
from organism.sessions.wire import SessionNotHere
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage
from tests.organism.purse import Purse, purse_of_organisms
from tests.organism.sessions.session_folder import FakeCell, FakeCells, directory_of, write_sessions

ANN, BOB = "key:ann", "key:bob"


@pytest.fixture
def purse(monkeypatch: pytest.MonkeyPatch) -> Purse:
    return purse_of_organisms(monkeypatch)


def limited(folder: Path, **limits: int) -> Path:
    path = write_sessions(folder)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "auth": {"limits": limits}}))
    return path


async def placed(runtime: Runtime, cells: FakeCells, owner: str | None = ANN) -> tuple[str, FakeCell]:
    """A new session of this owner, loaded by its cell."""
    session_id = (await runtime.sessions.create(NewSession(), owner)).id
    cell = cells.named((await runtime.sessions.place(session_id)).cell)
    await cell.take(session_id)
    return session_id, cell


async def use(cell: FakeCell, session_id: str, tokens: int) -> None:
    """The end of a run that has used so many."""
    loaded = cell.loaded[session_id]
    spent = loaded.record.model_copy(update={"output_tokens": loaded.record.output_tokens + tokens})
    cell.loaded[session_id] = loaded._replace(record=spent)
    assert await cell.end(session_id) is None


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a condition of the test
            await asyncio.sleep(0.001)


async def test_an_owner_has_so_many_runs_at_once_and_others_have_their_own(tmp_path):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", runs=2), cells) as runtime:
        anns = [await placed(runtime, cells) for _ in range(3)]
        bobs, cell = await placed(runtime, cells, BOB)
        answers = [await cell.begin(session_id) for session_id, cell in anns]
        assert [str(answer) for answer in answers] == ["None", "None", str(TooManyRuns(2))]
        assert await cell.begin(bobs) is None
        third, cell = anns[2]
        assert not (await runtime.sessions.view(third)).is_running
        assert await runtime.sessions.events(third, 0, 10) == []
        await anns[0][1].end(anns[0][0])
        assert await cell.begin(third) is None


@pytest.mark.parametrize("owner", [None, "local"])
async def test_sessions_without_an_owner_have_no_limits(tmp_path, owner, purse):
    cells = FakeCells()
    purse.most = 0
    async with directory_of(limited(tmp_path / "o", runs=1, tokens_per_day=1), cells) as runtime:
        for _ in range(3):
            session_id, cell = await placed(runtime, cells, owner)
            assert not cell.loaded[session_id].is_limited
            assert await cell.begin(session_id) is None
            await use(cell, session_id, 50)
    assert (purse.used, purse.checks) == ({}, 0)


async def test_a_run_whose_cell_has_died_counts_no_more(tmp_path):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", runs=1), cells) as runtime:
        first, cell = await placed(runtime, cells)
        assert await cell.begin(first) is None
        cell.die("killed")
        await until(lambda: not runtime.sessions.running)
        await until(lambda: cells.alive)
        second, cell = await placed(runtime, cells)
        assert await cell.begin(second) is None


async def test_a_deleted_session_s_run_counts_no_more(tmp_path):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", runs=1), cells) as runtime:
        first, cell = await placed(runtime, cells)
        assert await cell.begin(first) is None
        await runtime.sessions.delete(first)
        second, cell = await placed(runtime, cells)
        assert await cell.begin(second) is None


async def test_a_run_that_was_not_stored_counts_no_more(tmp_path):
    cells, storage = FakeCells(), MemorySessionStorage()
    async with directory_of(limited(tmp_path / "o", runs=1), cells, sessions=storage) as runtime:
        first, cell = await placed(runtime, cells)
        second, other = await placed(runtime, cells)
        storage.failing = "the disk is full"
        assert isinstance(await cell.begin(first), StorageUnavailable)
        storage.failing = None
        assert await other.begin(second) is None


async def test_runs_count_across_a_restart_of_the_pump(tmp_path):
    cells, log, storage = FakeCells(), MemoryStorage(), MemorySessionStorage()
    path = limited(tmp_path / "o", runs=1)
    async with directory_of(path, cells, storage=log, sessions=storage) as runtime:
        first, cell = await placed(runtime, cells)
        assert await cell.begin(first) is None
        for each in cells.alive:
            each.survives = True
    async with directory_of(path, cells, storage=log, sessions=storage, resume=True) as runtime:
        second, other = await placed(runtime, cells)
        assert isinstance(await other.begin(second), TooManyRuns)
        await cell.end(first)
        assert await other.begin(second) is None
        for each in cells.alive:
            each.survives = False


async def test_tokens_are_counted_with_each_append_and_checked_before_a_run(tmp_path, purse):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", tokens_per_day=100), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        assert cell.loaded[session_id].is_limited
        assert await cell.begin(session_id) is None
        await use(cell, session_id, 60)
        assert await cell.begin(session_id) is None  # what has been used is counted at once
        assert purse.used == {ANN: 60}
        await use(cell, session_id, 40)
        assert isinstance(await cell.begin(session_id), TokensSpent)
        assert purse.used == {ANN: 100}
        assert not (await runtime.sessions.view(session_id)).is_running
        bobs, other = await placed(runtime, cells, BOB)
        assert await other.begin(bobs) is None


async def test_tokens_are_counted_where_no_limit_is_set_and_not_waited_for(tmp_path, purse, monkeypatch):
    monkeypatch.setattr(tally, "COUNT_INTERVAL_S", 0.01)
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o"), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        assert await cell.begin(session_id) is None
        await use(cell, session_id, 7)
        assert purse.used == {}
        await until(lambda: purse.used == {ANN: 7})
    assert purse.checks == 0


async def test_a_count_that_fails_loses_no_event_and_is_made_up_for(tmp_path, purse, monkeypatch, caplog):
    monkeypatch.setattr(tally, "COUNT_INTERVAL_S", 0.01)
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o"), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        purse.down = StorageUnavailable("the disk is full")
        assert await cell.begin(session_id) is None
        await use(cell, session_id, 7)
        await until(lambda: "cannot be counted" in caplog.text)
        assert len(await runtime.sessions.events(session_id, 0, 10)) == 3
        assert await cell.begin(session_id) is None
        await use(cell, session_id, 5)
        purse.down = None
        await until(lambda: purse.used == {ANN: 12})
    assert caplog.text.count("cannot be counted") == 1


async def test_a_stop_counts_what_was_not_counted_yet(tmp_path, purse):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o"), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        assert await cell.begin(session_id) is None
        await use(cell, session_id, 7)
    assert purse.used == {ANN: 7}


async def test_where_tokens_cannot_be_told_no_run_begins(tmp_path, purse):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", tokens_per_day=100), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        purse.down = StorageUnavailable("the disk is full")
        assert isinstance(await cell.begin(session_id), StorageUnavailable)
        assert await runtime.sessions.events(session_id, 0, 10) == []
        purse.down = None
        assert await cell.begin(session_id) is None


async def test_a_beginning_that_is_stored_already_is_not_refused_when_it_comes_again(tmp_path, purse):
    """The pump that stored it ended before the cell was told; meanwhile the tokens were used up."""
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", tokens_per_day=100), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        before = cell.loaded[session_id]
        assert await cell.begin(session_id) is None
        purse.used[ANN] = 100
        cell.loaded[session_id] = before
        assert await cell.begin(session_id) is None
        assert len(await runtime.sessions.events(session_id, 0, 10)) == 2


async def test_who_does_not_hold_the_session_is_told_that_first(tmp_path, purse):
    cells = FakeCells()
    purse.most = 0
    async with directory_of(limited(tmp_path / "o", tokens_per_day=1), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        old = cell.loaded[session_id]
        await cell.take(session_id)
        cell.loaded[session_id] = old
        assert isinstance(await cell.begin(session_id), SessionNotHere)
        await cell.take(session_id)
        runtime.sessions.stop()
        assert isinstance(await cell.begin(session_id), Stopping)


async def test_events_of_sessions_tell_the_owner_to_the_api(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o"), cells) as runtime:
        publisher = runtime.pump.publisher
        publisher.watch()
        cursor = publisher.cursor
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        await cell.end(session_id)
        await runtime.sessions.delete(session_id)
        events, _ = publisher.since(publisher.incarnation, cursor)
        told = [(each.value["state"], each.value["owner"]) for each in events if each.kind == "session_state"]
        assert told == [("active", ANN), ("executing", ANN), ("idle", ANN), ("deleted", ANN)]


async def test_an_aborted_run_counts_as_far_as_it_came(tmp_path, purse):
    cells = FakeCells()
    async with directory_of(limited(tmp_path / "o", tokens_per_day=100), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        loaded = cell.loaded[session_id]
        spent = loaded.record.model_copy(update={"input_tokens": 30})
        cell.loaded[session_id] = loaded._replace(record=spent)
        end = AgentRunEnd(session_id=session_id, iterations=1, elapsed_ms=1, status="aborted")
        await cell.store(session_id, end, is_running=False)
    assert purse.used == {ANN: 30}


async def test_what_a_session_sends_to_agents_is_paid_by_its_owner_and_refused_when_nothing_is_left(tmp_path, purse):
    cells = FakeCells()
    path = limited(tmp_path / "o", tokens_per_day=100)
    async with directory_of(path, cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        with pytest.raises(AgentNotFound):  # it is asked for, so the tokens have been checked
            await cell.link.inject(session_id, "nobody", {})
        purse.used[ANN] = 100
        with pytest.raises(TokensSpent):
            await cell.link.inject(session_id, "nobody", {})
        with pytest.raises(SessionNotHere):
            await cell.link.inject("another", "nobody", {})
        unowned, cell = await placed(runtime, cells, None)
        with pytest.raises(AgentNotFound):
            await cell.link.inject(unowned, "nobody", {})
    assert purse.checks == 2
