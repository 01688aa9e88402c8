"""Random work under random faults on one log, which is checked as a whole afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from handler_gates import gates
from organism_folder import Running, check_log, listener, running, write_organism
from soak_plan import NAMES, STRANGER, planned_outputs

from organism import pump as pump_module
from organism import roster as roster_module
from organism.errors import Refused, StorageUnavailable
from organism.messages import Accepted, Inject, Message
from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sqlite import SqliteStorage

HANDLERS = """
from soak_plan import planned_outputs

class Job(Payload):
    depth: int
    seed: int
    parent: str = ""
    index: int = 0

async def work(payload: Job | SystemError, context: Context):
    if isinstance(payload, SystemError):
        return None
    gates.note(f"{context.thread_id} {context.own_name} {context._slot_index}")
    place = f"{context.thread_id} {context.own_name}"
    gates.running[place] += 1
    gates.peaks[place] = max(gates.peaks[place], gates.running[place])
    context.state["count"] = context.state.get("count", 0) + 1
    try:
        await gates.trouble()
    finally:
        gates.running[place] -= 1
    outputs = []
    for index, (to, depth, seed) in enumerate(planned_outputs(context.own_name, payload.depth, payload.seed)):
        job = Job(depth=depth, seed=seed, parent=context.message_id, index=index)
        outputs.append(Reply(job) if to is None else Send(job, to=to))
    return outputs
