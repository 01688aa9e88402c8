"""One session in a cell: its record, its history, its events on their way into the storage and out to followers.

Events are numbered when they happen, stored in that order, and shown when they are stored; deltas keep their place
among them and are never stored. The loop does not wait for the storage: what it says is stored behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from organism.config import SessionAgent, SessionsSection
from organism.errors import (
    OrganismError,
    RunInterrupted,
    ServerExclusive,
    SessionBusy,
    StorageUnavailable,
    TokensSpent,
    TooManyRuns,
)
from organism.llm.base import ChatMessage, Provider, StreamEvent, Tool, Usage
from organism.masking import mask_text
from organism.messages import new_id, now_ms
from organism.sessions.agent_loop import AgentLoop
from organism.sessions.events import (
    DELTAS,
    AgentRunEnd,
    AgentRunStart,
    AnyEvent,
    EnvironmentInput,
    Frame,
    SystemEvent,
    TokenUsage,
    UserMessage,
    decode,
    encode,
)
from organism.sessions.feeds import Feeds
from organism.sessions.history import History
from organism.sessions.queries import check_query
from organism.sessions.recorder import Recorder
from organism.sessions.records import SessionChanges, SessionRecord
from organism.sessions.references import expand
from organism.sessions.run import Run
from organism.sessions.tools.base import SessionTool, ToolContext
from organism.sessions.wire import Append, Loaded, Query, SessionNotHere, SessionStatus
from organism.sessions.workspace import Workspace
from organism.tasks import Tasks

logger = logging.getLogger(__name__)

TURNS_TO_SHOW = 3
"""Of the event loop, until those who wait for a run's beginning have been answered."""

RUN_REFUSALS = ServerExclusive, TooManyRuns, TokensSpent
"""What keeps a run from beginning, and the session as it was."""

ABORT_WITHIN_S = 10.0
"""How long an abort waits for the run's end to be stored."""


class Means(NamedTuple):
    """What a run works with."""

    agent: SessionAgent
    open_provider: Callable[[], Awaitable[Provider]]
    provider_name: str | None
    model: str | None
    tools: dict[str, SessionTool]
    workspace: Workspace


