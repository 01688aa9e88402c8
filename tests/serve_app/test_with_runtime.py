"""The API in front of the real runtime: the hello organism at work, in this process."""

import os
import shutil
from collections.abc import AsyncIterator

import httpx
import pytest
from conftest import eventually, served, socket_to
from fake_organism import HELLO

from organism.runtime import open_runtime

CHAIN = ["greeter", "shouter", "response-handler"]


@pytest.fixture
async def hello(tmp_path) -> AsyncIterator[str]:
    """host:port of the hello organism; its folder is `tmp_path`."""
    shutil.copytree(HELLO, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    async with open_runtime(tmp_path / "organism.yaml") as organism, served(organism) as address:
        yield address


@pytest.fixture
async def client(hello) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{hello}/api/v1") as client:
        yield client


async def inject(client: httpx.AsyncClient, name: str) -> dict:
    answer = await client.post("/inject", json={"to": "greeter", "payload": {"name": name}})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_inject_runs_through_the_chain_and_is_seen_on_every_side(hello, client):
    async with socket_to(hello) as events, socket_to(hello, "/ws/messages") as log:
        await events.hear("connected")
        await log.ask(cmd="subscribe")
        accepted = await inject(client, "Dan")
        for name in CHAIN:
            message = (await events.hear("message"))["message"]
            assert (message["thread_id"], message["to"]) == (accepted["thread_id"], name)
            assert await log.hear("") == message
        while (updated := await events.hear("thread_updated"))["status"] != "completed":
            pass
        assert updated["message_count"] == 3
    thread = (await client.get(f"/threads/{accepted['thread_id']}")).json()
    assert (thread["status"], thread["participants"]) == ("completed", ["console", *CHAIN])
    assert [message["payload"] for message in thread["messages"]][2] == {"message": "HELLO, DAN!"}
    await eventually(lambda: figure(client, "total_messages"), 3)
    assert (await client.get("/organism")).json()["active_threads"] == 0


async def test_an_agent_tells_which_process_runs_it(client):
    agents = (await client.get("/agents")).json()["agents"]
    assert {agent["name"]: agent["pid"] for agent in agents} == dict.fromkeys(["console", *CHAIN], os.getpid())


async def figure(client: httpx.AsyncClient, name: str):
    return (await client.get("/organism")).json()[name]


async def test_a_paused_agent_takes_messages_and_handles_them_when_resumed(hello, client):
    async with socket_to(hello) as events:
        await events.hear("connected")
        await client.post("/agents/shouter/pause")
        assert (await client.get("/agents/shouter")).json()["paused"] is True
        thread_id = (await inject(client, "Dan"))["thread_id"]

        async def waiting() -> int:
            return (await client.get("/agents/shouter")).json()["queue_depth"]

        await eventually(waiting, 1)
        assert (await client.get(f"/threads/{thread_id}")).json()["status"] == "active"
        await client.post("/agents/shouter/resume")
        while (await events.hear("thread_updated"))["status"] != "completed":
            pass


async def test_a_killed_thread_refuses_further_messages(client):
    await client.post("/agents/greeter/pause")
    thread_id = (await inject(client, "Dan"))["thread_id"]
    assert (await client.post(f"/threads/{thread_id}/kill")).json()["status"] == "killed"
    body = {"to": "greeter", "payload": {"name": "Dan"}, "thread_id": thread_id}
    assert (await client.post("/inject", json=body)).status_code == 409
    dropped = (await client.get("/messages", params={"status": "dropped"})).json()["messages"]
    assert [message["thread_id"] for message in dropped] == [thread_id]


async def test_a_reload_changes_the_class_that_injects_are_checked_against(client, tmp_path):
    handlers = tmp_path / "handlers" / "hello.py"
    changed = handlers.read_text().replace("    name: str\n", "    name: str\n    title: str = ''\n", 1)
    polite = {"to": "greeter", "payload": {"name": "Dan", "title": "Dr"}}
    assert (await client.post("/inject", json=polite)).status_code == 422
    handlers.write_text(changed)
    reloaded = await client.post("/organism/reload")
    assert "greeter" in reloaded.json()["changed"]
    assert (await client.post("/inject", json=polite)).status_code == 200


async def test_a_broken_file_is_refused_with_its_line_and_changes_nothing(client, tmp_path):
    file = tmp_path / "organism.yaml"
    file.write_text(file.read_text().replace("payload_class: handlers.hello.Greeting\n", "payload_clas: x\n", 1))
    answer = await client.post("/organism/reload")
    assert answer.status_code == 422
    details = answer.json()["error"]["details"]
    assert details[0]["line"] > 1
    await inject(client, "Dan")


async def test_many_injects_over_one_socket_are_all_in_the_log(hello, client):
    async with socket_to(hello) as socket:
        await socket.hear("connected")
        await socket.ask(cmd="subscribe", events=["error"])
        for number in range(300):
            await socket.say(cmd="inject", id=number, to="greeter", payload={"name": str(number)})
        acks = [await socket.hear("ack") for _ in range(300)]
    assert [ack["id"] for ack in acks] == list(range(300))
    await eventually(lambda: figure(client, "total_messages"), 900)
    page = (await client.get("/messages", params={"limit": 1000})).json()
    assert [message["seq"] for message in page["messages"]] == list(range(1, 901))
    assert {ack["seq"] for ack in acks} == {m["seq"] for m in page["messages"] if m["to"] == "greeter"}


async def test_a_stopped_organism_takes_no_more(client):
    assert (await client.post("/organism/stop")).status_code == 200
    assert await figure(client, "status") in ("stopping", "stopped")
    answer = await client.post("/inject", json={"to": "greeter", "payload": {"name": "Dan"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
