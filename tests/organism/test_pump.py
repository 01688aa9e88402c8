"""Pump and dispatcher: limits, order, bounded memory, and what happens while the storage fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from handler_gates import gates
from organism_folder import Running, check_log, listener, running, text_of, until, write_organism

from organism import pump as pump_module
from organism.errors import QueueFull, StorageUnavailable
from organism.messages import Accepted, Inject
from organism.storage.memory import MemoryStorage
from organism.storage.sqlite import SqliteStorage
from organism.wire import Outcome, Report

WORK = """
async def work(payload: Ping, context: Context):
    gates.note(f"{context.own_name} {payload.text}")
    await gates.at("work")

async def quick(payload: Ping, context: Context):
    gates.note(f"{context.own_name} {payload.text}")

async def chain(payload: Ping, context: Context):
    gates.note(f"{context.own_name} {payload.text}")
    following = {"a": "b", "b": "c"}.get(context.own_name)
    if following:
        return Send(Ping(text=payload.text), to=following)
"""


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(pump_module, "STORAGE_RETRY_S", 0.02)


def organism(folder: Path, *names: str, handler: str = "work", **config: Any) -> Path:
    return write_organism(folder / "organism", WORK, *(listener(name, handler) for name in names), **config)


# Limits


async def test_no_more_handlers_of_one_agent_run_than_it_may_have(tmp_path):
    path = write_organism(
        tmp_path / "organism",
        WORK,
        listener("few", "work", max_concurrent=2),
        listener("many", "work"),
        max_concurrent_per_agent=5,
    )
    async with running(path) as it:
        await it.inject_all("few", ["x"] * 10)
        await it.inject_all("many", ["x"] * 10)
        await until(lambda: gates.running["work"] == 7)
        assert (it.agent("few")["running"], it.agent("few")["queue_depth"]) == (2, 8)
        assert (it.agent("many")["running"], it.agent("many")["queue_depth"]) == (5, 5)
        gates.open("work")
        await it.idle()
        await check_log(it.storage)
    assert gates.peaks["work"] == 7


async def test_no_more_handlers_run_in_the_organism_than_it_may_have(tmp_path):
    async with running(organism(tmp_path, "a", "b", "c", max_concurrent_handlers=4)) as it:
        for name in "abc":
            await it.inject_all(name, ["x"] * 5)
        await until(lambda: gates.running["work"] == 4)
        gates.open("work")
        await it.idle()
    assert gates.peaks["work"] == 4
    assert len(gates.passed) == 15


async def test_no_more_threads_are_worked_on_than_there_may_be(tmp_path):
    async with running(organism(tmp_path, "a", "b", max_concurrent_pipelines=2)) as it:
        first = await it.inject("a", "1")
        await it.inject("b", "1", first.thread_id)  # another handler of the same thread is no other pipeline
        await it.inject("a", "2")
        await it.inject("a", "3")
        await it.inject("b", "4")
        await until(lambda: gates.running["work"] == 3)
        assert sorted(gates.passed) == ["a 1", "a 2", "b 1"]
        gates.open("work")
        await it.idle()
        assert (await it.thread(first)).status == "completed"
        await check_log(it.storage)
    assert len(gates.passed) == 5


async def test_a_full_queue_refuses_injects_and_takes_them_again_later(tmp_path):
    async with running(organism(tmp_path, "a", limits={"max_queue": 3})) as it:
        results = await it.runtime.submit([Inject("a", "Ping", b"{}")] * 5)
        assert [type(each) for each in results] == [Accepted] * 3 + [QueueFull] * 2
        with pytest.raises(QueueFull) as refused:
            await it.inject("a")
        assert refused.value.retry_after_s > 0
        gates.open("work")
        await it.idle()
        await it.inject("a")
        await it.idle()


async def test_injects_under_way_count_for_the_queue(tmp_path):
    async with running(organism(tmp_path, "a", limits={"max_queue": 3})) as it:
        results = await asyncio.gather(*(it.runtime.submit([Inject("a", "Ping", b"{}")]) for _ in range(10)))
        gates.open("work")
        await it.idle()
    assert sum(isinstance(each, Accepted) for [each] in results) == 3


# Order


async def _backlog(it: Running, count: int) -> None:
    """So many threads wait at `a`, which is paused."""
    await it.runtime.pause("a")
    for number in range(count):
        await it.inject("a", str(number))


async def test_breadth_first_lets_all_threads_advance_side_by_side(tmp_path):
    path = organism(tmp_path, "a", "b", "c", handler="chain", max_concurrent_handlers=1)
    async with running(path) as it:
        await _backlog(it, 3)
        await it.runtime.resume("a")
        await it.idle()
    assert gates.passed == [f"{name} {number}" for name in "abc" for number in range(3)]


async def test_depth_first_finishes_the_oldest_thread_before_it_begins_the_next(tmp_path):
    path = organism(
        tmp_path, "a", "b", "c", handler="chain", max_concurrent_handlers=1, thread_scheduling="depth-first"
    )
    async with running(path) as it:
        await _backlog(it, 3)
        await it.runtime.resume("a")
        await it.idle()
    assert gates.passed == [f"{name} {number}" for number in range(3) for name in "abc"]


async def test_one_pipeline_finishes_a_thread_at_a_time_depth_first(tmp_path):
    path = organism(
        tmp_path, "a", "b", "c", handler="chain", max_concurrent_pipelines=1, thread_scheduling="depth-first"
    )
    async with running(path) as it:
        await _backlog(it, 5)
        await it.runtime.resume("a")
        await it.idle()
    assert gates.passed == [f"{name} {number}" for number in range(5) for name in "abc"]


# Bounded memory


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
async def test_a_small_window_delivers_a_long_queue_once_and_in_order(tmp_path, scheduling):
    path = organism(tmp_path, "a", "b", "c", handler="chain", limits={"window": 4}, thread_scheduling=scheduling)
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(path, storage) as it:
        first = await it.inject("a", "0")
        for number in range(1, 60):
            await it.inject("a", str(number), first.thread_id if number % 2 else None)
        await it.idle()
        log = await check_log(storage)
    for name in "abc":
        handled = [text.removeprefix(f"{name} ") for text in gates.passed if text.startswith(name)]
        assert sorted(handled, key=int) == [str(number) for number in range(60)]
        of_first = [text_of(each) for each in log if each.thread_id == first.thread_id and each.recipient == name]
        assert [each for each in handled if each in of_first] == of_first


async def test_what_is_not_in_memory_survives_a_restart(tmp_path):
    path = organism(tmp_path, "a", limits={"window": 2})
    async with running(path, SqliteStorage(tmp_path / "organism.db")) as it:
        await it.inject_all("a", [str(number) for number in range(20)])
        await until(lambda: gates.running["work"] > 0)
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(path, storage) as it:
        gates.open("work")
        await it.idle()
        await check_log(storage)
    assert sorted(set(gates.passed)) == sorted(f"a {number}" for number in range(20))


# Reports


async def test_a_report_that_comes_twice_or_from_a_stranger_counts_once(tmp_path):
    async with running(organism(tmp_path, "a", "b")) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["work"])
        pump = it.runtime.pump
        incarnation = pump.agents["a"].keeper.incarnation
        outcome = Outcome(accepted.seq, "a", "done")
        await pump.report(Report("a stranger", [outcome], {"a": 1, "nobody": 3}))
        assert (await it.thread(accepted)).status == "active"
        twice = Report(incarnation, [outcome, outcome], {})
        await asyncio.gather(pump.report(twice), pump.report(twice))
        await pump.report(twice)
        await pump.report(Report(incarnation, [Outcome(99, "a", "done"), Outcome(1, "nobody", "done")], {}))
        assert (await it.thread(accepted)).status == "completed"
        assert it.agent("a")["handled"] == 1
        gates.open("work")
        await check_log(it.storage)


# While the storage fails


async def test_injects_are_refused_while_the_storage_fails_and_outcomes_are_kept(tmp_path):
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a"), storage) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["work"])
        storage.failing = "disk full"
        gates.open("work")
        for _ in range(3):
            with pytest.raises(StorageUnavailable, match="disk full"):
                await it.inject("a", "y")
        await until(lambda: gates.running["work"] == 0)
        storage.failing = None
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"
        await it.inject("a", "z")
        await it.idle()
        assert [text_of(each) for each in await check_log(storage)] == ["x", "z"]
    assert gates.passed == ["a x", "a z"]


async def test_an_inject_into_a_known_thread_is_refused_too(tmp_path):
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a", handler="quick"), storage) as it:
        accepted = await it.inject("a", "x")
        await it.idle()
        storage.failing = "disk full"
        for _ in range(2):  # the second time the thread is not in memory any more
            with pytest.raises(StorageUnavailable):
                await it.inject("a", "y", accepted.thread_id)
        storage.failing = None
        await it.inject("a", "z", accepted.thread_id)
        await it.idle()
        assert [(each.slot_index, text_of(each)) for each in await check_log(storage)] == [(0, "x"), (1, "z")]


async def test_control_verbs_say_so_while_the_storage_fails_and_change_nothing(tmp_path):
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a"), storage) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["work"])
        storage.failing = "disk full"
        gates.open("work")
        await until(lambda: gates.running["work"] == 0)
        async with asyncio.timeout(5):
            for verb in (it.runtime.pause("a"), it.runtime.resume("a"), it.runtime.kill_thread(accepted.thread_id)):
                with pytest.raises(StorageUnavailable):
                    await verb
            for read in (it.runtime.snapshot(), it.runtime.ping(), it.runtime.thread(accepted.thread_id)):
                with pytest.raises(StorageUnavailable):
                    await read
        assert not it.agent("a")["paused"]
        storage.failing = None
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"


async def test_commits_that_build_on_a_failed_one_are_undone_with_it(tmp_path, monkeypatch):
    """The first of two commits fails while the second is filled already."""
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a", handler="quick"), storage) as it:
        known = await it.inject("a", "known")
        await it.idle()
        held = asyncio.Event()
        commit = storage.commit

        async def held_commit(_: object) -> None:
            monkeypatch.setattr(storage, "commit", commit)
            await held.wait()
            raise StorageUnavailable("disk full")

        monkeypatch.setattr(storage, "commit", held_commit)
        first = asyncio.create_task(it.inject("a", "first", known.thread_id))
        await until(lambda: storage.commit == commit)
        second = asyncio.create_task(it.inject("a", "second", known.thread_id))
        third = asyncio.create_task(it.inject("a", "third"))
        await asyncio.sleep(0)
        held.set()
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        assert [type(each) for each in results] == [StorageUnavailable] * 3
        await it.inject("a", "again", known.thread_id)
        await it.idle()
        assert [text_of(each) for each in await check_log(storage)] == ["known", "again"]


async def test_what_waits_in_the_log_is_read_when_the_storage_works_again(tmp_path):
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a", limits={"window": 2}), storage) as it:
        await it.inject_all("a", [str(number) for number in range(10)])
        await until(lambda: gates.running["work"] >= 2)
        storage.failing = "disk full"
        gates.open("work")
        await until(lambda: gates.running["work"] == 0)
        storage.failing = None
        await it.idle()
        await check_log(storage)
    assert sorted(gates.passed) == [f"a {number}" for number in range(10)]


async def test_many_injects_at_once_share_commits(tmp_path):
    storage = MemoryStorage()
    async with running(organism(tmp_path, "a", handler="quick"), storage) as it:
        before = storage.commits
        await asyncio.gather(*(it.inject("a", str(number)) for number in range(200)))
        assert storage.commits - before < 20
        await it.idle()
        await check_log(storage)


async def test_a_caller_who_went_away_disturbs_nobody(tmp_path):
    async with running(organism(tmp_path, "a", handler="quick")) as it:
        leaving = asyncio.create_task(it.inject("a", "x"))
        await asyncio.sleep(0)
        leaving.cancel()
        await it.inject("a", "y")
        await it.idle()
        await check_log(it.storage)
