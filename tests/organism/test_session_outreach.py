"""From a session into the organism and back."""

from __future__ import annotations

import asyncio

import pytest
from handler_gates import gates
from organism_folder import listener, running, write_organism

from organism.errors import AgentNotFound, InvalidPayload, ThreadNotFound

HANDLERS = """
async def echo(payload: Ping, context: Context):
    await gates.at(payload.text)
    return Reply(Pong(text=payload.text + "!"))
"""


async def test_a_message_to_an_agent_is_answered_by_the_last_of_its_thread(tmp_path):
    async with running(write_organism(tmp_path / "o", HANDLERS, listener("echo"))) as it:
        desk = it.runtime.sessions.desk
        thread_id = await desk.inject("echo", {"text": "hi"})
        assert (await desk.wait_thread(thread_id, 0.01)).status == "active"
        waiting = [asyncio.create_task(desk.wait_thread(thread_id, 10)) for _ in range(2)]
        gates.open("hi")
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.payload_type, answer.payload) == ("completed", "Pong", b'{"text":"hi!"}')
        assert (await desk.wait_thread(thread_id, 10)).status == "completed"


async def test_what_cannot_be_sent_is_refused(tmp_path):
    path = write_organism(tmp_path / "o", HANDLERS, listener("echo"), limits={"max_payload_bytes": 100})
    async with running(path) as it:
        desk = it.runtime.sessions.desk
        with pytest.raises(AgentNotFound):
            await desk.inject("nobody", {})
        with pytest.raises(InvalidPayload, match="max_payload_bytes"):
            await desk.inject("echo", {"text": "x" * 100})
        with pytest.raises(ThreadNotFound):
            await desk.wait_thread("nothing", 1)
