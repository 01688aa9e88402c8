"""Cells that die: what they had is done again, who killed them is found, and restarts have an end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from handler_gates import gates
from organism_folder import Running, check_log, listener, running, text_of, until, write_organism

from organism import keeper as keeper_module
from organism.storage.sqlite import SqliteStorage

WORK = """
async def work(payload: Ping, context: Context):
    gates.note(f"{context.own_name} {payload.text}")
    if payload.text == "poison":
        await gates.at("poison")
    else:
        await gates.at("work")
    return Reply(Pong(text="done"))
"""
QUICK: dict[str, Any] = {"restart_delay_s": 0.001, "max_restart_delay_s": 0.01, "max_restarts": 100}


def organism(
    folder: Path, *listeners: dict[str, Any], supervision: dict[str, Any] | None = None, **config: Any
) -> Path:
    used = listeners or [listener("a", "work"), listener("b", "work")]
    return write_organism(folder / "organism", WORK, *used, supervision=QUICK | (supervision or {}), **config)


async def die(it: Running, name: str, reason: str = "kill -9") -> None:
    """Ends the cell and waits until the pump has taken back what was in it."""
    keeper = it.runtime.pump.agents[name].keeper
    incarnation = keeper.incarnation
    await it.cell(name).die(reason)
    await until(lambda: keeper.incarnation != incarnation and keeper.is_up)


async def poison_until_dead(it: Running, name: str) -> int:
    """Kills the cell whenever it runs the poison, until that is a dead letter; returns how often."""
    deaths = 0
    while not await it.dead_letters():
        if gates.running["poison"]:
            await die(it, name)
            deaths += 1
        await asyncio.sleep(0.002)
    return deaths


async def test_what_a_dead_cell_had_is_done_by_the_next_one(tmp_path):
    async with running(organism(tmp_path)) as it:
        it.watch()
        accepted = await it.inject_all("a", [str(number) for number in range(10)])
        await until(lambda: gates.running["work"] == 10)
        await die(it, "a")
        await until(lambda: gates.running["work"] == 10)
        gates.open("work")
        await it.idle()
        log = await check_log(it.storage)
        assert len(log) == 2 * len(accepted)
        assert (it.agent("a")["restarts"], it.agent("a")["state"], it.agent("b")["restarts"]) == (1, "idle", 0)
        [error] = [each.value for each in it.events() if each.kind == "error"]
        assert error["agent"] == "a"
        assert "kill -9" in error["error"]
    assert len(gates.passed) == 20


async def test_an_outcome_of_a_dead_cell_that_was_not_committed_does_not_count(tmp_path):
    async with running(organism(tmp_path)) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["work"])
        gates.open("work")
        await it.cell("a").die("kill -9")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>a:x", "a>console:done"]
        await check_log(it.storage)


async def test_the_order_of_a_thread_survives_deaths(tmp_path):
    async with running(organism(tmp_path)) as it:
        first = await it.inject("a", "0")
        await it.inject_all("a", ["1", "2"], first.thread_id)
        await until(lambda: gates.running["work"])
        await die(it, "a")
        gates.open("work")
        await it.idle()
        await check_log(it.storage)
    assert gates.passed == ["a 0", "a 0", "a 1", "a 2"]


@pytest.mark.parametrize("max_deaths", [1, 2, 3])
async def test_a_poison_message_ends_as_a_dead_letter_and_its_neighbours_live(tmp_path, monkeypatch, max_deaths):
    monkeypatch.setattr(keeper_module, "PROBE_S", 30)  # a suspect goes alone until it ends, in this test
    path = organism(tmp_path, supervision={"max_deaths": max_deaths})
    async with running(path) as it:
        for number in range(8):
            await it.inject("a", "poison" if number == 3 else str(number))
        deaths = max(1, max_deaths - 1)  # so many in company, when nobody knows yet who it was
        for _ in range(deaths):
            await until(lambda: (gates.running["work"], gates.running["poison"]) == (7, 1))
            await die(it, "a")
        gates.open("work")
        deaths += await poison_until_dead(it, "a")
        await it.idle()
        [letter] = await it.dead_letters()
        assert text_of(letter.message) == "poison"
        assert letter.attempts == deaths >= max_deaths
        assert "died with it" in letter.reason
        log = await check_log(it.storage)
        assert sum(each.fate == "dead" for each in log) == 1
        assert sum(each.recipient == "console" for each in log) == 7
        assert (await it.thread_of(letter.message)).status == "error"
        await it.inject("a", "after")
        await it.idle()


async def test_a_requeued_poison_message_begins_at_no_deaths(tmp_path):
    async with running(organism(tmp_path, supervision={"max_deaths": 1})) as it:
        accepted = await it.inject("a", "poison")
        await until(lambda: gates.running["poison"])
        await die(it, "a")
        await until(it.dead_letters)
        gates.open("poison")
        await it.runtime.requeue(accepted.message_id)
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"


async def test_deaths_are_remembered_over_a_restart(tmp_path):
    path = organism(tmp_path, supervision={"max_deaths": 2})
    async with running(path, SqliteStorage(tmp_path / "organism.db")) as it:
        await it.inject("a", "poison")
        await until(lambda: gates.running["poison"])
        await die(it, "a")
        await until(lambda: gates.running["poison"])
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(path, storage) as it:
        await until(lambda: gates.running["poison"])
        await die(it, "a")
        [letter] = await until(it.dead_letters)
        assert letter.attempts == 2
        await it.idle()
        await check_log(storage)


async def test_a_suspect_that_does_not_kill_its_cell_gets_company_again(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper_module, "PROBE_S", 0.05)
    async with running(organism(tmp_path, supervision={"max_deaths": 2})) as it:
        await it.inject("a", "poison")
        await until(lambda: gates.running["poison"])
        await die(it, "a")
        await until(lambda: gates.running["poison"])
        await it.inject("a", "neighbour")
        await until(lambda: gates.running["work"] == 1)
        assert gates.running["poison"] == 1
        gates.open("poison")
        gates.open("work")
        await it.idle()


async def test_a_suspect_in_a_shared_cell_waits_for_it_to_be_empty_and_then_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper_module, "PROBE_S", 30)
    path = organism(tmp_path, isolation="shared", shared_cells=1, supervision={"max_deaths": 2})
    async with running(path) as it:
        poison = await it.inject("a", "poison")
        await until(lambda: gates.running["poison"])
        await it.runtime.pause("a")
        await die(it, "a")
        for number in range(3):
            await it.inject("b", str(number))
        await until(lambda: gates.running["work"] == 3)
        await it.runtime.resume("a")
        await it.inject("b", "later")
        assert (gates.running["poison"], gates.running["work"]) == (0, 3)
        gates.open("work")
        await until(lambda: gates.running["poison"] == 1)
        await it.inject("b", "last")
        assert "b last" not in gates.passed
        gates.open("poison")
        await it.idle()
        assert (await it.thread(poison)).status == "completed"
        await check_log(it.storage)
    assert gates.passed.count("a poison") == 2
    assert gates.passed.count("b later") == gates.passed.count("b last") == 1


async def test_too_many_deaths_put_the_agent_into_error_until_it_is_resumed(tmp_path):
    async with running(organism(tmp_path, supervision={"max_restarts": 2, "max_deaths": 100})) as it:
        it.watch()
        accepted = await it.inject("a", "x")
        for _ in range(3):
            await until(lambda: gates.running["work"])
            await it.cell("a").die("kill -9")
        await until(lambda: it.agent("a")["state"] == "error")
        assert "died too often" in it.agent("a")["error"]
        assert "Resume the agent" in it.agent("a")["error"]
        await it.inject("a", "y")
        assert it.agent("a")["queue_depth"] == 2
        assert it.agent("b")["state"] == "idle"
        gates.open("work")
        assert (await it.runtime.resume("a"))["error"] is None
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"
        assert it.agent("a")["restarts"] == 3
        await check_log(it.storage)


async def test_a_handler_that_cannot_be_loaded_is_tried_again_when_the_agent_is_resumed(tmp_path):
    path = organism(tmp_path, supervision={"max_restarts": 0})
    handlers = path.parent / "handlers.py"
    working = handlers.read_text()
    handlers.write_text(f"if gates_are_missing:\n    pass\n{working}")
    async with running(path) as it:
        await until(lambda: it.agent("a")["state"] == "error")
        assert "handlers.py:1: NameError" in it.agent("a")["error"]
        handlers.write_text(working)
        gates.open("work")
        await it.runtime.reload()
        await it.inject("a", "x")
        await it.idle()
        assert it.agent("a")["state"] == "idle"


async def test_a_cell_that_does_not_answer_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper_module, "PING_INTERVAL_S", 0.01)
    monkeypatch.setattr(keeper_module, "PING_GRACE_S", 0.01)
    path = organism(tmp_path, listener("a", "work", timeout_s=0.05))
    async with running(path) as it:
        await until(lambda: it.runtime.pump.agents["a"].keeper.is_up)
        cell = it.cell("a")

        async def hang() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(cell, "ping", hang)
        await until(lambda: cell.is_dead)
        gates.open("work")
        await it.inject("a", "x")
        await it.idle()
        assert it.agent("a")["restarts"] == 1


async def test_an_error_in_the_delivery_ends_the_pump_instead_of_going_unseen(tmp_path, monkeypatch):
    failures: list[BaseException] = []
    async with running(organism(tmp_path)) as it:
        it.runtime._tasks._on_failure = failures.append

        async def broken(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(it.runtime._roster, "deliveries", broken)
        await it.inject("a", "x")
        await until(lambda: failures)
    assert isinstance(failures[0], ZeroDivisionError)
