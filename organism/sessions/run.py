"""One run of a session: from the query to its agent_run_end, and who waits for either."""

from __future__ import annotations

import asyncio
import time

from organism.errors import OrganismError
from organism.sessions.agent_loop import AgentLoop
from organism.sessions.events import Frame, RunStatus
from organism.sessions.wire import Answered


class Run:
    """`begun` has its user_message once that is stored; `ended` its outcome once that is stored, too.

    first_seq: of its user_message. last_seq: of its agent_run_end, when it has ended.
    """

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.last_seq: int | None = None
        self.started_s = time.perf_counter()
        self.loop: AgentLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_stored = False
        self.status: RunStatus = "executing"
        self.error: OrganismError | None = None
        self.first: Frame | None = None  # its user_message
        self.message: bytes | None = None  # the last assistant_message
        self.is_silent = False  # it has left this cell: whatever it still does is told to nobody
        self.begun: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    @property
    def result(self) -> str:
        return "" if self.loop is None else self.loop.answer

    @property
    def iterations(self) -> int:
        return 0 if self.loop is None else self.loop.iterations

    @property
    def elapsed_ms(self) -> int:
        return round((time.perf_counter() - self.started_s) * 1000)

    def has_begun(self) -> None:
        self.is_stored = True
        if not self.begun.done():
            assert self.first is not None
            self.begun.set_result(self.first)

    def refuse(self, error: OrganismError) -> None:
        """Nothing of it was stored."""
        for future in (self.begun, self.ended):
            _fail(future, error)

    def settle(self) -> None:
        """Its end is stored, or cannot be for now (`error` says so)."""
        if not self.ended.done():
            self.ended.set_result(Answered(self.result, self.message, self.status, self.error))

    def lose(self, error: OrganismError) -> None:
        """The session has left this cell in the middle of it."""
        self.is_silent = True
        if self.task is not None:
            self.task.cancel()
        if self.is_stored and not self.ended.done():
            self.error, self.status = error, "error"
            self.settle()
        self.refuse(error)


def _fail(future: asyncio.Future[Frame] | asyncio.Future[Answered], error: OrganismError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting: then it is no "exception never retrieved"
