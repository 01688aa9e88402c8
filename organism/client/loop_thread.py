"""An event loop in a thread of its own, for those who block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END: Any = object()


class LoopThread:
    """Runs coroutines for the threads that call it. A daemon: one that is not closed does not keep a process alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="organism.client", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._loop.is_closed() or not self._thread.is_alive():
            work.close()
            raise RuntimeError("this client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns; where the caller is interrupted, it is cancelled."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancels what runs, ends the iterators that were left, and the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_cancel_all())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class BlockingIterator(Generic[T]):
    """Iterates over an asynchronous generator from outside its loop.

    Ctrl-C interrupts the waiting, not the generator: the next `next()` goes on where it was.
    """

    def __init__(self, thread: LoopThread, items: AsyncGenerator[T]) -> None:
        self._thread = thread
        self._items = items
        self._pending: Future[T] | None = None
        self._turn = asyncio.Lock()  # a generator cannot be closed while it runs

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._pending is None:
            self._pending = self._thread.submit(self._next())
        wait((self._pending,))
        future, self._pending = self._pending, None
        item = future.result()
        if item is _END:
            raise StopIteration
        return item

    def __enter__(self) -> BlockingIterator[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the stream; what is run goes on."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._thread.call(self._close())

    async def _next(self) -> T:
        async with self._turn:
            return await anext(self._items, _END)

    async def _close(self) -> None:
        async with self._turn:
            await self._items.aclose()
