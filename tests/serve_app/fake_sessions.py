"""Agent sessions in memory whose runs, failures and restarts a test scripts. No model and no tools in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from organism.config import SessionsSection, WorkspaceSection
from organism.errors import (
    InvalidQuery,
    OrganismError,
    OrganismUnreachable,
    ServerExclusive,
    SessionAgentNotFound,
    SessionBusy,
    SessionNotFound,
    TooManySessions,
)
from organism.messages import new_id, now_ms
from organism.sessions.events import (
    DELTAS,
    AgentRunEnd,
    AgentRunStart,
    AnyEvent,
    AssistantMessage,
    AssistantStreamingMessage,
    Frame,
    SystemEvent,
    UserMessage,
    encode,
)
from organism.sessions.records import (
    ModelChoice,
    NewSession,
    SessionChanges,
    SessionFilter,
    SessionRecord,
    SessionView,
    new_directory,
)
from organism.sessions.ref import Watched
from organism.sessions.wire import (
    Answered,
    ModelOffer,
    Query,
    ServerStatus,
    SessionSettings,
    SessionStatus,
    Summary,
)
from organism.tasks import Tasks

MODELS = (ModelOffer("local", ("small", "large")), ModelOffer("cloud", ("huge",)))


@dataclass
class Script:
    """What one run does. pieces: deltas of the answer, one batch each. gate: while not set the run stands still behind
    its pieces. error: ends the run instead of the answer. extra: events behind agent_run_start."""

    pieces: tuple[str, ...] = ("Hel", "lo")
    gate: asyncio.Event | None = None
    error: OrganismError | None = None
    extra: tuple[AnyEvent, ...] = ()


@dataclass
class FakeSession:
    """record: without last_seq and is_running, which are told from the rest. channels: of who follows."""

    record: SessionRecord
    log: list[Frame] = field(default_factory=list)
    channels: list[asyncio.Queue[Watched]] = field(default_factory=list)
    state: str = "idle"
    aborting: asyncio.Event = field(default_factory=asyncio.Event)
    run: asyncio.Task[Answered] | None = None

    @property
    def is_running(self) -> bool:
        return self.run is not None and not self.run.done()

    def publish(self, *events: AnyEvent) -> None:
        frames = []
        for event in events:
            seq = None if event.type in DELTAS else len(self.log) + sum(each.seq is not None for each in frames) + 1
            frames.append(encode(self.record.id, event.model_copy(update={"seq": seq})))
        self.log += (frame for frame in frames if frame.seq is not None)
        self.tell(Watched(frames))

    def enter(self, state: str) -> None:
        self.state = state
        self.tell(Watched([], SessionStatus(state == "executing", state)))

    def tell(self, news: Watched) -> None:
        for channel in self.channels:
            channel.put_nowait(news)


class FakeSessions:
    """Implements SessionsRef; an async context manager, to be given to build_app as `lambda: sessions`.

    scripts: what the next runs do, in turn; without one they say Hello. down: what every call raises. active: ids of
    sessions in memory. restored: ids, as often as a session was brought back. queries: all that were asked.
    """

    def __init__(self, workspace_root: Path | None = None, **config: Any) -> None:
        self.config = SessionsSection(**config)
        self.workspace_root = workspace_root or Path("/nowhere")
        self.models = MODELS
        self.scripts: list[Script] = []
        self.down: OrganismError | None = None
        self.sessions_by_id: dict[str, FakeSession] = {}
        self.active: set[str] = set()
        self.restored: list[str] = []
        self.queries: list[tuple[str, Query]] = []
        self.failures: list[BaseException] = []
        self._tasks = Tasks(self.failures.append)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.close()

    # What a test does to it

    def store(self, session_id: str) -> None:
        """The session is only stored from now on."""
        self.active.discard(session_id)

    def fail(self, error: OrganismError | None = None) -> None:
        """Every call fails until `recover`."""
        self.down = error or OrganismUnreachable("it is down in this test")

    def recover(self) -> None:
        self.down = None

    def followers(self) -> int:
        return sum(len(session.channels) for session in self.sessions_by_id.values())

    def running(self) -> list[str]:
        return [session_id for session_id, session in self.sessions_by_id.items() if session.is_running]

    # SessionsRef

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        self._check()
        offered = tuple(each.name for each in self.config.offered)
        agent = new.agent or offered[0]
        if agent not in offered:
            raise SessionAgentNotFound(agent, offered)
        now, session_id = now_ms(), new_id()
        record = SessionRecord(
            id=session_id,
            created_at=now,
            updated_at=now,
            agent=agent,
            working_directory=new_directory(session_id, isolate=True),
            name=new.name,
            tags=new.tags,
            model=new.model,
            owner=owner,
        )
        self.sessions_by_id[session_id] = FakeSession(record)
        self.active.add(session_id)
        return self._view(session_id)

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        self._check()
        views = [self._view(each) for each in reversed(self.sessions_by_id)]
        found = sorted((view for view in views if _passes(where, view)), key=lambda view: view.updated_at, reverse=True)
        return found[offset : offset + limit], len(found)

    async def session(self, session_id: str) -> SessionView:
        self._check()
        return self._view(session_id)

    async def update(self, session_id: str, changes: SessionChanges) -> SessionView:
        session = self._awake(session_id)
        changed = {name: value for name, value in changes._asdict().items() if value is not None}
        session.record = session.record.model_copy(update={**changed, "updated_at": now_ms()})
        return self._view(session_id)

    async def delete(self, session_id: str) -> None:
        session = self._session(session_id)
        if session.is_running:
            await self.abort(session_id)
        session.tell(Watched([], None, is_deleted=True))
        del self.sessions_by_id[session_id]
        self.active.discard(session_id)

    async def restore(self, session_id: str) -> SessionView:
        self._awake(session_id)
        return self._view(session_id)

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        return self._session(session_id).log[after_seq : after_seq + limit]

    async def status(self, session_id: str) -> SessionStatus:
        session = self._session(session_id)
        if session_id not in self.active:
            return SessionStatus(False, "stored")
        return SessionStatus(session.is_running, session.state)

    async def ask(self, session_id: str, query: Query) -> Answered:
        return await asyncio.shield(self._begin(session_id, query))

    @asynccontextmanager
    async def run(self, session_id: str, query: Query) -> AsyncIterator[AsyncIterator[list[Frame]]]:
        session = self._awake(session_id)
        async with self._channel(session) as channel:
            self._begin(session_id, query)
            async with aclosing(_until_end(channel)) as batches:
                yield batches

    async def begin(self, session_id: str, query: Query) -> int:
        self._begin(session_id, query)
        return len(self.sessions_by_id[session_id].log)

    async def abort(self, session_id: str) -> bool:
        session = self._session(session_id)
        if session.run is None or session.run.done():
            return False
        session.aborting.set()
        await asyncio.wait([session.run])
        return True

    @asynccontextmanager
    async def watch(self, session_id: str, after_seq: int | None) -> AsyncIterator[AsyncIterator[Watched]]:
        session = self._awake(session_id)
        async with self._channel(session) as channel:
            stored = [] if after_seq is None else session.log[after_seq:]
            begun = [Watched([], await self.status(session_id)), *([Watched(stored)] if stored else [])]
            async with aclosing(_until_deleted(begun, channel)) as items:
                yield items

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        self._awake(session_id)
        if self.scripts and (error := self.scripts.pop(0).error):
            raise error
        return Summary("A short title", model.id if model else "small", model.provider if model else "local")

    async def server_status(self) -> ServerStatus:
        self._check()
        running = next(iter(self.running()), None)
        return ServerStatus(self.config.exclusive, running, not (self.config.exclusive and running))

    async def settings(self) -> SessionSettings:
        self._check()
        return SessionSettings(
            agents=tuple((each.name, each.description) for each in self.config.offered),
            models=self.models,
            default_model=ModelChoice(provider="local", id="small") if self.models else None,
            workspace_root=str(self.workspace_root),
            workspace=WorkspaceSection(),
            sessions=self.config,
        )

    # Runs

    def _begin(self, session_id: str, query: Query) -> asyncio.Task[Answered]:
        session = self._awake(session_id)
        if not query.content:
            raise InvalidQuery("query", "is empty")
        if session.is_running:
            raise SessionBusy(session_id)
        if self.config.exclusive and (others := self.running()):
            raise ServerExclusive(others[0])
        self.queries.append((session_id, query))
        session.record = session.record.model_copy(update={"updated_at": now_ms()})
        session.aborting.clear()
        session.enter("executing")
        session.publish(UserMessage(content=query.content, id=query.id or new_id()))
        script = self.scripts.pop(0) if self.scripts else Script()
        session.run = self._tasks.spawn(_play(session, query, script), f"run of {session_id}")
        return session.run

    @asynccontextmanager
    async def _channel(self, session: FakeSession) -> AsyncIterator[asyncio.Queue[Watched]]:
        channel: asyncio.Queue[Watched] = asyncio.Queue()
        session.channels.append(channel)
        try:
            yield channel
        finally:
            session.channels.remove(channel)

    # Finding sessions

    def _session(self, session_id: str) -> FakeSession:
        self._check()
        try:
            return self.sessions_by_id[session_id]
        except KeyError:
            raise SessionNotFound(session_id) from None

    def _awake(self, session_id: str) -> FakeSession:
        session = self._session(session_id)
        if session_id not in self.active:
            if len(self.active) >= self.config.max_active:
                raise TooManySessions(self.config.max_active, 5.0)
            self.active.add(session_id)
            self.restored.append(session_id)
        return session

    def _view(self, session_id: str) -> SessionView:
        session = self._session(session_id)
        now = {"last_seq": len(session.log), "is_running": session.is_running, "active": session_id in self.active}
        return SessionView(**{**dict(session.record), **now})

    def _check(self) -> None:
        if self.down is not None:
            raise self.down


async def _play(session: FakeSession, query: Query, script: Script) -> Answered:
    session_id, message_id, text = session.record.id, new_id(), ""
    options = {"input": query.content, "stream": query.stream}
    session.publish(AgentRunStart(session_id=session_id, run_options=options), *script.extra)
    for piece in script.pieces:
        text += piece
        session.publish(AssistantStreamingMessage(content=piece, message_id=message_id))
        await asyncio.sleep(0)
    if script.gate is not None:
        await _first(script.gate, session.aborting)
    status, reason = "idle", "stop"
    if session.aborting.is_set():
        status, reason = "aborted", "abort"
    elif script.error is not None:
        status, reason = "error", "error"
        session.publish(SystemEvent(level="error", message=str(script.error)))
    answer = AssistantMessage(content=text, message_id=message_id, finish_reason=reason)
    session.publish(answer)
    end = AgentRunEnd(session_id=session_id, iterations=1, elapsed_ms=1, status=status)
    session.publish(end)
    session.enter(status)
    stored = next(frame.body for frame in reversed(session.log) if frame.type == "assistant_message")
    return Answered(text, stored, status, script.error if status == "error" else None)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def _until_end(channel: asyncio.Queue[Watched]) -> AsyncGenerator[list[Frame]]:
    while True:
        news = await channel.get()
        if news.is_deleted:
            return
        if news.frames:
            yield news.frames
            if news.frames[-1].type == "agent_run_end":
                return


async def _until_deleted(begun: list[Watched], channel: asyncio.Queue[Watched]) -> AsyncGenerator[Watched]:
    for item in begun:
        yield item
    while True:
        news = await channel.get()
        yield news
        if news.is_deleted:
            return


def _passes(where: SessionFilter, view: SessionView) -> bool:
    found_in = " ".join((view.id, view.name or "", *(view.tags or ()))).lower()
    return (
        (where.tag is None or where.tag in (view.tags or ()))
        and (where.q is None or where.q.lower() in found_in)
        and where.is_running in (None, view.is_running)
        and where.owner in (None, view.owner)
        and (where.ids is None or view.id in where.ids)
    )
