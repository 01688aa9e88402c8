"""An event loop in a thread of its own, for those who block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

_END: Any = object()


CLOSED = "this client is closed"


class Pending(Generic[T]):
    """What a coroutine in the loop's thread will return.

    Ctrl-C may interrupt the waiting, and it can begin anew. So it takes no lock but one in C: an interrupt between two
    steps of Python can leave those of concurrent.futures locked, and then the loop waits for ever. Nor does it have the
    task, at whose end an interrupt would be lost.
    """

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        self._outcome: tuple[T | None, BaseException | None] | None = None
        self._woken: SimpleQueue[None] = SimpleQueue()
        loop.call_soon_threadsafe(self._begin)

    def wait(self) -> None:
        """Until there is a result."""
        while self._outcome is None:
            self._woken.get()

    def result(self) -> T:
        """Waits for it. Raises: what the coroutine raises; RuntimeError, where the client is closed meanwhile."""
        self.wait()
        value, error = cast("tuple[T, BaseException | None]", self._outcome)
        if error is not None:
            raise error
        return value

    def cancel(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled():
            self._outcome = None, RuntimeError(CLOSED)
        elif error := task.exception():
            self._outcome = None, error
        else:
            self._outcome = task.result(), None
        self._woken.put(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class LoopThread:
    """Runs coroutines for the threads that call it. A daemon: one that is not closed does not keep a process alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="organism.client", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        if self._loop.is_closed() or not self._thread.is_alive():
            work.close()
            raise RuntimeError(CLOSED)
        return Pending(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns; where the caller is interrupted, it is cancelled."""
        pending = self.submit(work)
        try:
            return pending.result()
        except BaseException:
            pending.cancel()
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
        self._pending: Pending[T] | None = None
        self._turn = asyncio.Lock()  # a generator cannot be closed while it runs

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._pending is None:
            self._pending = self._thread.submit(self._next())
        self._pending.wait()
        pending, self._pending = self._pending, None
        item = pending.result()
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
