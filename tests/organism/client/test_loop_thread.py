from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Iterator

import pytest

from organism.client.loop_thread import BlockingIterator, LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


async def counted(count: int, gate: asyncio.Event | None = None) -> AsyncGenerator[int]:
    for number in range(count):
        if gate is not None:
            await gate.wait()
        yield number


def test_a_call_returns_and_raises_what_the_coroutine_does(thread):
    async def fail() -> None:
        raise ValueError("no")

    assert thread.call(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="no"):
        thread.call(fail())


def test_an_iterator_gives_what_the_generator_yields(thread):
    assert list(BlockingIterator(thread, counted(3))) == [0, 1, 2]


def test_an_interrupted_call_is_cancelled(thread):
    cancelled = threading.Event()

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with interrupted_after(0.2), pytest.raises(KeyboardInterrupt):
        thread.call(stay())
    assert cancelled.wait(10.0)


def test_an_iterator_goes_on_where_it_was_interrupted(thread):
    gate = asyncio.Event()
    items = BlockingIterator(thread, counted(2, gate))
    with interrupted_after(0.2), pytest.raises(KeyboardInterrupt):
        next(items)
    thread.call(asyncio.sleep(0))
    thread._loop.call_soon_threadsafe(gate.set)
    assert list(items) == [0, 1]


def test_what_waits_while_the_client_is_closed_says_so(thread):
    pending = thread.submit(asyncio.Event().wait())
    thread.close()
    with pytest.raises(RuntimeError, match="closed"):
        pending.result()
    pending.cancel()
    with pytest.raises(RuntimeError, match="closed"):
        thread.call(asyncio.sleep(0))


@pytest.mark.filterwarnings("ignore:.*never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_moment_block_nothing():
    """With the locks of concurrent.futures some of these ends left the loop's thread waiting for ever."""
    for round_ in range(200):
        thread = LoopThread()
        items = BlockingIterator(thread, counted(10_000))
        seen = -1
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00001 * round_)
        handler = signal.signal(signal.SIGALRM, _interrupt)
        try:
            for number in items:
                assert number == seen + 1
                seen = number
        except KeyboardInterrupt:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        closing = threading.Thread(target=thread.close, daemon=True)
        closing.start()
        closing.join(20.0)
        assert not closing.is_alive(), f"interrupted in round {round_}, after {seen}"


class interrupted_after:  # noqa: N801 (used like a function)
    """Ctrl-C in the main thread, that many seconds later."""

    def __init__(self, delay_s: float) -> None:
        main = threading.main_thread().ident
        assert main is not None
        self._timer = threading.Timer(delay_s, signal.pthread_kill, (main, signal.SIGINT))

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
