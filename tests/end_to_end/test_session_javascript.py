"""JavaScript clients against a running `organism up`: socket.io-client over both transports, eventsource."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.end_to_end.session_organism import organism_yaml
from tests.end_to_end.up import Up
from tests.fake_llm import FakeLlm, Reply
from tests.serve_app.node_client import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


async def test_the_flow_of_the_classic_client(tmp_path: Path):
    async with FakeLlm() as llm:
        (tmp_path / "organism.yaml").write_text(organism_yaml(llm, {"isolation": "shared"}))
        up = Up(tmp_path, "--port", "0")
        try:
            await asyncio.to_thread(up.wait_ready)
            for transport in ("websocket", "polling"):
                llm.script(Reply(text="Hello"), Reply(is_held=True))
                said = {name: value async for name, value in lines_of("classic_flow.mjs", up.url, transport)}
                assert said["transport"] == transport
                assert said["join"] == said["ask"] == said["leave"] == said["resume"] == {"success": True}
                assert said["texts"] == ["hi", "Hello"]
                assert said["seqs"] == [1, 2, 3, 4]
                assert [each["state"] for each in said["statuses"]] == ["idle", "executing", "idle"]
                assert said["aborts"][1] == {"success": True}
                assert said["last kinds"] == ["aborted", "agent-status", "event"]
                assert said["resumed"] == [3, 4, 5, 6, 7]  # the second run said nothing before it was aborted
                assert said["after leaving"] == 0
        finally:
            up.end()
