"""The outside of sessions against cells and a directory that misbehave on demand."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from organism.errors import OrganismUnreachable, RunInterrupted, SessionBusy, SessionNotFound, TooManySessions
from organism.sessions import service as service_module
from organism.sessions.events import AgentRunEnd, AssistantStreamingMessage, Frame, UserMessage, encode
from organism.sessions.records import SessionChanges, SessionRecord, SessionView
from organism.sessions.service import SessionService
from organism.sessions.wire import Answered, FeedBatch, Placement, Query, SessionNotHere, SessionStatus
from organism.wire import CellDied

S = "s1"


class Log:
    """The stored events of all sessions, which outlive every cell."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def add(self, event: Any) -> Frame:
        frame = encode(S, event.model_copy(update={"seq": len(self.frames) + 1}))
        self.frames.append(frame)
        return frame


class Cell:
    """Keeps what its follower has not got; `events` of a run are produced by the test."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.is_dead = False
        self.dies_in: str | None = None
        self.holds = True
        self.followers: dict[str, list[Frame]] = {}
        self.unfollowed: list[str] = []
        self.news = asyncio.Event()
        self.lost: list[str] = []
        self.polls = 0
        self.busy = False

    def publish(self, *frames: Frame) -> None:
        for waiting in self.followers.values():
            waiting.extend(frames)
        self.news.set()

    def die(self) -> None:
        self.is_dead = True
        self.news.set()

    def lose(self) -> None:
        self.holds = False
        self.lost.append(S)
        self.news.set()

    def delta(self, text: str) -> Frame:
        return encode(S, AssistantStreamingMessage(content=text, message_id="m"))

    def check(self, method: str) -> None:
        if self.dies_in == method:
            self.is_dead = True
        if self.is_dead:
            raise CellDied(self.name, "killed")
        if not self.holds:
            raise SessionNotHere(S)

    async def begin(self, session_id: str, query: Query, follower: str | None = None) -> Frame:
        if self.dies_in == "begin: stored":
            self.log.add(UserMessage(id=query.id, content="?"))
            self.dies_in = "begin"
        self.check("begin")
        if self.busy:
            raise SessionBusy(session_id)
        if follower is not None:
            self.followers.setdefault(follower, [])
        frame = self.log.add(UserMessage(id=query.id, content=query.content))
        self.publish(frame)
        return frame

    async def ask(self, session_id: str, query: Query) -> Answered:
        if self.dies_in == "ask: stored":
            self.log.add(UserMessage(id=query.id, content="?"))
            self.dies_in = "ask"
        self.check("ask")
        return Answered(f"answer of {self.name}", None, "idle", None)

    async def abort(self, session_id: str) -> bool:
        self.check("abort")
        return True

    async def status(self, session_id: str) -> SessionStatus:
        self.check("status")
        return SessionStatus(False, "idle")

    async def change(self, session_id: str, changes: SessionChanges) -> SessionRecord:
        self.check("change")
        return record()

    async def follow(self, follower: str, session_id: str) -> int:
        self.check("follow")
        self.followers.setdefault(follower, [])
        return len(self.log.frames)

    async def unfollow(self, follower: str, session_id: str) -> None:
        self.unfollowed.append(session_id)

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> FeedBatch:
        self.polls += 1
        while not self.followers.get(follower) and not self.lost and not self.is_dead:
            self.news.clear()
            await self.news.wait()
        if self.is_dead:
            raise CellDied(self.name, "killed")
        frames, self.followers[follower] = self.followers[follower], []
        lost, self.lost = self.lost, []
        return FeedBatch(cursor + 1, frames, lost, [])


def record() -> SessionRecord:
    return SessionRecord(id=S, created_at=1, updated_at=1, agent="assistant", working_directory=S)


class Directory:
    """Places the session in the cell that is up; `refuses` is raised instead."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.cells = [Cell("one", log)]
        self.refuses: Exception | None = None
        self.is_active = True
        self.placed = 0

    @property
    def cell(self) -> Cell:
        return self.cells[-1]

    def replace_cell(self, *, ends_run: bool = False) -> Cell:
        self.cells.append(Cell(f"cell {len(self.cells) + 1}", self.log))
        if ends_run:
            self.log.add(AgentRunEnd(session_id=S, iterations=0, elapsed_ms=0, status="error"))
        return self.cell

    async def place(self, session_id: str) -> Placement:
        self.placed += 1
        if self.refuses is not None:
            raise self.refuses
        if self.cell.is_dead:
            self.replace_cell(ends_run=True)
        return Placement(session_id, self.cell.name, str(len(self.cells)))

    async def view(self, session_id: str) -> SessionView:
        if self.refuses is not None:
            raise self.refuses
        return SessionView(**dict(record()) | {"last_seq": len(self.log.frames)}, active=self.is_active)

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        return self.log.frames[after_seq : after_seq + limit]


