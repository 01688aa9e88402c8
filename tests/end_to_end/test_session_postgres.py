"""An organism whose log and sessions are in PostgreSQL, which is killed and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.session_organism import organism_yaml
from tests.end_to_end.talk import check_stored, eventually, talking
from tests.end_to_end.up import Up
from tests.fake_llm import FakeLlm, Reply
from tests.postgres_server import PASSWORD, PostgresServer, started_server

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SLOW = Reply(text=" ".join(f"w{number}" for number in range(100)), chunk_delay_s=0.05)
REFUSED_WITHIN_S = 30.0
STORAGE = {"provider": "postgres", "url_env": "TALK_DATABASE"}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with started_server() as server:
        yield server


async def test_while_postgresql_is_gone_it_is_503_and_then_all_that_was_acknowledged_is_there(tmp_path: Path, server):
    async with FakeLlm(Reply(text="Hello there.")) as llm:
        (tmp_path / ".env").write_text(f"TALK_DATABASE={server.new_database()}\n")
        (tmp_path / "organism.yaml").write_text(organism_yaml(llm, {"isolation": "shared"}, storage=STORAGE))
        up = Up(tmp_path, "--port", "0")
        try:
            await asyncio.to_thread(up.wait_ready)
            async with talking(up) as talk:
                assert (await talk.post("query", query="remember me")).status_code == 200
                acknowledged = await talk.stored()
                llm.script(SLOW)
                async with talk.streaming("a story") as events:
                    for _ in range(12):
                        await anext(events)
                    server.kill()
                    rest = [event async for event in events]
                assert rest[-1]["type"] == "agent_run_end"
                assert rest[-1]["status"] == "error"
                started_s = time.monotonic()
                for path, fields in (("query", {"query": "hello?"}), ("create", {})):
                    answer = await talk.post(path, **fields)
                    assert answer.status_code == 503, answer.text
                    assert "storage" in answer.json()["error"]
                    assert PASSWORD not in answer.text
                assert time.monotonic() - started_s < REFUSED_WITHIN_S
                server.start()

                async def works() -> bool:
                    return (await talk.post("query", query="and now?")).status_code == 200

                await eventually(works, "it works again")
                stored = await talk.stored()
                check_stored(stored)
                assert stored[: len(acknowledged)] == acknowledged
                assert (await talk.http.post("/api/v1/sessions/create", json={})).status_code == 201
            assert PASSWORD not in up.output
        finally:
            up.end()
