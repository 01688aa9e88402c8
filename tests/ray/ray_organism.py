"""An organism on a real Ray, for tests that kill what belongs to it, and a load that goes on meanwhile."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import yaml

from organism.config import StorageSection
from organism.errors import OrganismError, OrganismUnreachable, StorageUnavailable
from organism.messages import Accepted, DeadLetter, Inject
from organism.ray_actors import RayOrganism, shut_down, start_pump
from tests.ray.launched import command_of, pids_marked

SOON_S = 30.0

HANDLERS = """\
import asyncio, os, signal, time
from organism import Context, Payload, Reply, Send

class Step(Payload):
    text: str = ""

async def first(payload: Step, context: Context) -> Send:
    return Send(payload, to="second")

async def second(payload: Step, context: Context) -> Send:
    return Send(payload, to="last")

async def last(payload: Step, context: Context) -> None:
    return None
"""


def listener(name: str, *peers: str, **fields: Any) -> dict[str, Any]:
    """A listener of handlers.py, whose handler has its name."""
    return {"name": name, "payload_class": "handlers.Step", "handler": f"handlers.{name}", "peers": [*peers], **fields}


CHAIN = (listener("first", "second"), listener("second", "last"), listener("last"))
"""Each message to `first` becomes one to `second`, and that one to `last`."""

RELAYS = ("first", "second")


def write_organism(
    folder: Path,
    *listeners: dict[str, Any],
    handlers: str = "",
    chain: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """The chain and further listeners, whose handlers come behind those of the chain; returns organism.yaml.

    chain: fields of the chain's listeners.
    """
    folder.mkdir(exist_ok=True)
    (folder / "handlers.py").write_text(HANDLERS + handlers)
    whole = {
        "organism": {"name": "test"},
        "listeners": [*({**each, **(chain or {})} for each in CHAIN), *listeners],
        **config,
    }
    path = folder / "organism.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


def inject(recipient: str, text: str = "", thread_id: str | None = None) -> Inject:
    return Inject(recipient, "Step", orjson.dumps({"text": text}), thread_id)


async def until(holds: Callable[[], Any], what: str, within_s: float = SOON_S) -> Any:
    """Waits until what `holds` returns (or returns when awaited) is true; returns it."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = holds()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


class OnRay:
    """A running organism. `mark` is in the environment of every process of its Ray (see launched.py)."""

    def __init__(self, path: Path, namespace: str, ref: RayOrganism, mark: str = "") -> None:
        self.path = path
        self.namespace = namespace
        self.ref = ref
        self._mark = mark

    @property
    def log(self) -> Path:
        return self.path.parent / StorageSection().path

    async def agent(self, name: str) -> dict[str, Any]:
        """As Snapshot.agents has it."""
        agents = (await self.patiently(self.ref.snapshot)).agents
        return next(each for each in agents if each["name"] == name)

    async def up(self, *names: str) -> None:
        """Waits until the cells of these agents run."""
        for name in names:
            await until(lambda name=name: self._pid(name), f"{name} is up")

    async def send(self, recipient: str, text: str = "", thread_id: str | None = None) -> Accepted:
        [answer] = await self.ref.submit([inject(recipient, text, thread_id)])
        if isinstance(answer, OrganismError):
            raise answer
        return answer

    async def idle(self, within_s: float = SOON_S) -> None:
        """Waits until no message waits for anybody, nor is being handled."""

        async def nothing_waits() -> bool:
            agents = (await self.patiently(self.ref.snapshot)).agents
            return not any(each["queue_depth"] or each["running"] for each in agents)

        await until(nothing_waits, "nothing waits", within_s)

    async def dead_letters(self) -> list[DeadLetter]:
        letters, _ = await self.patiently(self.ref.dead_letters, None, 1000, 0)
        return letters

    async def patiently(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Asks again while the pump or its storage does not answer."""
        while True:
            try:
                return await ask(*arguments)
            except (OrganismUnreachable, StorageUnavailable):
                await asyncio.sleep(0.05)

    async def kill_cell(self, name: str) -> int:
        """Kill -9 of the process that runs this agent's handlers, as soon as there is one; returns its pid."""
        pid = await until(lambda: self._pid(name), f"{name} is up")
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_pump(self) -> int:
        [pid] = self.pids("ray::PumpActor")
        os.kill(pid, signal.SIGKILL)
        return pid

    def pids(self, *words: str) -> list[int]:
        """The processes of this Ray whose command line holds all `words`."""
        return [pid for pid in pids_marked(self._mark) if all(word in command_of(pid) for word in words)]

    async def _pid(self, name: str) -> int | None:
        return (await self.agent(name))["pid"]


@asynccontextmanager
async def on_ray(path: Path, mark: str = "") -> AsyncIterator[OnRay]:
    """The organism of `path` in a namespace of its own, ended afterwards."""
    namespace = f"test-{uuid4().hex[:8]}"
    try:
        ref = await start_pump(path, namespace, StorageSection())
        yield OnRay(path, namespace, ref, mark)
    finally:
        await shut_down(namespace)


class Load:
    """Sends to the chain without end, in old threads and new ones, and sends again what was not accepted.

    accepted: what was answered so. unanswered: injects that nobody answered, which may be in the log or not.
    refused: injects that a storage in need refused, which are in no log.
    """

    SENDERS = 3
    BATCH = 20
    PAUSE_S = 0.02

    def __init__(self, ref: RayOrganism) -> None:
        self.accepted: list[Accepted] = []
        self.unanswered = 0
        self.refused = 0
        self._ref = ref
        self._goes_on = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Goes on inside this context, which begins when the first messages are accepted."""
        self._goes_on = True
        async with asyncio.TaskGroup() as senders:
            for number in range(self.SENDERS):
                senders.create_task(self._send(str(number)), name="sender")
            await self.some_more(1)
            yield
            await self.some_more()  # also what comes after a fault is accepted
            self._goes_on = False

    async def some_more(self, count: int = 200) -> None:
        """Waits until so many more injects are accepted."""
        wanted = len(self.accepted) + count
        await until(lambda: len(self.accepted) >= wanted, f"{count} more accepted")

    async def _send(self, sender: str) -> None:
        threads: list[str | None] = [None] * self.BATCH
        number = 0
        while self._goes_on:
            number += 1
            injects = [inject("first", f"{sender}.{number}.{index}", each) for index, each in enumerate(threads)]
            answers = await self._submit(injects)
            self.accepted.extend(answers)
            threads = [each.thread_id if number % 5 else None for each in answers]
            await asyncio.sleep(self.PAUSE_S)

    async def _submit(self, injects: list[Inject]) -> list[Accepted]:
        while True:
            try:
                answers = await self._ref.submit(injects)
            except OrganismUnreachable:
                self.unanswered += len(injects)
                await asyncio.sleep(0.05)
                continue
            if all(isinstance(each, Accepted) for each in answers):
                return [each for each in answers if isinstance(each, Accepted)]
            assert all(isinstance(each, StorageUnavailable) for each in answers), answers
            self.refused += len(injects)
            await asyncio.sleep(0.05)
