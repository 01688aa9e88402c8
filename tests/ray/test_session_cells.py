"""Agent sessions on a real Ray: their processes' names, warm ones, and what becomes of them when something dies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import ray

from organism.errors import OrganismUnreachable, RunInterrupted
from organism.ray_actors import connect_sessions
from organism.sessions.records import NewSession, SessionView
from organism.sessions.service import SessionService
from organism.sessions.wire import Query
from tests.fake_llm import FakeLlm, Reply
from tests.ray.ray_organism import OnRay, until, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


class Running(NamedTuple):
    on_ray: OnRay
    llm: FakeLlm
    service: SessionService


@asynccontextmanager
async def running(start: Any, folder: Path, isolation: str, *replies: Reply, **sessions: Any) -> AsyncIterator[Running]:
    """An organism whose model answers `replies`, then always the same."""
    async with FakeLlm(Reply(text="hello there")) as llm:
        llm.script(*replies)
        path = organism(folder, llm, isolation, **sessions)
        async with start(path) as on_ray, connect_sessions(on_ray.namespace) as service:
            yield Running(on_ray, llm, service)


def organism(folder: Path, llm: FakeLlm, isolation: str, **sessions: Any) -> Path:
    backend = {"provider": "openai", "base_url": llm.base_url, "models": ["any"]}
    agent = {"name": "assistant", "tools": []}
    return write_organism(
        folder, sessions={"isolation": isolation, "agents": [agent], **sessions}, llm={"backends": [backend]}
    )


def cell_names(on_ray: OnRay) -> set[str]:
    named: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    ours = {each["name"] for each in named if each["namespace"] == on_ray.namespace}
    return {name for name in ours if name.startswith("session")}


async def pid_of(on_ray: OnRay, name: str) -> int:
    actor: Any = ray.get_actor(name, on_ray.namespace)
    return await actor.__ray_call__.remote(lambda _: os.getpid())


async def events_of(service: SessionService, session_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(frame.body) for frame in await service.events(session_id, 0, 1000)]


async def is_running(service: SessionService, session_id: str) -> bool:
    return (await service.session(session_id)).is_running


async def test_shared_cells_answer_and_end_with_the_organism(start, tmp_path):
    async with running(start, tmp_path / "organism", "shared", shared_cells=1) as (on_ray, _, service):
        created = await service.create(NewSession(name="first"))
        assert (await service.ask(created.id, Query("hello?"))).result == "hello there"
        assert cell_names(on_ray) == {"sessions:1"}
        actor: Any = ray.get_actor("sessions:1", on_ray.namespace)
        assert await actor.__ray_call__.remote(repr) == "sessions:1"
        assert (await service.session(created.id)).active
    assert cell_names(on_ray) == set()


async def test_a_new_session_gets_the_warm_cell_that_has_its_name(start, tmp_path):
    async with running(start, tmp_path / "organism", "actor", warm=1) as (on_ray, _, service):
        first = await until(lambda: warm_session(service), "a warm cell is ready")
        await service.ask(first.id, Query("hello?"))
        second = await until(lambda: warm_session(service), "the next one is")
        assert {f"session:{first.id}", f"session:{second.id}"} <= cell_names(on_ray)
        began_s = time.monotonic()
        await service.ask(second.id, Query("hello?"))
        assert time.monotonic() - began_s < 1  # not the start of a process
        await service.delete(first.id)
        await until(lambda: f"session:{first.id}" not in cell_names(on_ray), "its process ends with it")


async def warm_session(service: SessionService) -> SessionView | None:
    """A new session, in a process already; None while none is ready."""
    created = await service.create(NewSession())
    if created.active:
        return created
    await service.delete(created.id)
    return None


@pytest.mark.parametrize("isolation", ["shared", "actor"])
async def test_a_run_whose_process_is_killed_ends_with_an_error_and_the_session_is_usable(start, tmp_path, isolation):
    folder, held = tmp_path / "organism", Reply(is_held=True)
    async with running(start, folder, isolation, held, shared_cells=1, warm=1) as (on_ray, llm, service):
        created = await service.create(NewSession())
        asked = asyncio.create_task(service.ask(created.id, Query("hello?")))
        await until(lambda: llm.requests, "the model is asked")
        await until(lambda: is_running(service, created.id), "that it runs is stored")
        name = await until(lambda: cell_of(on_ray, created.id), "its cell is known")
        os.kill(await pid_of(on_ray, name), signal.SIGKILL)
        assert isinstance((await asked).error, RunInterrupted)
        events = await events_of(service, created.id)
        assert [each["type"] for each in events[-2:]] == ["system", "agent_run_end"]
        assert (events[-2]["level"], events[-1]["status"]) == ("error", "error")
        assert [each["seq"] for each in events] == list(range(1, len(events) + 1))
        answered = await service.ask(created.id, Query("are you well?"))
        assert (answered.result, answered.error) == ("hello there", None)


async def cell_of(on_ray: OnRay, session_id: str) -> str | None:
    for name in cell_names(on_ray):
        actor: Any = ray.get_actor(name, on_ray.namespace)
        attached = await actor.attach.remote()
        if attached is not None and session_id in attached.held:
            return name
    return None


async def test_a_run_goes_on_while_the_pump_is_killed(start, tmp_path):
    folder, held = tmp_path / "organism", Reply(text="all the while", is_held=True)
    async with running(start, folder, "shared", held, shared_cells=1) as (on_ray, llm, service):
        created = await service.create(NewSession())
        asked = asyncio.create_task(service.ask(created.id, Query("hello?")))
        await until(lambda: llm.requests, "the model is asked")
        await until(lambda: is_running(service, created.id), "that it runs is stored")
        before = await pid_of(on_ray, "sessions:1")
        on_ray.kill_pump()
        llm.release()
        answered = await asked
        assert (answered.result, answered.error) == ("all the while", None)
        events = await patient_events(service, created.id)
        assert [each["status"] for each in events if each["type"] == "agent_run_end"] == ["idle"]
        assert (await service.ask(created.id, Query("once more"))).result == "hello there"
        assert await pid_of(on_ray, "sessions:1") == before


async def patient_events(service: SessionService, session_id: str) -> list[dict[str, Any]]:
    while True:
        try:
            return await events_of(service, session_id)
        except OrganismUnreachable:
            await asyncio.sleep(0.05)