@asynccontextmanager
async def opened(directory: Directory):
    def connect(placement: Placement) -> Any:
        return next(cell for cell in directory.cells if cell.name == placement.cell)

    async with SessionService(directory, connect) as service:  # type: ignore[arg-type]  # the rest is not asked
        yield service


@pytest.fixture
def directory() -> Directory:
    return Directory(Log())


def seqs(frames: list[Frame]) -> list[int | None]:
    return [frame.seq for frame in frames]


END = AgentRunEnd(session_id=S, iterations=1, elapsed_ms=1, status="idle")


async def test_where_a_session_is_is_asked_once(directory):
    async with opened(directory) as service:
        for _ in range(3):
            assert (await service.ask(S, Query("hi"))).result == "answer of one"
    assert directory.placed == 1


async def test_a_query_to_a_dead_cell_goes_to_the_next_one(directory):
    async with opened(directory) as service:
        await service.ask(S, Query("hi"))
        directory.cell.is_dead = True
        assert (await service.ask(S, Query("hi"))).result == "answer of cell 2"


async def test_a_run_whose_cell_died_with_it_is_not_run_again(directory):
    async with opened(directory) as service:
        directory.cell.dies_in = "ask: stored"
        answered = await service.ask(S, Query("hi"))
        assert (answered.status, type(answered.error)) == ("error", RunInterrupted)
        assert [frame.type for frame in directory.log.frames] == ["user_message", "agent_run_end"]


async def test_a_begun_run_whose_cell_died_is_told_by_its_seq(directory):
    async with opened(directory) as service:
        directory.cell.dies_in = "begin: stored"
        assert await service.begin(S, Query("hi")) == 1


async def test_a_session_that_moved_is_found(directory):
    async with opened(directory) as service:
        await service.ask(S, Query("hi"))
        directory.cell.holds = False
        directory.replace_cell()
        assert (await service.ask(S, Query("hi"))).result == "answer of cell 2"


async def test_a_session_that_stays_away_is_an_error_after_a_while(directory, monkeypatch):
    monkeypatch.setattr(service_module, "MOVE_TIMEOUT_S", 0.1)
    directory.cell.holds = False
    async with opened(directory) as service:
        with pytest.raises(OrganismUnreachable, match="not to be had"):
            await service.ask(S, Query("hi"))


@pytest.mark.parametrize("error", [SessionNotFound(S), TooManySessions(3, 1.0)], ids=repr)
async def test_what_the_directory_refuses_is_raised(directory, error):
    directory.refuses = error
    async with opened(directory) as service:
        with pytest.raises(type(error)):
            await service.ask(S, Query("hi"))
        with pytest.raises(type(error)):
            async with service.watch(S, None):
                pass
        with pytest.raises(type(error)):
            async with service.run(S, Query("hi")):
                pass


async def test_a_stored_session_is_not_brought_back_to_say_that_it_is_stored(directory):
    directory.is_active = False
    async with opened(directory) as service:
        assert await service.status(S) == SessionStatus(False, "stored")
        assert await service.abort(S) is False
    assert directory.placed == 0


async def test_a_run_yields_its_own_events_and_ends_with_its_end(directory):
    async with opened(directory) as service:
        cell = directory.cell
        async with service.run(S, Query("first")) as batches:
            cell.publish(cell.delta("a"), directory.log.add(END), cell.delta("of nobody"))
            first = [frame async for batch in batches for frame in batch]
        async with service.run(S, Query("second")) as batches:
            cell.publish(cell.delta("b"), directory.log.add(END))
            second = [frame async for batch in batches for frame in batch]
        assert (seqs(first), seqs(second)) == ([1, None, 2], [3, None, 4])


