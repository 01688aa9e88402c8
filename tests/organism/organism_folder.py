"""An organism for a test: its folder, and the runtime of it in this process, with a check of the log at the end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import yaml
from handler_gates import gates

from organism.errors import OrganismError
from organism.local_cells import LocalCell, LocalCells
from organism.messages import Accepted, DeadLetter, Inject, Message
from organism.ref import Event
from organism.runtime import Runtime, open_runtime
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.base import MessageFilter, Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.threads import Thread
from organism.wire import PumpLink

IMPORTS = """\
import asyncio
from handler_gates import gates
from organism import Context, Payload, Reply, Send, SystemError

class Ping(Payload):
    text: str = ""

class Pong(Payload):
    text: str = ""

"""


def listener(name: str, handler: str | None = None, payload: str = "Ping", **fields: Any) -> dict[str, Any]:
    """A listener of handlers.py; its handler is named as itself, and takes a Ping."""
    function = handler or name.replace("-", "_")
    return {"name": name, "payload_class": f"handlers.{payload}", "handler": f"handlers.{function}", **fields}


def write_organism(folder: Path, handlers: str, *listeners: dict[str, Any], **config: Any) -> Path:
    """Writes organism.yaml and handlers.py, the latter after the usual imports; returns the path of the first."""
    folder.mkdir(exist_ok=True)
    (folder / "handlers.py").write_text(IMPORTS + handlers)
    whole = {"organism": {"name": "test"}, "listeners": list(listeners), **config}
    (folder / "organism.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    return folder / "organism.yaml"


async def until(holds: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """Waits until what `holds` returns (or returns when awaited) is true; returns it."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = holds()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.002)


class Running:
    """A runtime and what tests ask of it."""

    def __init__(self, runtime: Runtime, cells: LocalCells, storage: Storage) -> None:
        self.runtime = runtime
        self.cells = cells
        self.storage = storage

    def cell(self, name: str) -> LocalCell:
        """The present cell of a listener with `isolation: actor`."""
        return self.cells.cells[self.runtime.pump.agents[name].keeper.name]

    def agent(self, name: str) -> dict[str, Any]:
        return self.runtime.pump.agents[name].view()

    async def inject(
        self, recipient: str, text: str = "", thread_id: str | None = None, payload_type: str = "Ping"
    ) -> Accepted:
        """One message; an error of it is raised."""
        [result] = await self.runtime.submit([_inject(recipient, text, thread_id, payload_type)])
        if isinstance(result, OrganismError):
            raise result
        return result

    async def inject_all(self, recipient: str, texts: list[str], thread_id: str | None = None) -> list[Accepted]:
        """All in one call, each in a thread of its own when `thread_id` is None."""
        results = await self.runtime.submit([_inject(recipient, text, thread_id, "Ping") for text in texts])
        return [each for each in results if isinstance(each, Accepted)]

    async def idle(self, timeout_s: float = 15.0) -> None:
        """Waits until no message waits for anybody."""

        async def nothing_waits() -> bool:
            return not self.runtime.pump.dispatcher.in_flight and not (await self.storage.totals()).queued

        await until(nothing_waits, timeout_s)

    async def texts(self, thread_id: str) -> list[str]:
        """`sender>recipient:text` of each message of the thread."""
        found, _ = await self.runtime.messages(MessageFilter(threads=(thread_id,)), 1000)
        return [f"{each.sender}>{each.recipient}:{text_of(each)}" for each in found]

    async def thread(self, accepted: Accepted) -> Thread:
        return await self.runtime.thread(accepted.thread_id)

    async def thread_of(self, message: Message) -> Thread:
        return await self.runtime.thread(message.thread_id)

    async def dead_letters(self) -> list[DeadLetter]:
        letters, _ = await self.runtime.dead_letters(None, 1000, 0)
        return letters

    def events(self) -> list[Event]:
        """Since the test has called `watch`."""
        publisher = self.runtime.pump.publisher
        events, _ = publisher.since(publisher.incarnation, 0)
        return events

    def watch(self) -> None:
        self.runtime.pump.publisher.watch()


def text_of(message: Message) -> str:
    payload = orjson.loads(message.payload)
    return payload.get("text", payload.get("code", ""))


def _inject(recipient: str, text: str, thread_id: str | None, payload_type: str) -> Inject:
    return Inject(recipient, payload_type, orjson.dumps({"text": text}), thread_id)


@contextlib.asynccontextmanager
async def running(path: Path, storage: Storage | None = None, **options: Any) -> AsyncIterator[Running]:
    """The organism of `path` in this process. Afterwards no task of it is left, and none of them has failed."""
    gates.reset()
    tasks_before = asyncio.all_tasks()
    hosts: list[LocalCells] = []
    failures: list[BaseException] = []
    used = storage or MemoryStorage()
    options.setdefault("session_storage", MemorySessionStorage())
    options.setdefault("access_storage", MemoryAccessStorage())

    def host(pump: PumpLink) -> LocalCells:
        hosts.append(LocalCells(pump))
        return hosts[0]

    async with open_runtime(path, host=host, storage=used, on_failure=failures.append, **options) as runtime:
        yield Running(runtime, hosts[0], used)
        assert failures == []
    assert failures == []
    with contextlib.suppress(TimeoutError):
        await until(lambda: asyncio.all_tasks() <= tasks_before, timeout_s=5)
    assert asyncio.all_tasks() - tasks_before == set()


async def check_log(storage: Storage, *, is_idle: bool = True) -> list[Message]:
    """The whole log, after its rules were checked: seq and slot_index without gaps, threads that agree with it.

    is_idle: nothing waits any more, so every message that was ever queued is done or a dead letter.
    """
    log: list[Message] = []
    while page := await storage.message_page(MessageFilter(after_seq=len(log)), 1000):
        log.extend(page)
    assert [message.seq for message in log] == list(range(1, len(log) + 1))
    assert len({message.id for message in log}) == len(log)
    slots: dict[str, int] = {}
    for message in log:
        assert message.slot_index == slots.get(message.thread_id, 0)
        slots[message.thread_id] = message.slot_index + 1
    threads = await storage.threads_by_id(list(slots))
    assert {thread.id: thread.message_count for thread in threads.values()} == slots
    letters, total = await storage.dead_letters(None, 100_000, 0)
    assert {letter.message.seq for letter in letters} == {message.seq for message in log if message.fate == "dead"}
    assert len(letters) == total
    if is_idle:
        totals = await storage.totals()
        assert (totals.queued, totals.active_threads) == ({}, 0)
        assert all(thread.pending == 0 and thread.status != "active" for thread in threads.values())
    return log
