"""Hosts sessions: loads them when they are asked for, has their runs done, gives them up when nobody needs them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from organism.bundle import unpack
from organism.errors import OrganismError, SessionNotFound
from organism.sessions.events import Frame
from organism.sessions.feeds import Feeds
from organism.sessions.models import Models
from organism.sessions.recorder import Recorder
from organism.sessions.records import ModelChoice, SessionChanges, SessionRecord
from organism.sessions.run import Run
from organism.sessions.session import Means, Session
from organism.sessions.summary import summarize
from organism.sessions.tools.base import Toolset
from organism.sessions.tools.search_library import LibrarySearch
from organism.sessions.tools.toolset import open_toolset
from organism.sessions.wire import (
    Answered,
    FeedBatch,
    Query,
    SessionCellAttached,
    SessionCellSpec,
    SessionLink,
    SessionNotHere,
    SessionStatus,
    Summary,
)
from organism.sessions.workspace import Workspace
from organism.tasks import Tasks

logger = logging.getLogger(__name__)

MAX_SWEEP_S = 5.0


class SessionCell:
    """Implements what SessionCellRef promises, in this process.

    on_failure: told of an error after which the cell is of no use any more. search_library: of the tool of that name;
    without it there is none.
    """

    def __init__(
        self,
        spec: SessionCellSpec,
        link: SessionLink,
        on_failure: Callable[[BaseException], None] | None = None,
        search_library: LibrarySearch | None = None,
    ) -> None:
        self.spec = spec
        self._link = link
        self._search_library = search_library
        self._folder = unpack(spec.bundle, spec.bundle_digest)
        self._models = Models(spec.llm, spec.environ)
        self._toolset: Toolset | None = None
        self._opening = asyncio.Lock()
        self._feeds = Feeds()
        self._recorder = Recorder(link)
        self._sessions: dict[str, Session] = {}
        self._loading: dict[str, asyncio.Task[Session]] = {}
        self._is_retired = False
        self._tasks = Tasks(on_failure or _log_failure)

    def __repr__(self) -> str:
        return f"SessionCell({self.spec.name})"

    async def open(self) -> None:
        """Loads tools and models, so that no session has to wait for them. Raises HandlerNotLoaded."""
        await self._tools()
        if self.spec.llm.backends:
            await self._models.provider(None)

    def start(self) -> None:
        """Begins to work; wants a running event loop."""
        self._tasks.spawn(self._recorder.run(), "recorder")
        self._tasks.spawn(self._sweep(), "sweep")

    async def close(self) -> None:
        """What runs is cancelled; whether it ended is found out when the session is next loaded."""
        for loading in list(self._loading.values()):
            loading.cancel()
        await self._tasks.close()
        await self._models.close()
        if self._toolset is not None:
            await self._toolset.close()

    def attach(self) -> SessionCellAttached:
        held = {session.id: session.lease for session in self._sessions.values() if not session.has_left}
        return SessionCellAttached(self.spec.incarnation, self.spec.definition, held, os.getpid())

    # For API replicas

    async def begin(self, session_id: str, query: Query, follower: str | None = None) -> Frame:
        session = await self._session(session_id)
        means = await self._means(session)
        if follower is not None:
            self._feeds.follow(follower, session_id)
        run = session.begin(query, means)
        return await asyncio.shield(run.begun)

    async def ask(self, session_id: str, query: Query) -> Answered:
        session = await self._session(session_id)
        run = session.begin(query, await self._means(session))
        return await asyncio.shield(run.ended)

    async def abort(self, session_id: str) -> bool:
        return await (await self._session(session_id)).abort()

    async def status(self, session_id: str) -> SessionStatus:
        return (await self._session(session_id)).status

    async def change(self, session_id: str, changes: SessionChanges) -> SessionRecord:
        return await (await self._session(session_id)).change(changes)

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        session = await self._session(session_id)
        choice = model or session.record.model
        provider = await self._models.provider(choice)
        summary, usage = await summarize(provider, messages, self._model_name(session, choice))
        await session.spend(usage)
        return summary

    async def follow(self, follower: str, session_id: str) -> int:
        session = await self._session(session_id)
        self._feeds.follow(follower, session_id)
        return session.stored_seq

    async def unfollow(self, follower: str, session_id: str) -> None:
        self._feeds.unfollow(follower, session_id)

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> FeedBatch:
        return await self._feeds.poll(follower, cursor, timeout_s)

    # For the pump

    async def passivate(self, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        if session is None or not self._is_dispensable(session):
            return False
        await self._release(session)
        return True

    async def drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.leave(SessionNotFound(session_id))

    async def retire(self) -> None:
        self._is_retired = True
        for session in list(self._sessions.values()):
            if session.run is not None:
                self._tasks.spawn(self._release_after(session, session.run), f"retirement of {session.id}")
            elif session.is_idle:
                await self._release(session)

    async def ping(self) -> None:
        """Answers."""

    # Sessions

    async def _session(self, session_id: str) -> Session:
        """The session, loaded once, however many ask for it."""
        session = self._sessions.get(session_id)
        if session is None or session.has_left:
            if self._is_retired:
                raise SessionNotHere(session_id)
            loading = self._loading.get(session_id)
            if loading is None:
                loading = self._loading[session_id] = asyncio.create_task(self._load(session_id), name="load")
                loading.add_done_callback(lambda _: self._loading.pop(session_id, None))
            session = await asyncio.shield(loading)
        session.touch()
        return session

    async def _load(self, session_id: str) -> Session:
        loaded = await self._link.load(session_id, self.spec.incarnation)
        session = Session(loaded, self.spec.sessions, self._recorder, self._feeds, self._tasks)
        self._sessions[session_id] = session
        return session

    async def _means(self, session: Session) -> Means:
        agent = self.spec.sessions.agent(session.record.agent) or self.spec.sessions.offered[0]
        choice = session.record.model
        root = Path(self.spec.workspace_root) / session.record.working_directory
        tools = await (await self._tools()).tools_of(agent.tools)
        return Means(
            agent,
            lambda: self._models.provider(choice),
            choice.provider if choice is not None and choice.provider else None,
            self._model_name(session, choice),
            {tool.spec.name: tool for tool in tools},
            Workspace(root),
        )

    def _model_name(self, session: Session, choice: ModelChoice | None) -> str | None:
        if choice is not None:
            return choice.id
        agent = self.spec.sessions.agent(session.record.agent)
        return agent.model if agent is not None else None

    async def _tools(self) -> Toolset:
        async with self._opening:
            if self._toolset is None:
                self._toolset = await open_toolset(self.spec, self._folder, self._link, self._search_library)
            return self._toolset

    def _is_dispensable(self, session: Session) -> bool:
        return session.is_idle and not self._feeds.is_followed(session.id)

    async def _release(self, session: Session) -> None:
        """First forgotten, then released: a request that comes between loads it again, with a newer lease."""
        del self._sessions[session.id]
        session.leave(SessionNotHere(session.id))
        await self._link.release(session.id, session.lease)

    async def _release_after(self, session: Session, run: Run) -> None:
        await asyncio.wait([run.ended])
        if session.is_idle and self._sessions.get(session.id) is session:
            await self._release(session)

    async def _sweep(self) -> None:
        idle_timeout_s = self.spec.sessions.idle_timeout_s
        while True:
            await asyncio.sleep(min(idle_timeout_s / 4, MAX_SWEEP_S))
            self._feeds.forget_silent()
            now_s = asyncio.get_running_loop().time()
            for session in list(self._sessions.values()):
                if session.has_left:
                    self._sessions.pop(session.id, None)
                elif self._is_over(session, now_s):
                    await self._release(session)

    def _is_over(self, session: Session, now_s: float) -> bool:
        if self._is_retired:
            return session.is_idle
        return now_s - session.used_s > self.spec.sessions.idle_timeout_s and self._is_dispensable(session)


def _log_failure(error: BaseException) -> None:
    if not isinstance(error, OrganismError):
        logger.critical("a task of a session cell failed", exc_info=error)
