import asyncio

import orjson
import pytest
from fake_organism import FakeOrganism

from organism.errors import AgentNotFound, OrganismUnreachable
from organism.threads import Thread
from serve_app.live import MAX_THREADS, AgentFilter, Live


@pytest.fixture
async def live(organism) -> Live:
    picture = Live()
    picture.take(await organism.snapshot())
    return picture


def names(live: Live, **where) -> list[str]:
    return [agent["name"] for agent in orjson.loads(orjson.dumps(live.agents(AgentFilter(**where))))]


def test_without_a_picture_every_read_says_so():
    live = Live()
    for read in (live.agents, live.organism, live.total_messages, lambda: live.agent("greeter")):
        with pytest.raises(OrganismUnreachable):
            read()


async def test_a_changed_agent_is_shown_changed(live, organism):
    live.put_agent(organism.agents["greeter"] | {"state": "waiting"})
    assert live.agent("greeter")["state"] == "waiting"
    assert orjson.loads(live.agent_json("greeter"))["state"] == "waiting"
    assert names(live, status="waiting") == ["greeter"]
    assert names(live) == ["console", "greeter", "shouter", "response-handler"]


async def test_an_agent_that_is_not_defined_is_not_found(live, organism):
    live.put_agent(organism.agents["greeter"] | {"name": "stranger"})
    with pytest.raises(AgentNotFound):
        live.agent("stranger")


async def test_the_picture_holds_only_the_latest_threads(live):
    for number in range(MAX_THREADS + 5):
        live.put_thread(Thread(f"t{number}", 0, 0).view(), new=True)
    shown = orjson.loads(live.connected_text(7))
    assert shown["seq"] == 7
    assert [thread["id"] for thread in shown["threads"]] == [f"t{n}" for n in range(MAX_THREADS + 4, 4, -1)]


async def test_limits_follow_the_configuration(live):
    organism = FakeOrganism(limits={"client_queue": 5}, api={"heartbeat_s": 2})
    live.define(await organism.snapshot())
    assert (live.limits.client_queue, live.api.heartbeat_s) == (5, 2.0)


async def test_time_passes_in_the_picture(live):
    before = live.organism()["uptime_seconds"]
    await asyncio.sleep(0.01)
    assert live.organism()["uptime_seconds"] > before


async def test_an_agent_whose_name_looks_like_a_key_has_its_configuration():
    organism = FakeOrganism()
    name = "hf-summarizer-agent"
    organism.config["listeners"][0]["name"] = name
    organism.agents = {name: organism.agents["console"] | {"name": name}}
    live = Live()
    live.take(await organism.snapshot())
    assert live.agent_config(name)["name"] == name
