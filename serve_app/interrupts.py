"""Ctrl-C and SIGTERM: the first asks for a graceful stop, the next one for a stop at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The work was ended by a signal."""


class Interrupts:
    """Counts the signals that arrive while it is entered; for the main thread's event loop."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()

    def __enter__(self) -> Self:
        for each in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(each, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for each in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)

    async def until_first(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; at the first signal it is cancelled and Interrupted raised."""
        return await _until(self._stop, work)

    async def until_second(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; at the second signal it is cancelled and Interrupted raised."""
        return await _until(self._stop_at_once, work)

    def _arrived(self) -> None:
        (self._stop_at_once if self._stop.is_set() else self._stop).set()


async def _until(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    working = asyncio.create_task(work)
    signalled = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Interrupted
    finally:
        working.cancel()
        signalled.cancel()
        await asyncio.gather(working, signalled, return_exceptions=True)
