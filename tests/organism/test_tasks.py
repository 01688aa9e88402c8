"""Background tasks with an owner."""

from __future__ import annotations

import asyncio

import pytest

from organism.tasks import Tasks


async def fail() -> None:
    raise ValueError("it broke")


async def test_an_error_in_a_task_is_told():
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    await asyncio.gather(tasks.spawn(fail(), "fails"), return_exceptions=True)
    await asyncio.sleep(0)
    assert [str(each) for each in failures] == ["it broke"]


async def test_closing_cancels_what_runs_and_leaves_nothing_behind():
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    endless = tasks.spawn(asyncio.Event().wait(), "endless")
    await asyncio.sleep(0)
    await tasks.close()
    assert endless.cancelled()
    assert failures == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_gives_its_result_to_who_awaits_it():
    tasks = Tasks(pytest.fail)
    assert await tasks.spawn(asyncio.sleep(0, "done"), "quick") == "done"
