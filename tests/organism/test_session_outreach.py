"""From a session into the organism and back."""

from __future__ import annotations

import asyncio

import pytest
from handler_gates import gates
from organism_folder import Running, listener, running, write_organism

from organism.errors import AgentNotFound, InvalidPayload, ThreadNotFound
from organism.sessions.records import NewSession

HANDLERS = """
async def echo(payload: Ping, context: Context):
    await gates.at(payload.text)
    return Reply(Pong(text=payload.text + "!"))
"""


async def session_in(it: Running, owner: str | None = None) -> str:
    """The id of a session that is in a cell."""
    session_id = (await it.runtime.sessions.create(NewSession(), owner)).id
    await it.runtime.sessions.place(session_id)
    return session_id


async def test_a_message_to_an_agent_is_answered_by_the_last_of_its_thread(tmp_path):
    async with running(write_organism(tmp_path / "o", HANDLERS, listener("echo"))) as it:
        desk = it.runtime.sessions.desk
        thread_id = await desk.inject(await session_in(it, "key:ann"), "echo", {"text": "hi"})
        assert (await desk.wait_thread(thread_id, 0.01)).status == "active"
        waiting = [asyncio.create_task(desk.wait_thread(thread_id, 10)) for _ in range(2)]
        gates.open("hi")
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.payload_type, answer.payload) == ("completed", "Pong", b'{"text":"hi!"}')
        assert (await desk.wait_thread(thread_id, 10)).status == "completed"
        assert (await it.runtime.thread(thread_id)).owner == "key:ann"


async def test_what_cannot_be_sent_is_refused(tmp_path):
    path = write_organism(tmp_path / "o", HANDLERS, listener("echo"), limits={"max_payload_bytes": 100})
    async with running(path) as it:
        desk = it.runtime.sessions.desk
        session_id = await session_in(it)
        with pytest.raises(AgentNotFound):
            await desk.inject(session_id, "nobody", {})
        with pytest.raises(InvalidPayload, match="max_payload_bytes"):
            await desk.inject(session_id, "echo", {"text": "x" * 100})
        with pytest.raises(ThreadNotFound):
            await desk.wait_thread("nothing", 1)
