"""The directory: where sessions are placed, who may store, and what becomes of them when something ends."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from organism.errors import (
    ConfigError,
    OrganismError,
    ServerExclusive,
    SessionAgentNotFound,
    SessionNotFound,
    StorageUnavailable,
    TooManySessions,
)
from organism.llm.base import ModelNotFound
from organism.runtime import Runtime
from organism.sessions.records import ModelChoice, NewSession, SessionFilter
from organism.sessions.wire import SessionNotHere
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage
from tests.organism.sessions.session_folder import FakeCell, FakeCells, directory_of, write_sessions


async def until(holds: Any, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - a condition of the test
            await asyncio.sleep(0.001)


async def placed(runtime: Runtime, cells: FakeCells) -> tuple[str, FakeCell]:
    """A new session, loaded by its cell."""
    session_id = (await runtime.sessions.create(NewSession())).id
    placement = await runtime.sessions.place(session_id)
    cell = cells.named(placement.cell)
    await cell.take(session_id)
    return session_id, cell


async def types_of(runtime: Runtime, session_id: str) -> list[str]:
    return [frame.type for frame in await runtime.sessions.events(session_id, 0, 100)]


# Creating


async def test_what_a_client_chooses_of_a_new_session_is_checked_and_kept(tmp_path):
    path = write_sessions(tmp_path / "o", agents=[{"name": "first"}, {"name": "second"}])
    async with directory_of(path, FakeCells()) as runtime:
        create = runtime.sessions.create
        view = await create(NewSession(name="n", tags=("t",), agent="second", model=ModelChoice(id="a")))
        assert (view.name, view.tags, view.agent, view.working_directory) == ("n", ("t",), "second", view.id)
        assert (await create(NewSession())).agent == "first"
        with pytest.raises(SessionAgentNotFound, match="first, second"):
            await create(NewSession(agent="third"))
        for wrong in (ModelChoice(id="b"), ModelChoice(provider="other", id="a")):
            with pytest.raises(ModelNotFound):
                await create(NewSession(model=wrong))
        found, total = await runtime.sessions.sessions(SessionFilter(), 10, 0)
        assert (len(found), total) == (2, 2)


async def test_sessions_that_are_created_at_once_share_commits(tmp_path):
    storage = MemorySessionStorage()
    async with directory_of(write_sessions(tmp_path / "o"), FakeCells(), sessions=storage) as runtime:
        before = storage.commits
        views = await asyncio.gather(*(runtime.sessions.create(NewSession()) for _ in range(100)))
        assert len({view.id for view in views}) == 100
        assert storage.commits - before < 5


async def test_a_session_is_created_where_no_room_is_and_placed_when_it_is_used(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", max_active=1), cells) as runtime:
        await until(lambda: len(cells.alive) == 2)
        first, second = [await runtime.sessions.create(NewSession()) for _ in range(2)]
        assert (first.active, second.active) == (True, False)
        await runtime.sessions.place(second.id)  # nobody has used the first one yet
        assert not (await runtime.sessions.view(first.id)).active
        assert (await runtime.sessions.view(second.id)).active


async def test_a_warm_cell_has_the_name_of_the_session_that_gets_it(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", "actor", warm=2), cells) as runtime:
        await until(lambda: len(cells.alive) == 2)
        views = [await runtime.sessions.create(NewSession()) for _ in range(2)]
        placements = [await runtime.sessions.place(view.id) for view in views]
        assert [each.cell for each in placements] == [f"session:{view.id}" for view in views]
        await until(lambda: len(cells.alive) == 4)  # warm ones again


async def test_sessions_that_nobody_uses_do_not_fill_the_machine_with_processes(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", "actor", warm=2), cells) as runtime:
        await until(lambda: len(cells.alive) == 2)
        views = [await runtime.sessions.create(NewSession()) for _ in range(10)]
        await until(lambda: len(cells.alive) == 4)
        assert runtime.sessions.active == 2
        placement = await runtime.sessions.place(views[-1].id)  # takes a warm one of another name
        assert placement.cell in {cell.name for cell in cells.all[:4]}


async def test_without_a_warm_cell_the_first_use_waits_for_a_process_of_the_sessions_own(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", "actor", warm=0), cells) as runtime:
        view = await runtime.sessions.create(NewSession())
        assert not view.active
        assert (await runtime.sessions.place(view.id)).cell == f"session:{view.id}"


async def test_no_cell_is_started_before_sessions_are_used_where_the_file_does_not_name_them(tmp_path):
    path = write_sessions(tmp_path / "o")
    path.write_text("organism: {name: test}\n")
    cells = FakeCells()
    async with directory_of(path, cells) as runtime:
        assert not cells.all
        await runtime.sessions.create(NewSession())
        await until(lambda: cells.alive)


# Placing


async def test_a_stored_session_is_brought_back_once_however_many_ask(tmp_path):
    storage, cells = MemorySessionStorage(), FakeCells()
    path = write_sessions(tmp_path / "o", "actor", warm=0)
    async with directory_of(path, cells, sessions=storage) as runtime:
        view = await runtime.sessions.create(NewSession())
        places = await asyncio.gather(*(runtime.sessions.place(view.id) for _ in range(100)))
        assert len(set(places)) == 1
        assert len(cells.all) == 1


async def test_shared_cells_take_turns(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=2), cells) as runtime:
        await until(lambda: len(cells.alive) == 2)
        places = [await runtime.sessions.place((await runtime.sessions.create(NewSession())).id) for _ in range(4)]
        assert sorted(each.cell for each in places) == ["sessions:1", "sessions:1", "sessions:2", "sessions:2"]


async def test_the_longest_unused_idle_session_makes_room(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", max_active=3, shared_cells=1), cells) as runtime:
        (first, cell), (second, _), (third, _) = [await placed(runtime, cells) for _ in range(3)]
        await cell.begin(first)
        fourth, _ = await placed(runtime, cells)
        active = [each for each in (first, second, third, fourth) if (await runtime.sessions.view(each)).active]
        assert active == [first, third, fourth]


async def test_when_no_session_can_be_spared_there_are_too_many(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", max_active=1, shared_cells=1), cells) as runtime:
        first, cell = await placed(runtime, cells)
        await cell.begin(first)
        other = await runtime.sessions.create(NewSession())
        with pytest.raises(TooManySessions):
            await runtime.sessions.place(other.id)
        await cell.end(first)
        await runtime.sessions.place(other.id)
        assert first not in cell.loaded


async def test_an_unknown_session_is_not_found_anywhere(tmp_path):
    async with directory_of(write_sessions(tmp_path / "o"), FakeCells()) as runtime:
        directory = runtime.sessions
        for ask in (directory.place, directory.view, directory.delete, lambda each: directory.events(each, 0, 10)):
            with pytest.raises(SessionNotFound):
                await ask("../nobody")


async def test_a_place_that_nobody_comes_to_use_is_taken_away(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", idle_timeout_s=0.05), cells) as runtime:
        await until(lambda: cells.alive)
        view = await runtime.sessions.create(NewSession())
        assert view.active
        await until(lambda: runtime.sessions.active == 0)


# Storing


async def test_only_the_holder_of_the_newest_lease_stores(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=1), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        old = cell.loaded[session_id]
        new = await cell.take(session_id)
        assert new.lease > old.lease
        cell.loaded[session_id] = old
        assert isinstance(await cell.begin(session_id), SessionNotHere)
        await runtime.sessions.desk.release(session_id, old.lease)  # ignored
        cell.loaded[session_id] = new
        assert await cell.begin(session_id) is None
        assert await types_of(runtime, session_id) == ["user_message", "agent_run_start"]


async def test_a_cell_that_is_not_the_sessions_cannot_load_it(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=2), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        [other] = [each for each in cells.alive if each is not cell]
        with pytest.raises(SessionNotHere):
            await other.take(session_id)


async def test_the_operator_is_told_where_sessions_are_and_what_they_do(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=1), cells) as runtime:
        publisher = runtime.pump.publisher
        publisher.watch()
        cursor = publisher.cursor
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        await cell.end(session_id)
        await cell.passivate(session_id)
        await runtime.sessions.delete(session_id)
        events, missed = publisher.since(publisher.incarnation, cursor)
        told = [each.value for each in events if each.kind == "session_state"]
        assert not missed
        assert [each["state"] for each in told] == ["active", "executing", "idle", "stored", "deleted"]
        assert {each["id"] for each in told} == {session_id}
        assert (told[0]["cell"], told[0]["pid"]) == ("sessions:1", 4711)
        assert runtime.sessions.runs == 1


async def test_an_exclusive_server_runs_one_session_at_a_time(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", exclusive=True), cells) as runtime:
        (first, cell), (second, other) = [await placed(runtime, cells) for _ in range(2)]
        assert await cell.begin(first) is None
        refused = await other.begin(second)
        assert isinstance(refused, ServerExclusive)
        assert refused.running_session_id == first
        status = await runtime.sessions.server_status()
        assert (status.is_exclusive, status.running_session_id, status.can_accept) == (True, first, False)
        await cell.end(first)
        assert await other.begin(second) is None


async def test_what_the_storage_does_not_take_is_not_acknowledged(tmp_path):
    cells, storage = FakeCells(), MemorySessionStorage()
    async with directory_of(write_sessions(tmp_path / "o"), cells, sessions=storage) as runtime:
        session_id, cell = await placed(runtime, cells)
        storage.failing = "disk full"
        assert isinstance(await cell.begin(session_id), StorageUnavailable)
        with pytest.raises(StorageUnavailable):
            await runtime.sessions.create(NewSession())
        storage.failing = None
        assert runtime.sessions.running == 0
        assert await cell.begin(session_id) is None


# Deaths


async def test_a_run_whose_cell_dies_is_ended_truthfully_before_the_session_is_placed_again(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=1), cells) as runtime:
        (session_id, cell), (resting, _) = [await placed(runtime, cells) for _ in range(2)]
        await cell.begin(session_id)
        cell.die("out of memory")
        await until(lambda: runtime.sessions.active == 0)
        placement = await runtime.sessions.place(session_id)
        assert placement.incarnation != cell.incarnation
        frames = await runtime.sessions.events(session_id, 2, 10)
        told, end = [orjson.loads(frame.body) for frame in frames]
        assert (told["type"], told["seq"], told["level"]) == ("system", 3, "error")
        assert "out of memory" in told["message"]
        assert (end["type"], end["seq"], end["status"]) == ("agent_run_end", 4, "error")
        record = await runtime.sessions.view(session_id)
        assert (record.last_seq, record.is_running) == (4, False)
        assert await types_of(runtime, resting) == []


async def test_a_warm_cell_that_dies_is_replaced(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", "actor", warm=1), cells):
        await until(lambda: cells.alive)
        cells.alive[0].die("killed")
        await until(lambda: len(cells.all) == 2 and cells.alive)


async def test_the_process_of_a_session_of_its_own_ends_with_its_place(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", "actor", warm=1), cells) as runtime:
        await until(lambda: cells.alive)
        session_id, cell = await placed(runtime, cells)
        await cell.passivate(session_id)
        await until(cell.died.done)
        assert (await runtime.sessions.place(session_id)).incarnation != cell.incarnation


# Restarts of the pump


async def crash(path: Any, cells: FakeCells, log: MemoryStorage, sessions: MemorySessionStorage, work: Any) -> Any:
    """What `work` makes of an organism whose pump is killed then; its cells live on."""
    async with directory_of(path, cells, storage=log, sessions=sessions) as runtime:
        result = await work(runtime)
        for cell in cells.alive:
            cell.survives = True
    for cell in cells.alive:
        cell.survives = False
    return result


@pytest.mark.parametrize("isolation", ["shared", "actor"])
async def test_a_new_pump_finds_cells_and_what_they_run_goes_on(tmp_path, isolation):
    cells, log, sessions = FakeCells(), MemoryStorage(), MemorySessionStorage()
    path = write_sessions(tmp_path / "o", isolation, shared_cells=1, warm=0)

    async def work(runtime: Runtime) -> tuple[str, FakeCell]:
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        return session_id, cell

    session_id, cell = await crash(path, cells, log, sessions, work)
    async with directory_of(path, cells, storage=log, sessions=sessions, resume=True) as runtime:
        assert (await runtime.sessions.place(session_id)).incarnation == cell.incarnation
        assert await cell.end(session_id) is None
        assert await types_of(runtime, session_id) == ["user_message", "agent_run_start", "agent_run_end"]


async def test_a_run_whose_cell_is_gone_after_a_restart_is_ended(tmp_path):
    cells, log, sessions = FakeCells(), MemoryStorage(), MemorySessionStorage()
    path = write_sessions(tmp_path / "o")

    async def work(runtime: Runtime) -> str:
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        return session_id

    session_id = await crash(path, cells, log, sessions, work)
    async with directory_of(path, cells, storage=log, sessions=sessions) as runtime:  # no resume: a new start
        await runtime.sessions.place(session_id)
        assert (await types_of(runtime, session_id))[-2:] == ["system", "agent_run_end"]


async def test_a_warm_cell_of_an_earlier_pump_is_not_given_a_second_session(tmp_path):
    cells, log, sessions = FakeCells(), MemoryStorage(), MemorySessionStorage()
    path = write_sessions(tmp_path / "o", "actor", warm=1)

    async def work(runtime: Runtime) -> str:
        await until(lambda: cells.alive)
        return (await runtime.sessions.create(NewSession(name="first"))).id

    session_id = await crash(path, cells, log, sessions, work)
    async with directory_of(path, cells, storage=log, sessions=sessions, resume=True) as runtime:
        await until(lambda: len(cells.alive) >= 2)
        views = [await runtime.sessions.create(NewSession()) for _ in range(3)]
        assert session_id not in {view.id for view in views}
        assert (await runtime.sessions.view(session_id)).name == "first"


# Deleting


async def test_deleting_ends_removes_and_cleans_up(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o", shared_cells=1), cells) as runtime:
        session_id, cell = await placed(runtime, cells)
        await cell.begin(session_id)
        workspace = tmp_path / "o" / "workspace" / session_id
        workspace.mkdir(parents=True)
        (workspace / "file").write_text("x")
        (workspace / "link").symlink_to(tmp_path / "o" / "organism.yaml")
        await runtime.sessions.delete(session_id)
        assert cell.dropped == [session_id]
        assert not workspace.exists()
        assert (tmp_path / "o" / "organism.yaml").exists()
        assert runtime.sessions.running == 0
        with pytest.raises(SessionNotFound):
            await runtime.sessions.place(session_id)


# Reloading


async def test_a_reload_without_a_change_of_sessions_leaves_the_cells(tmp_path):
    cells = FakeCells()
    path = write_sessions(tmp_path / "o", shared_cells=1)
    async with directory_of(path, cells) as runtime:
        await placed(runtime, cells)
        write_sessions(tmp_path / "o", shared_cells=1, max_active=7)
        await runtime.reload()
        assert len(cells.all) == 1
        assert runtime.sessions.max_active == 7


async def test_after_a_reload_new_sessions_get_new_cells_and_old_ones_end_what_they_run(tmp_path):
    cells = FakeCells()
    path = write_sessions(tmp_path / "o", shared_cells=1)
    async with directory_of(path, cells) as runtime:
        (running, old), (resting, _) = [await placed(runtime, cells) for _ in range(2)]
        await old.begin(running)
        write_sessions(tmp_path / "o", shared_cells=1, agents=[{"name": "changed"}])
        await runtime.reload()
        await until(lambda: old.is_retired)
        assert (await runtime.sessions.place(resting)).cell == "sessions:1@1"
        assert (await runtime.sessions.place(running)).cell == "sessions:1"
        await old.end(running)
        await old.passivate(running)
        await until(old.died.done)
        assert (await runtime.sessions.place(running)).cell == "sessions:1@1"


async def test_storage_and_workspace_stay_as_they_are_while_the_organism_runs(tmp_path):
    path = write_sessions(tmp_path / "o")
    async with directory_of(path, FakeCells()) as runtime:
        path.write_text(path.read_text() + "workspace: {isolate: false}\n")
        with pytest.raises(ConfigError, match="workspace"):
            await runtime.reload()


# Stopping


async def test_a_stop_begins_no_run_and_waits_for_those_under_way(tmp_path):
    cells = FakeCells()
    async with directory_of(write_sessions(tmp_path / "o"), cells) as runtime:
        (first, cell), (second, other) = [await placed(runtime, cells) for _ in range(2)]
        await cell.begin(first)
        await runtime.stop()
        assert isinstance(await other.begin(second), OrganismError)
        assert await cell.end(first) is None
        await runtime.wait_stopped()
        assert not cells.alive
