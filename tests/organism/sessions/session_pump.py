"""A pump for session cells that keeps everything in memory and fails on demand; and what a cell needs to start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from organism.bundle import pack
from organism.config import Backend, LlmSection, SessionAgent, SessionsSection, WorkspaceSection
from organism.errors import OrganismError, SessionNotFound
from organism.llm.base import Tool
from organism.sessions.events import Frame
from organism.sessions.records import SessionRecord
from organism.sessions.tools.base import ToolContext
from organism.sessions.wire import AgentAnswer, Append, Loaded, SessionCellPort, SessionCellSpec, SessionNotHere


class FakeLink:
    """Implements SessionLink. `failure` decides of each append; `gate` closed holds all of them back. is_limited: see
    Loaded."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.frames: dict[str, list[Frame]] = {}
        self.leases: dict[str, int] = {}
        self.loads = 0
        self.is_limited = False
        self.appends: list[Append] = []
        self.batches = 0
        self.released: list[tuple[str, int]] = []
        self.failure: Callable[[Append], OrganismError | None] = lambda _: None
        self.gate = asyncio.Event()
        self.gate.set()

    def create(self, session_id: str = "s", **fields: Any) -> str:
        given = {"created_at": 1, "updated_at": 1, "agent": "assistant", "working_directory": session_id}
        self.records[session_id] = SessionRecord(id=session_id, **(given | fields))
        self.frames[session_id] = []
        return session_id

    def take_away(self, session_id: str) -> None:
        """Gives the session to another cell."""
        self.leases[session_id] += 1

    def types(self, session_id: str = "s") -> list[str]:
        return [frame.type for frame in self.frames[session_id]]

    def events(self, session_id: str = "s", kind: str | None = None) -> list[dict[str, Any]]:
        frames = self.frames[session_id]
        return [orjson.loads(frame.body) for frame in frames if kind is None or frame.type == kind]

    async def load(self, session_id: str, incarnation: str) -> Loaded:
        self.loads += 1
        await asyncio.sleep(0)
        if session_id not in self.records:
            raise SessionNotFound(session_id)
        self.leases[session_id] = self.leases.get(session_id, 0) + 1
        stored = list(self.frames[session_id])
        return Loaded(self.records[session_id], self.leases[session_id], stored, self.is_limited)

    async def append(self, appends: list[Append]) -> list[OrganismError | None]:
        self.batches += 1
        await self.gate.wait()
        return [self._append(each) for each in appends]

    def _append(self, append: Append) -> OrganismError | None:
        session_id = append.record.id
        if self.leases.get(session_id) != append.lease:
            return SessionNotHere(session_id)
        error = self.failure(append)
        if error is not None:
            return error
        stored = self.frames[session_id]
        for frame in append.frames:
            assert frame.seq == len(stored) + 1, "events come in order, without gaps and without doubles"
            stored.append(frame)
        assert append.record.last_seq == len(stored)
        self.records[session_id] = append.record
        self.appends.append(append)
        return None

    async def release(self, session_id: str, lease: int) -> None:
        self.released.append((session_id, lease))

    async def inject(self, session_id: str, agent: str, payload: dict[str, Any]) -> str:
        raise AssertionError("no tool of these tests sends messages")

    async def wait_thread(self, thread_id: str, timeout_s: float) -> AgentAnswer:
        raise AssertionError("no tool of these tests sends messages")


class FunctionTool:
    """A tool made of a coroutine function of its arguments."""

    def __init__(self, name: str, function: Callable[..., Any], schema: dict[str, Any] | None = None) -> None:
        self.spec = Tool(name, f"the {name} tool", schema or {"type": "object"})
        self._function = function

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        return await self._function(**arguments)


class FakeToolset:
    """Implements Toolset."""

    def __init__(self, *tools: FunctionTool) -> None:
        self.tools = tools
        self.is_closed = False

    async def tools_of(self, names: tuple[str, ...]) -> list[FunctionTool]:
        return list(self.tools)

    async def close(self) -> None:
        self.is_closed = True


class Follower:
    """Polls a cell for one session, and keeps what it is told."""

    def __init__(self, port: SessionCellPort, name: str = "follower") -> None:
        self.port = port
        self.name = name
        self.cursor = 0
        self.frames: list[Frame] = []
        self.lost: list[str] = []
        self.states: list[str] = []

    @property
    def types(self) -> list[str]:
        return [frame.type for frame in self.frames]

    async def poll(self, timeout_s: float = 5.0) -> None:
        batch = await self.port.poll(self.name, self.cursor, timeout_s)
        self.cursor = batch.cursor
        self.frames += batch.frames
        self.lost += batch.lost
        self.states += [status.state for _, status in batch.statuses]

    async def until(self, condition: Callable[[Follower], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition(self):
                await self.poll()

    async def until_end(self) -> None:
        await self.until(lambda each: "agent_run_end" in each.types)


def scripted(*replies: str) -> LlmSection:
    return LlmSection(backends=(Backend(provider="scripted", replies=replies),), retries=0)


def served(base_url: str, **fields: Any) -> LlmSection:
    backend = Backend(name="fake", base_url=base_url, models=("fake-model",), **fields)
    return LlmSection(backends=(backend,), retries=0)


def cell_spec(folder: Path, llm: LlmSection, agent: dict[str, Any] | None = None, **sessions: Any) -> SessionCellSpec:
    """The spec of a cell with one agent, `assistant`, without tools where `agent` names none."""
    (folder / "organism").mkdir(exist_ok=True)
    bundle = pack(folder / "organism")
    chosen = SessionAgent(**({"name": "assistant", "prompt": "Be brief.", "tools": ()} | (agent or {})))
    return SessionCellSpec(
        name="sessions:1",
        incarnation="one",
        definition="d",
        sessions=SessionsSection(agents=(chosen,), **sessions),
        llm=llm,
        environ={},
        bundle_digest=bundle.digest,
        bundle=bundle.content,
        listeners=(),
        workspace=WorkspaceSection(),
        workspace_root=str(folder / "workspace"),
    )