"""


def write(tmp_path: Path, version: int, random: Random) -> Path:
    """The organism; another version changes one listener and, now and then, its limits."""
    listeners = [
        listener(
            name,
            "work",
            "Job",
            description=f"version {version}" if random.random() < 0.3 else "",
            retry={"attempts": 1 + index % 2, "delay_s": 0.001},
            isolation="shared" if index > 2 else "actor",
            max_concurrent=8,
        )
        for index, name in enumerate(NAMES)
    ]
    return write_organism(
        tmp_path / "organism",
        HANDLERS,
        *listeners,
        thread_scheduling=random.choice(["breadth-first", "depth-first"]),
        max_concurrent_handlers=random.choice([None, 12]),
        max_concurrent_pipelines=random.choice([None, 10]),
        limits={"window": random.choice([4, 16, 1000])},
        supervision={"restart_delay_s": 0.001, "max_restart_delay_s": 0.005, "max_restarts": 10_000, "max_deaths": 4},
    )


class Soak:
    """One organism under load. accepted: ids of injects that were acknowledged."""

    def __init__(self, it: Running, tmp_path: Path, random: Random) -> None:
        self.it = it
        self.random = random
        self.tmp_path = tmp_path
        self.accepted: list[Accepted] = []
        self.killed: set[str] = set()
        self.requeued: set[str] = set()
        self.version = 0

    async def inject(self) -> None:
        """A few at once, some of them into threads that exist."""
        injects = []
        for _ in range(self.random.randrange(1, 6)):
            thread_id = self.random.choice(self.accepted).thread_id if self.accepted and self._chance(0.3) else None
            payload = orjson.dumps({"depth": self.random.randrange(0, 4), "seed": self.random.randrange(1_000_000)})
            injects.append(Inject(self.random.choice(NAMES), "Job", payload, thread_id))
        results = await self.it.runtime.submit(injects)
        for result in results:
            if isinstance(result, Accepted):
                self.accepted.append(result)
            else:
                assert isinstance(result, Refused | StorageUnavailable)

    async def kill_cell(self) -> None:
        living = [cell for cell in self.it.cells.cells.values() if not cell.is_dead]
        if living:
            await self.random.choice(living).die("kill -9")

    async def kill_thread(self) -> None:
        if self.accepted and self._chance(0.3):
            thread_id = self.random.choice(self.accepted).thread_id
            await self.it.runtime.kill_thread(thread_id)
            self.killed.add(thread_id)

    async def pause_or_resume(self) -> None:
        verb = self.it.runtime.pause if self._chance(0.3) else self.it.runtime.resume
        await verb(self.random.choice(NAMES))

    async def reload(self) -> None:
        self.version += 1
        write(self.tmp_path, self.version, self.random)
        await self.it.runtime.reload()

    async def requeue(self) -> None:
        letters = await self.it.dead_letters()
        if letters:
            message = self.random.choice(letters).message
            self.requeued.add(message.id)
            with contextlib.suppress(Refused):
                await self.it.runtime.requeue(message.id)

    async def fail_storage(self) -> None:
        if isinstance(self.it.storage, MemoryStorage):
            self.it.storage.failing = None if self.it.storage.failing else "disk full"

    async def run(self, turns: int) -> None:
        rare = [self.kill_cell, self.kill_cell, self.kill_thread, self.pause_or_resume, self.requeue, self.fail_storage]
        for turn in range(turns):
            await self.inject()
            await asyncio.sleep(self.random.random() * 0.003)
            with contextlib.suppress(StorageUnavailable):
                if turn % 3 == 2:
                    await self.random.choice(rare)()
                if turn % 40 == 39:
                    await self.reload()
        if isinstance(self.it.storage, MemoryStorage):
            self.it.storage.failing = None

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability


def trouble(random: Random) -> Callable[[], Awaitable[None]]:
    """What happens in handlers: some take a while, some fail."""

    async def happens() -> None:
        if random.random() < 0.5:
            await asyncio.sleep(random.random() * 0.002)
        if random.random() < 0.05:
            raise random.choice([ValueError, SystemExit, asyncio.CancelledError])("trouble")

    return happens


@asynccontextmanager
async def organism(path: Path, storage: Storage, happens: Any, notes: list[str]) -> AsyncIterator[Running]:
    """Keeps what handlers noted over restarts; the peaks of what ran at once are checked."""
    async with running(path, storage) as it:
        gates.trouble = happens  # type: ignore[attr-defined]
        yield it
    notes += gates.passed
    assert set(gates.peaks.values()) <= {0, 1}, "two messages of a thread were in one listener at a time"


async def quiet() -> None:
    pass


@pytest.fixture(params=["sqlite", "memory"])
def reopened(request, tmp_path) -> Callable[[], Storage]:
    """Opens the same log each time; the one in memory fails now and then."""
    if request.param == "sqlite":
        return lambda: SqliteStorage(tmp_path / "organism.db")
    storage = MemoryStorage()
    return lambda: storage


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_the_log_is_whole(tmp_path, reopened, seed, monkeypatch):
    monkeypatch.setattr(pump_module, "STORAGE_RETRY_S", 0.002)
    monkeypatch.setattr(roster_module, "STORAGE_RETRY_S", 0.002)
    random = Random(seed)
    notes: list[str] = []
    accepted: list[Accepted] = []
    killed: set[str] = set()
    requeued: set[str] = set()
    for life in range(3):
        path = write(tmp_path, life, random)
        async with organism(path, reopened(), trouble(random), notes) as it:
            soak = Soak(it, tmp_path, random)
            soak.accepted, soak.killed, soak.requeued = accepted, killed, requeued
            await soak.run(60)
            if life == 1:
                await it.runtime.stop()
                await it.runtime.wait_stopped()
    async with organism(path, storage := reopened(), quiet, notes) as it:
        for name in NAMES:
            await it.runtime.resume(name)
        await it.idle(timeout_s=60)
        log = await check_log(storage)
        threads = await storage.threads_by_id([message.thread_id for message in log])
    _check_injects(log, accepted)
    _check_outputs(log)
    _check_order(log, notes, requeued)
    assert {thread.id for thread in threads.values() if thread.status == "killed"} == killed
    dropped = {message.thread_id for message in log if message.fate == "dropped"}
    assert dropped <= killed


def _check_injects(log: list[Message], accepted: list[Accepted]) -> None:
    """Each acknowledged message is in the log as it was acknowledged, and no other came from outside."""
    by_id = {message.id: message for message in log if message.sender == "console"}
    assert {(each.message_id, each.seq, each.thread_id) for each in accepted} == {
        (message.id, message.seq, message.thread_id) for message in by_id.values()
    }


def _check_outputs(log: list[Message]) -> None:
    """What was done has all its outputs in the log exactly once, what was not done has none."""
    children: dict[str, Counter[int]] = defaultdict(Counter)
    errors: Counter[str] = Counter()
    for message in log:
        if message.sender == "system":
            errors[message.thread_id] += 1
        elif message.sender != "console":
            job = orjson.loads(message.payload)
            children[job["parent"]][job["index"]] += 1
    expected_errors: Counter[str] = Counter()
    for message in log:
        if message.recipient == "console" or message.payload_type != "Job" or message.fate is not None:
            assert message.id not in children
            continue
        job = orjson.loads(message.payload)
        planned = planned_outputs(message.recipient, job["depth"], job["seed"])
        sent = {index: 1 for index, output in enumerate(planned) if output.to != STRANGER}
        assert children.get(message.id, {}) == sent
        expected_errors[message.thread_id] += len(planned) - len(sent)
    assert errors == expected_errors


def _check_order(log: list[Message], notes: list[str], requeued: set[str]) -> None:
    """In each thread each listener began its messages in log order, however often they were delivered again."""
    exempt = {(message.thread_id, message.slot_index) for message in log if message.id in requeued}
    latest: dict[tuple[str, str], int] = {}
    for note in notes:
        thread_id, name, slot = note.split()
        if (thread_id, int(slot)) not in exempt:
            assert latest.get((thread_id, name), -1) <= int(slot)
            latest[thread_id, name] = int(slot)
