"""An organism with sessions for a test of its directory: cells that do as they are told, without an agent loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from organism.runtime import Runtime, open_runtime
from organism.sessions.events import AgentRunEnd, AgentRunStart, UserMessage, encode
from organism.sessions.wire import (
    Append,
    Loaded,
    SessionCellAttached,
    SessionCellRef,
    SessionCellSpec,
    SessionLink,
)
from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.wire import CellDied


class FakeCell:
    """Implements what the pump uses of SessionCellRef; `loaded` by session id. is_busy: it gives up nothing.
    survives: nobody can end it: as if the pump were killed, and could not."""

    def __init__(self, spec: SessionCellSpec, link: SessionLink) -> None:
        self.name, self.incarnation = spec.name, spec.incarnation
        self.spec, self.link = spec, link
        self.loaded: dict[str, Loaded] = {}
        self.dropped: list[str] = []
        self.is_busy = False
        self.survives = False
        self.is_retired = False
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def take(self, session_id: str) -> Loaded:
        loaded = self.loaded[session_id] = await self.link.load(session_id, self.incarnation)
        return loaded

    async def store(self, session_id: str, *events: Any, is_running: bool, begins_run: bool = False) -> Any:
        """One append of the session; returns the error that stands in its place."""
        loaded = self.loaded[session_id]
        seq = loaded.record.last_seq
        numbered = [each.model_copy(update={"seq": seq + index}) for index, each in enumerate(events, 1)]
        record = loaded.record.model_copy(update={"last_seq": seq + len(events), "is_running": is_running})
        frames = [encode(session_id, each) for each in numbered]
        [error] = await self.link.append([Append(record, loaded.lease, frames, begins_run)])
        if error is None:
            self.loaded[session_id] = loaded._replace(record=record)
        return error

    async def begin(self, session_id: str) -> Any:
        start = AgentRunStart(session_id=session_id, run_options={})
        return await self.store(session_id, UserMessage(content="?"), start, is_running=True, begins_run=True)

    async def end(self, session_id: str) -> Any:
        end = AgentRunEnd(session_id=session_id, iterations=1, elapsed_ms=1, status="idle")
        return await self.store(session_id, end, is_running=False)

    async def attach(self) -> SessionCellAttached:
        held = {session_id: loaded.lease for session_id, loaded in self.loaded.items()}
        return SessionCellAttached(self.incarnation, self.spec.definition, held, 4711)

    async def passivate(self, session_id: str) -> bool:
        if self.is_busy or session_id not in self.loaded:
            return False
        await self.link.release(session_id, self.loaded.pop(session_id).lease)
        return True

    async def drop(self, session_id: str) -> None:
        self.dropped.append(session_id)
        self.loaded.pop(session_id, None)

    async def retire(self) -> None:
        self.is_retired = True
        for session_id, loaded in list(self.loaded.items()):
            if not loaded.record.is_running:
                await self.passivate(session_id)

    async def ping(self) -> None:
        if self.died.done():
            raise CellDied(self.name, self.died.result())

    async def wait_died(self) -> str:
        return await asyncio.shield(self.died)

    async def kill(self) -> None:
        if not self.survives:
            self.die("killed")

    def die(self, reason: str) -> None:
        if not self.died.done():
            self.died.set_result(reason)


class FakeCells:
    """Implements SessionCellHost. `all`: every cell there ever was; they outlive the pump that started them."""

    def __init__(self) -> None:
        self.all: list[FakeCell] = []
        self.link: Any = None
        self.may_start = asyncio.Event()
        self.may_start.set()

    def of(self, link: SessionLink) -> FakeCells:
        self.link = link
        for cell in self.alive:
            cell.link = link
        return self

    @property
    def alive(self) -> list[FakeCell]:
        return [cell for cell in self.all if not cell.died.done()]

    def named(self, name: str) -> FakeCell:
        [cell] = [cell for cell in self.alive if cell.name == name]
        return cell

    async def start(self, spec: SessionCellSpec) -> SessionCellRef:
        await self.may_start.wait()
        cell = FakeCell(spec, self.link)
        self.all.append(cell)
        return cell  # type: ignore[return-value]  # the pump uses no more of it

    async def found(self) -> list[SessionCellRef]:
        return list(self.alive)  # type: ignore[arg-type]


def write_sessions(folder: Path, isolation: str = "shared", models: tuple[str, ...] = ("a",), **sessions: Any) -> Path:
    folder.mkdir(exist_ok=True)
    whole = {
        "organism": {"name": "test"},
        "sessions": {"isolation": isolation, **sessions},
        "llm": {"backends": [{"name": "fake", "provider": "scripted", "models": list(models)}]},
        "supervision": {"restart_delay_s": 0.01, "drain_timeout_s": 0.2},
    }
    (folder / "organism.yaml").write_text(yaml.safe_dump(whole))
    return folder / "organism.yaml"


@contextlib.asynccontextmanager
async def directory_of(
    path: Path,
    cells: FakeCells,
    *,
    storage: Storage | None = None,
    sessions: MemorySessionStorage | None = None,
    resume: bool = False,
) -> AsyncIterator[Runtime]:
    """The organism in this process. Afterwards no task of it is left, and none of them has failed."""
    before = asyncio.all_tasks()
    failures: list[BaseException] = []
    async with open_runtime(
        path,
        session_host=cells.of,
        storage=storage or MemoryStorage(),
        session_storage=sessions or MemorySessionStorage(),
        resume=resume,
        on_failure=failures.append,
    ) as runtime:
        yield runtime
        assert failures == []
    assert failures == []
    assert asyncio.all_tasks() <= before
