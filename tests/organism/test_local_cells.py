"""Cells in this process, and a pump that ends without them: the next one finds them again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from handler_gates import gates
from organism_folder import check_log, listener, text_of, until, write_organism

from organism import runtime as runtime_module
from organism.local_cells import LocalCells
from organism.messages import Accepted, Inject, Message
from organism.runtime import Runtime, start_runtime
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.wire import CellDied, CellRef, Outcome, PumpLink, Report

WORK = """
async def work(payload: Ping, context: Context):
    gates.note(payload.text)
    await gates.at(payload.text)
    return Reply(Pong(text=payload.text + " done"))
"""


class Relay:
    """The cells' way to whichever pump there is; a call that no pump answered is made again to the next."""

    def __init__(self) -> None:
        self.link: PumpLink | None = None
        self.reports = 0
        self._changed = asyncio.Event()

    def connect(self, link: PumpLink | None) -> None:
        self.link = link
        self._changed.set()
        self._changed = asyncio.Event()

    async def report(self, report: Report) -> None:
        while True:
            changed = asyncio.create_task(self._changed.wait())
            tasks = {changed}
            if self.link is not None:
                self.reports += 1
                tasks.add(asyncio.create_task(self.link.report(report)))  # type: ignore[arg-type]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
            if done - {changed}:
                return

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        assert self.link is not None
        return await self.link.history(thread_id, until_slot, limit)


class Machine:
    """Where cells live on when the pump is gone."""

    def __init__(self, path: Any) -> None:
        self.path = path
        self.relay = Relay()
        self.cells = LocalCells(self.relay)
        self.storage = MemoryStorage()
        self.session_storage = MemorySessionStorage()
        self.failures: list[BaseException] = []

    async def start(self, *, resume: bool) -> Runtime:
        def host(link: PumpLink) -> LocalCells:
            self.relay.connect(link)
            return self.cells

        return await start_runtime(
            self.path,
            host,
            storage=self.storage,
            session_storage=self.session_storage,
            resume=resume,
            on_failure=self.failures.append,
        )

    async def crash(self, runtime: Runtime) -> None:
        """The pump's process is gone, and nothing else."""
        self.relay.connect(None)
        await runtime._tasks.close()

    async def idle(self, runtime: Runtime) -> None:
        async def is_idle() -> bool:
            return not (await self.storage.totals()).queued

        await until(is_idle)
        assert self.failures == []


@pytest.fixture
def machine(tmp_path) -> Machine:
    gates.reset()
    return Machine(write_organism(tmp_path / "organism", WORK, listener("a", "work"), listener("b", "work")))


async def inject(runtime: Runtime, name: str, text: str) -> Accepted:
    [accepted] = await runtime.submit([Inject(name, "Ping", b'{"text":"%s"}' % text.encode())])
    assert isinstance(accepted, Accepted)
    return accepted


async def test_a_pump_that_comes_back_finds_its_cells_and_lets_their_handlers_finish(machine):
    first = await machine.start(resume=False)
    for text in ("x", "y"):
        await inject(first, "a", text)
    await until(lambda: gates.running["x"] and gates.running["y"])
    await machine.crash(first)
    second = await machine.start(resume=True)
    await until(lambda: second.pump.agents["a"].keeper.is_up)
    assert second.pump.agents["a"].keeper.incarnation == first.pump.agents["a"].keeper.incarnation
    gates.open("x")
    gates.open("y")
    await machine.idle(second)
    log = await check_log(machine.storage)
    assert [text_of(each) for each in log] == ["x", "y", "x done", "y done"]
    assert sorted(gates.passed) == ["x", "y"]
    await second.close()


async def test_what_was_done_while_there_was_no_pump_is_reported_to_the_next(machine, monkeypatch):
    first = await machine.start(resume=False)
    await inject(first, "a", "x")
    await until(lambda: gates.running["x"])
    await machine.crash(first)
    gates.open("x")
    await until(lambda: gates.running["x"] == 0)
    find, before = machine.cells.find, machine.relay.reports

    async def find_late(name: str) -> CellRef | None:
        """The cell is quicker with its report than the pump with finding it."""
        await until(lambda: machine.relay.reports > before)
        for _ in range(100):
            await asyncio.sleep(0)
        return await find(name)

    monkeypatch.setattr(machine.cells, "find", find_late)
    second = await machine.start(resume=True)
    await machine.idle(second)
    assert gates.passed == ["x"]
    assert [text_of(each) for each in await check_log(machine.storage)] == ["x", "x done"]
    await second.close()


async def test_a_cell_of_another_definition_is_not_taken_over(machine):
    first = await machine.start(resume=False)
    await inject(first, "a", "x")
    await until(lambda: gates.running["x"])
    await machine.crash(first)
    old = machine.cells.cells["agent:a"]
    old._cell.spec = _other_definition(old._cell.spec)
    gates.open("x")
    second = await machine.start(resume=True)
    await machine.idle(second)
    assert old.is_dead
    assert not machine.cells.cells["agent:b"].is_dead
    assert [text_of(each) for each in await check_log(machine.storage)] == ["x", "x done"]
    await second.close()


def _other_definition(spec: Any) -> Any:
    return type(spec)(**{name: getattr(spec, name) for name in spec.__slots__} | {"definition": "other"})


async def test_the_report_of_a_cell_that_is_never_found_again_is_dropped(machine, monkeypatch):
    monkeypatch.setattr(runtime_module, "FIND_TIMEOUT_S", 0.05)
    runtime = await machine.start(resume=False)
    await runtime.desk.report(Report("gone", [Outcome(1, "a", "done")], {}))
    await runtime.close()


async def test_every_call_to_a_dead_cell_says_that_it_died(machine):
    runtime = await machine.start(resume=False)
    await until(lambda: runtime.pump.agents["a"].keeper.is_up)
    cell = machine.cells.cells["agent:a"]
    await cell.die("kill -9")
    await cell.die("again")
    for call in (cell.attach(), cell.deliver([]), cell.cancel([]), cell.ping()):
        with pytest.raises(CellDied, match="agent:a died: kill -9"):
            await call
    assert await cell.wait_died() == "kill -9"
    await runtime.close()
    assert await machine.cells.find("agent:a") is None