async def test_a_run_that_is_refused_leaves_no_watcher(directory):
    directory.cell.busy = True
    async with opened(directory) as service:
        with pytest.raises(SessionBusy):
            async with service.run(S, Query("hi")):
                pass
        assert all(not channels for feed in service._feeds.values() for channels in feed._channels.values())


async def test_a_run_whose_cell_dies_ends_with_the_stored_end(directory):
    async with opened(directory) as service:
        cell = directory.cell
        async with service.run(S, Query("hi")) as batches:
            cell.publish(cell.delta("partial"))
            frames = list(await anext(batches))
            while len(frames) < 2:
                frames += await anext(batches)
            cell.die()
            frames += [frame async for batch in batches for frame in batch]
        assert seqs(frames) == [1, None, 2]
        assert frames[-1].type == "agent_run_end"


async def test_a_watcher_gets_what_it_missed_and_then_what_happens(directory):
    for number in range(2500):
        directory.log.add(UserMessage(content=str(number)))
    async with opened(directory) as service, service.watch(S, 3) as items:
        first = await anext(items)
        assert first.status == SessionStatus(False, "idle")
        frames: list[Frame] = []
        while len(frames) < 2497:
            frames += (await anext(items)).frames
        directory.cell.publish(directory.cell.delta("x"), directory.log.add(END))
        frames += (await anext(items)).frames
        assert [seq for seq in seqs(frames) if seq] == list(range(4, 2502))


async def test_a_watcher_without_a_position_begins_with_what_happens_next(directory):
    directory.log.add(UserMessage(content="old"))
    async with opened(directory) as service, service.watch(S, None) as items:
        await anext(items)
        directory.cell.publish(directory.log.add(END))
        assert seqs((await anext(items)).frames) == [2]


async def test_a_watcher_with_a_position_that_is_still_to_come_misses_nothing(directory):
    directory.log.add(UserMessage(content="old"))
    async with opened(directory) as service, service.watch(S, 1000) as items:
        await anext(items)
        directory.cell.publish(directory.log.add(UserMessage(content="new")))
        assert seqs((await anext(items)).frames) == [2]
        directory.cell.die()
        assert seqs((await anext(items)).frames) == [3]


async def test_a_watcher_goes_on_in_the_next_cell_without_a_gap(directory):
    async with opened(directory) as service, service.watch(S, 0) as items:
        await anext(items)
        directory.cell.publish(directory.log.add(UserMessage(content="1")))
        frames = (await anext(items)).frames
        directory.log.add(UserMessage(content="stored, never published"))
        directory.cell.die()
        while len(frames) < 3:
            frames += (await anext(items)).frames
        directory.cell.publish(directory.log.add(END))
        while len(frames) < 4:
            frames += (await anext(items)).frames
        assert seqs(frames) == [1, 2, 3, 4]


async def test_a_watcher_of_a_session_that_leaves_its_cell_follows_it(directory):
    async with opened(directory) as service, service.watch(S, 0) as items:
        await anext(items)
        first = directory.cell
        directory.replace_cell()
        first.lose()
        directory.log.add(UserMessage(content="1"))
        assert seqs((await anext(items)).frames) == [1]
        directory.cell.publish(directory.log.add(END))
        assert seqs((await anext(items)).frames) == [2]


async def test_a_watcher_of_a_deleted_session_is_told(directory):
    async with opened(directory) as service, service.watch(S, 0) as items:
        await anext(items)
        directory.refuses = SessionNotFound(S)
        directory.cell.lose()
        last = await anext(items)
        assert last.is_deleted
        with pytest.raises(StopAsyncIteration):
            await anext(items)


async def test_all_watchers_of_a_cell_share_one_poll(directory):
    async with opened(directory) as service:
        async with service.watch(S, 0) as one, service.watch(S, 0) as two:
            await anext(one)
            await anext(two)
            directory.cell.publish(directory.log.add(END))
            assert seqs((await anext(one)).frames) == seqs((await anext(two)).frames) == [1]
        assert directory.cell.polls <= 2


async def test_closing_leaves_no_task(directory):
    before = asyncio.all_tasks()
    async with opened(directory) as service, service.watch(S, 0) as items:
        await anext(items)
    assert asyncio.all_tasks() == before
