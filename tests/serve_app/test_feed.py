"""The feed against an organism that restarts, forgets events and does not answer."""

import pytest
from conftest import client_of, eventually, served, socket_to, until
from fake_organism import FakeOrganism

from organism.messages import Inject
from organism.ref import Event
from serve_app.feed import Feed
from serve_app.hub import Hub
from serve_app.live import Live
from serve_app.payload_classes import PayloadClasses


async def next_seqs(socket, count: int) -> list[int]:
    return [(await socket.hear("message"))["seq"] for _ in range(count)]


async def test_events_that_were_missed_are_read_from_the_log(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        organism.send()
        assert await next_seqs(socket, 1) == [1]
        organism.down = True
        for _ in range(2500):
            organism.append("t1", "console", "greeter", b"{}")
        organism.happen(*(Event("message", message.seq, message) for message in organism.log[1:]))
        organism.forget_events()
        organism.down = False
        organism.send()
        assert await next_seqs(socket, 2501) == list(range(2, 2503))


async def test_a_restart_of_the_pump_shows_as_what_has_changed(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        organism.down = True
        organism.restart()
        organism.append("t1", "console", "greeter", b"{}")
        organism.agents["greeter"] = organism.agents["greeter"] | {"restarts": 1, "state": "processing"}
        organism.happen()
        organism.down = False
        assert await next_seqs(socket, 1) == [1]
        assert (await socket.hear("thread_created"))["thread"]["id"] == "t1"
        assert (await socket.hear("agent_state"))["state"] == "processing"
        await eventually(lambda: organism_of(address, "total_messages"), 1)


async def organism_of(address: str, field: str):
    import httpx

    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        return (await client.get("/api/v1/organism")).json()[field]


async def test_another_log_makes_clients_start_over(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        organism.send()
        organism.send()
        assert await next_seqs(socket, 2) == [1, 2]
        organism.log.clear()
        organism.all_threads.clear()
        organism.restart()
        organism.happen()
        connected = await socket.hear("connected")
        assert (connected["seq"], connected["threads"]) == (0, [])
        organism.send()
        assert await next_seqs(socket, 1) == [1]


async def test_an_event_that_comes_twice_is_told_once(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        message = organism.send()
        organism.happen(Event("message", message.seq, message))
        organism.send()
        assert await next_seqs(socket, 2) == [1, 2]


async def test_the_status_tells_that_the_organism_does_not_answer(client, organism):
    async def status() -> str:
        return (await client.get("/api/v1/organism")).json()["status"]

    organism.down = True
    organism.happen()
    await eventually(status, "unreachable")
    organism.down = False
    await eventually(status, "running")


async def test_a_reload_seen_in_the_feed_shows_in_the_picture(client, organism):
    organism.agents["new"] = organism.agents["greeter"] | {"name": "new"}
    organism.happen(Event("reloaded", None, {"added": ["new"], "changed": [], "removed": []}))

    async def found() -> int:
        return (await client.get("/api/v1/agents/new")).status_code

    await eventually(found, 200)


async def test_a_late_state_of_a_removed_agent_does_not_bring_it_back(client, organism):
    gone = organism.agents.pop("shouter")
    organism.happen(Event("reloaded", None, {"added": [], "changed": [], "removed": ["shouter"]}))
    organism.happen(Event("agent_state", None, gone))
    organism.change("greeter", state="processing")

    async def state() -> str:
        return (await client.get("/api/v1/agents/greeter")).json()["state"]

    await eventually(state, "processing")
    assert (await client.get("/api/v1/agents/shouter")).status_code == 404


async def test_a_bug_in_the_feed_shows_in_the_health(organism, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(organism, "events", broken)
    async with client_of(organism) as client:

        async def health() -> int:
            return (await client.get("/health")).status_code

        await eventually(health, 500)


async def test_the_feed_ends_with_its_block(organism):
    async with Hub() as hub, Feed(organism, Live(), hub, PayloadClasses(organism)) as feed:
        assert await feed.wait_synced(5)
    feed.check()


@pytest.mark.parametrize("since", [0, 1, 2, 3, 5000])
async def test_a_client_that_resumes_after_a_restart_has_no_gap_and_no_double(organism, since):
    for _ in range(3):
        organism.append("t1", "console", "greeter", b"{}")
    async with served(organism) as address, socket_to(address, f"/ws?since={since}") as socket:
        await socket.hear("connected")
        replayed = range(min(since, 3) + 1, 4)
        assert await next_seqs(socket, len(replayed)) == list(replayed)
        await socket.ask(cmd="ping")  # the replay is over
        organism.down = True
        organism.restart()
        organism.append("t1", "console", "greeter", b"{}")
        organism.happen()
        organism.down = False
        assert await next_seqs(socket, 1) == [4]


async def test_an_inject_shows_in_the_figures():
    organism = FakeOrganism()
    live = Live()
    async with Hub() as hub, Feed(organism, live, hub, PayloadClasses(organism)) as feed:
        await feed.wait_synced(5)
        await organism.submit([Inject("greeter", "Greeting", b"{}")])
        await until(lambda: live.total_messages() == 1)