class Session:
    """Implements Voice for its loop and Recorded for the recorder."""

    def __init__(
        self, loaded: Loaded, settings: SessionsSection, recorder: Recorder, feeds: Feeds, tasks: Tasks
    ) -> None:
        self.record = loaded.record
        self.lease = loaded.lease
        self.run: Run | None = None
        self.used_s = asyncio.get_running_loop().time()
        self.has_left = False
        self._settings = settings
        self._may_be_refused = settings.exclusive or loaded.is_limited
        self._recorder = recorder
        self._feeds = feeds
        self._tasks = tasks
        self._state: str = "idle"
        self._last_seq = loaded.record.last_seq
        self._outbox: deque[Frame] = deque()  # from the first frame that is not stored on
        self._unstored = 0  # how many of them are to be stored
        self._endings: deque[Run] = deque()  # runs whose end is not stored yet
        self._changed: list[asyncio.Future[None]] = []  # wait for the next append
        self._changing: list[asyncio.Future[None]] = []  # wait for the one under way
        self._storage_error: StorageUnavailable | None = None
        self._means: Means | None = None
        self._history = _history(loaded.recent)

    def __repr__(self) -> str:
        return f"Session({self.record.id})"

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def status(self) -> SessionStatus:
        return SessionStatus(self.run is not None, "executing" if self.run is not None else self._state)

    @property
    def stored_seq(self) -> int:
        """Of the newest event that is stored."""
        return self._last_seq - self._unstored

    @property
    def is_idle(self) -> bool:
        """Nothing runs and nothing waits to be stored."""
        return self.run is None and not (self._outbox or self._changed or self._changing)

    def touch(self) -> None:
        self.used_s = asyncio.get_running_loop().time()

    # What clients want

    def begin(self, query: Query, means: Means) -> Run:
        """Starts a run; its futures tell the rest.

        Raises:
            SessionBusy, InvalidQuery, StorageUnavailable: earlier events still wait to be stored.
        """
        if self.run is not None:
            raise SessionBusy(self.id)
        if self._storage_error is not None:
            raise self._storage_error
        check_query(query.content, self._settings.max_query_bytes)
        self.touch()
        self.run = Run(self._last_seq + 1)
        self._means = means
        self.run.task = self._tasks.spawn(self._work(self.run, query, means), f"run of {self.id}")
        self.run.task.add_done_callback(functools.partial(self._task_ended, self.run))
        return self.run

    async def abort(self) -> bool:
        run = self.run
        if run is None or run.task is None:
            return False
        run.task.cancel()
        await asyncio.wait([run.ended], timeout=ABORT_WITHIN_S)
        return True

    async def change(self, changes: SessionChanges) -> SessionRecord:
        """Returns when it is stored. Raises StorageUnavailable."""
        update = {key: value for key, value in changes._asdict().items() if value is not None}
        before = {key: getattr(self.record, key) for key in update}
        self.record = self.record.model_copy(update=update | {"updated_at": now_ms()})
        try:
            await self._saved()
        except OrganismError:
            self.record = self.record.model_copy(update=before)
            raise
        return self.record

    async def spend(self, usage: Usage) -> None:
        """Counts tokens that were used beside its runs. Where that cannot be stored now it is with the next event."""
        self.count(usage.input_tokens, usage.output_tokens)
        with contextlib.suppress(OrganismError):
            await self._saved()

    def leave(self, error: OrganismError) -> None:
        """The session is this cell's no more: nothing is stored from now on, followers are told."""
        self.has_left = True
        for run in [*self._endings, *([] if self.run is None else [self.run])]:
            # Whoever is told "not here" asks again elsewhere: what has begun must not be done twice.
            is_cut_off = run.is_stored and isinstance(error, SessionNotHere)
            run.lose(RunInterrupted(self.id) if is_cut_off else error)
        self._settle_changes(error)
        self.run = None
        self._outbox.clear()
        self._unstored = 0
        self._feeds.lose(self.id)

    async def _saved(self) -> None:
        if self._storage_error is not None:
            raise self._storage_error
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        self._recorder.add(self)
        await future

    # The run

    async def _work(self, run: Run, query: Query, means: Means) -> None:
        try:
            await self._prepare(run, query, means)
            await asyncio.sleep(0)  # what was said is on its way to the storage before the model is asked
            if self._may_be_refused:
                await asyncio.shield(run.begun)
            assert run.loop is not None
            await run.loop.run()
            run.status = "idle"
        except asyncio.CancelledError:
            if run.error is None:
                run.status = "aborted"
            else:
                run.status = "error"
        except OrganismError as error:
            run.status, run.error = "error", error
        except Exception as error:  # a bug must not leave the session without an end of its run
            logger.exception("run of session %s failed", self.id)
            run.status, run.error = "error", RunInterrupted(self.id)
            if not run.is_silent and self.run is run:
                self.say(SystemEvent(level="error", message=f"the run failed: {type(error).__name__}"))
        if not run.is_silent and self.run is run:
            self._end(run)

    def _task_ended(self, run: Run, _: asyncio.Task[None]) -> None:
        """Also where it was cancelled before it had done anything."""
        if self.run is run and not run.is_silent:
            run.status = "aborted"
            self._end(run)

    async def _prepare(self, run: Run, query: Query, means: Means) -> None:
        environment = await expand(
            query.content,
            means.workspace,
            max_bytes=self._settings.max_reference_bytes,
            max_total_bytes=self._settings.max_references_bytes,
        )
        run.first_seq = self._last_seq + 1
        context = ToolContext(self.id, means.workspace)
        run.loop = AgentLoop(means.agent, self, means.tools, context, self._settings.tools.max_result_bytes)
        self.say(UserMessage(id=query.id or new_id(), content=query.content))
        if isinstance(environment, EnvironmentInput):
            self.say(environment)
        self.say(
            AgentRunStart(
                session_id=self.id,
                run_options={"input": query.content, "stream": query.stream},
                provider=means.provider_name,
                model=means.model,
                agent_name=means.agent.name,
            )
        )

    def _end(self, run: Run) -> None:
        """The last event of the run; a new one may begin at once."""
        if run.loop is not None:
            if isinstance(run.error, StorageUnavailable):
                self.say(
                    SystemEvent(level="error", message=mask_text(str(run.error)), details={"code": run.error.code})
                )
            usage = TokenUsage(input_tokens=run.loop.input_tokens, output_tokens=run.loop.output_tokens)
            self.say(
                AgentRunEnd(
                    session_id=self.id,
                    iterations=run.iterations,
                    elapsed_ms=run.elapsed_ms,
                    status=run.status,
                    usage=usage,
                )
            )
            run.last_seq = self._last_seq
            self._endings.append(run)
        else:  # it ended before anything was said
            run.refuse(run.error or RunInterrupted(self.id))
        self.run = None
        self._state = run.status
        self.touch()
        if self._storage_error is not None:
            run.settle()

    # Voice

    @property
    def is_heard(self) -> bool:
        return self._feeds.is_followed(self.id)

    async def has_begun(self) -> None:
        if self.run is not None:
            await asyncio.wait([self.run.begun])
            for _ in range(TURNS_TO_SHOW):
                await asyncio.sleep(0)

    @property
    def session_tokens(self) -> int:
        return self.record.tokens

    def count(self, input_tokens: int, output_tokens: int) -> None:
        self.record = self.record.model_copy(
            update={
                "input_tokens": self.record.input_tokens + input_tokens,
                "output_tokens": self.record.output_tokens + output_tokens,
            }
        )

    def messages(self) -> list[ChatMessage]:
        assert self._means is not None
        agent = self._means.agent
        return self._history.messages(agent.prompt, agent.context_tokens)

    async def stream(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> AsyncGenerator[StreamEvent]:
        assert self._means is not None
        model, agent = self._means.model, self._means.agent
        provider = await self._means.open_provider()  # here, so that having no model is an error that the run tells
        reply = provider.stream(
            messages, tools, model=model, temperature=agent.temperature, max_tokens=agent.max_tokens
        )
        async with aclosing(reply) as events:
            async for event in events:
                yield event

    @property
    def is_failing(self) -> bool:
        return self.run is not None and self.run.error is not None

    def say(self, event: AnyEvent) -> None:
        if self.has_left:
            return
        if event.type in DELTAS:
            self._say_delta(encode(self.id, event))
            return
        self._last_seq += 1
        event = event.model_copy(update={"seq": self._last_seq})
        self._history.add(event)
        frame = encode(self.id, event)
        if self.run is not None and event.seq == self.run.first_seq:
            self.run.first = frame
        elif self.run is not None and event.type == "assistant_message":
            self.run.message = frame.body
        self._outbox.append(frame)
        self._unstored += 1
        self._recorder.add(self)

    def _say_delta(self, frame: Frame) -> None:
        if self._outbox:
            self._outbox.append(frame)
        else:
            self._feeds.publish(self.id, [frame])

    # Recorded

    def next_append(self) -> Append | None:
        frames = [frame for frame in self._outbox if frame.seq is not None]
        if self.has_left or not (frames or self._changed or self._storage_error):
            return None  # after an error the record is stored in any case: that shows that it can be again
        self._changing, self._changed = [*self._changing, *self._changed], []
        is_running = self.run is not None and self.run.loop is not None
        record = self.record.model_copy(
            update={"last_seq": self._last_seq, "is_running": is_running, "updated_at": now_ms()}
        )
        begins_run = is_running and self.run is not None and not self.run.is_stored
        return Append(record, self.lease, frames, begins_run)

    def stored(self, append: Append) -> None:
        if self.has_left:
            return
        self._storage_error = None
        self.record = self.record.model_copy(
            update={"last_seq": append.record.last_seq, "updated_at": append.record.updated_at}
        )
        run, is_news = self.run, False
        if run is not None and run.loop is not None and run.first_seq <= append.record.last_seq:
            is_news = not run.is_stored
            run.has_begun()  # first: its answer brings whoever asked the first event
        self._publish_until(append.record.last_seq)
        while self._endings and (self._endings[0].last_seq or 0) <= append.record.last_seq:
            ended = self._endings.popleft()
            ended.has_begun()
            ended.settle()
            is_news = True
        if is_news:
            self._feeds.publish_status(self.id, self.status)
        self._settle_changes(None)
        if self._outbox:
            self._recorder.add(self)

    def not_stored(self, append: Append, error: OrganismError) -> bool:
        if self.has_left:
            return False
        self._settle_changes(error)
        if not isinstance(error, StorageUnavailable):
            return self._refused(append, error)
        run = self.run
        if run is not None and run.loop is not None and not run.is_stored:
            self._take_back(run, error)
            return self._unstored > 0
        self._storage_error = error
        if run is not None and run.task is not None and run.error is None:
            run.error = error
            run.task.cancel()
            self._tell_of_failure(run, error)
        for ended in self._endings:
            if not ended.ended.done():
                ended.status, ended.error = "error", error
                ended.settle()
                self._tell_of_failure(ended, error)
        return True

    def _settle_changes(self, error: OrganismError | None) -> None:
        """Of those that were in the last append; all of them when there is an error."""
        waiting = self._changing if error is None else [*self._changing, *self._changed]
        self._changing, self._changed = [], self._changed if error is None else []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _refused(self, append: Append, error: OrganismError) -> bool:
        """Some take the new run back; anything else means that the session is somebody else's now."""
        run = self.run
        if append.begins_run and run is not None and isinstance(error, RUN_REFUSALS):
            self._take_back(run, error)
            if self._outbox:  # the end of an earlier run, which is not refused
                self._recorder.add(self)
            return False
        logger.warning("session %s leaves its cell: %s", self.id, error)
        self.leave(error)
        return False

    def _take_back(self, run: Run, error: OrganismError) -> None:
        """Nothing remains of a run whose beginning was not stored."""
        run.is_silent = True
        if run.task is not None:
            run.task.cancel()
        kept = [frame for frame in self._outbox if frame.seq is not None and frame.seq < run.first_seq]
        self._outbox = deque(kept)
        self._unstored = len(kept)
        self._last_seq = run.first_seq - 1
        self._history.forget_last_turn()
        self.run = None
        run.refuse(error)

    def _tell_of_failure(self, run: Run, error: StorageUnavailable) -> None:
        """Whoever follows is told at once; the stored end of the run comes when the storage is back."""
        system = SystemEvent(level="error", message=mask_text(str(error)), details={"code": error.code})
        end = AgentRunEnd(session_id=self.id, iterations=run.iterations, elapsed_ms=run.elapsed_ms, status="error")
        self._feeds.publish(self.id, [encode(self.id, system), encode(self.id, end)])
        self._feeds.publish_status(self.id, SessionStatus(False, "error"))

    def _publish_until(self, seq: int) -> None:
        """What is stored, and the deltas behind it."""
        ready: list[Frame] = []
        while self._outbox and (self._outbox[0].seq is None or self._outbox[0].seq <= seq):
            frame = self._outbox.popleft()
            self._unstored -= frame.seq is not None
            ready.append(frame)
        if ready:
            self._feeds.publish(self.id, ready)


def _history(frames: list[Frame]) -> History:
    history = History()
    for frame in frames:
        try:
            history.add(decode(frame.body))
        except ValueError:  # of a type that a newer version knows
            logger.warning("event %s of session %s cannot be read", frame.seq, frame.session_id)
    return history
