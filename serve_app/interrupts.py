"""Ctrl-C and SIGTERM: the first asks for a graceful stop, the next one for a stop at once.

From the first moment of a launcher to its last they are counted, and nothing else: an exception raised wherever the
main thread happens to be is lost in callbacks and destructors, or leaves Ray half started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STDERR = 2  # the file descriptor


class Interrupted(Exception):
    """The work was ended by a signal."""


class Interrupts:
    """Counts the signals that arrive while it is entered; in the main thread.

    Who has started this process may have blocked them until now: those that wait arrive at once.
    notice: what the first one says at once, as the work may not end before a while; nothing where it is empty.
    """

    def __init__(self, notice: str = "") -> None:
        self.notice = notice
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()

    def __enter__(self) -> Self:
        self._before = self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait while something in here sets handlers of its own, which are replaced at its end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            self._take()

    def _take(self) -> dict[signal.Signals, Any]:
        """The handlers that there were."""
        before = {each: signal.signal(each, self._arrived) for each in SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return before

    def check(self) -> None:
        """Raises: Interrupted, where a signal has arrived."""
        if self._count:
            raise Interrupted

    async def until_first(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; at the first signal it is cancelled and Interrupted raised."""
        return await self._until(self._stop, work)

    async def until_second(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; at the second signal it is cancelled and Interrupted raised."""
        return await self._until(self._stop_at_once, work)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1 and self.notice:
            os.write(STDERR, f"{self.notice}\n".encode())  # `print` may be what is interrupted
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self._count >= 1:
            self._stop.set()
        if self._count >= 2:
            self._stop_at_once.set()

    async def _until(self, event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
        self._loop = asyncio.get_running_loop()
        self._tell()
        if event.is_set():
            self._loop = None
            work.close()
            raise Interrupted
        working = asyncio.create_task(work)
        signalled = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({working, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise Interrupted
        finally:
            self._loop = None
            working.cancel()
            signalled.cancel()
            await asyncio.gather(working, signalled, return_exceptions=True)
