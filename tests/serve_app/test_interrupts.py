from __future__ import annotations

import asyncio
import signal

import pytest

from serve_app.interrupts import Interrupted, Interrupts


def interrupt(which: signal.Signals = signal.SIGINT) -> None:
    signal.raise_signal(which)  # to this thread: others, of libraries, have not blocked it


async def test_work_that_ends_by_itself_gives_its_result():
    with Interrupts() as interrupts:
        assert await interrupts.until_first(asyncio.sleep(0, "done")) == "done"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_cancels_the_work(which):
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            interrupt(which)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with Interrupts() as interrupts, pytest.raises(Interrupted):
        await interrupts.until_first(work())
    assert cancelled.is_set()


async def test_a_stop_goes_on_after_the_first_signal_and_ends_at_the_second():
    begun = asyncio.Event()

    async def stop() -> None:
        begun.set()
        interrupt()
        await asyncio.Event().wait()

    with Interrupts() as interrupts:
        interrupt()
        with pytest.raises(Interrupted):
            await interrupts.until_first(asyncio.Event().wait())
        with pytest.raises(Interrupted):
            await interrupts.until_second(stop())
    assert begun.is_set()


async def test_an_error_of_the_work_is_raised():
    async def work() -> None:
        raise KeyError("it")

    with Interrupts() as interrupts, pytest.raises(KeyError):
        await interrupts.until_first(work())


def test_outside_of_a_loop_signals_are_noted_and_raise_nothing(capfd):
    before = signal.getsignal(signal.SIGINT)
    with Interrupts("it is ended") as interrupts:
        interrupts.check()
        interrupt()
        interrupt(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interrupts.check()
    assert capfd.readouterr().err == "it is ended\n"
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_signal_between_two_works_ends_the_second_before_it_has_done_anything():
    done = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(True)

    with Interrupts() as interrupts:
        await interrupts.until_first(asyncio.sleep(0))
        interrupt()
        with pytest.raises(Interrupted):
            await interrupts.until_first(work())
    assert not done


def test_signals_that_were_blocked_arrive_when_it_is_entered():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    interrupt()
    with Interrupts() as interrupts, pytest.raises(Interrupted):
        interrupts.check()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_handlers_that_others_set_meanwhile_are_replaced():
    with Interrupts() as interrupts:
        with interrupts.held():
            signal.signal(signal.SIGTERM, lambda *_: pytest.fail("theirs"))
            interrupt(signal.SIGTERM)
            interrupts.check()
        with pytest.raises(Interrupted):
            interrupts.check()
