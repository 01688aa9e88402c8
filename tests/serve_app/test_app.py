import asyncio

import pytest

API = "/api/v1"


async def test_agents_are_listed_with_their_state(client):
    page = (await client.get(f"{API}/agents")).json()
    assert [agent["name"] for agent in page["agents"]] == ["console", "greeter", "shouter", "response-handler"]
    assert {key: page[key] for key in ("count", "total", "offset")} == {"count": 4, "total": 4, "offset": 0}


async def test_one_agent_is_shown_as_in_the_list(client):
    listed = (await client.get(f"{API}/agents", params={"agent": "greeter"})).json()["agents"]
    assert listed == [(await client.get(f"{API}/agents/greeter")).json()]


async def test_an_inject_is_answered_with_its_place_in_the_log(client, organism):
    answer = await client.post(f"{API}/inject", json={"to": "greeter", "payload": {"name": "Dan"}})
    assert answer.status_code == 200
    accepted = answer.json()
    assert accepted == {"thread_id": organism.log[0].thread_id, "message_id": organism.log[0].id, "seq": 1}
    thread = (await client.get(f"{API}/threads/{accepted['thread_id']}")).json()
    assert thread["messages"][0]["payload"] == {"name": "Dan"}


async def test_a_finished_app_leaves_no_task(organism):
    from conftest import client_of

    before = asyncio.all_tasks()
    async with client_of(organism) as client:
        await client.get("/health")
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("prefix", ["", API])
async def test_health_and_ready_answer_with_and_without_the_base_path(client, prefix):
    assert (await client.get(f"{prefix}/health")).json() == {"status": "ok"}
    assert (await client.get(f"{prefix}/ready")).json() == {"status": "ready"}
