"""Every route, and every way in which a request can be wrong."""

import asyncio

import httpx
import orjson
import pytest
import yaml
from conftest import client_of, eventually, served, until
from fake_organism import NOW_MS, FakeOrganism

from organism.errors import (
    AgentNotFound,
    QueueFull,
    Stopping,
    StorageUnavailable,
    ThreadFull,
    ThreadKilled,
    ThreadNotFound,
)
from organism.messages import DeadLetter

API = "/api/v1"
DAN = {"to": "greeter", "payload": {"name": "Dan"}}


def problem_of(answer: httpx.Response) -> dict:
    """The error of an answer, after a look at its shape."""
    body = answer.json()
    assert set(body) == {"error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status_code in (429, 503)) == ("retry-after" in answer.headers)
    return body["error"]


# Organism and agents


async def test_the_organism_shows_its_figures(client):
    shown = (await client.get(f"{API}/organism")).json()
    assert shown["uptime_seconds"] >= 5
    assert {key: shown[key] for key in ("name", "status", "agent_count", "total_messages")} == {
        "name": "hello",
        "status": "running",
        "agent_count": 4,
        "total_messages": 0,
    }


async def test_the_configuration_is_yaml_or_json_as_asked_and_without_secrets():
    organism = FakeOrganism(llm={"backends": [{"base_url": "https://me:hunter2@host"}]})
    async with client_of(organism) as client:
        as_yaml = await client.get(f"{API}/organism/config")
        assert as_yaml.headers["content-type"].startswith("application/yaml")
        as_json = await client.get(f"{API}/organism/config", headers={"accept": "application/json"})
        assert as_json.json() == yaml.safe_load(as_yaml.text)
        assert "hunter2" not in as_yaml.text + as_json.text
        section = await client.get(f"{API}/agents/greeter/config")
        assert yaml.safe_load(section.text)["prompt"].startswith("You greet")


async def test_the_schema_is_xsd_or_json_schema_as_asked(client):
    as_xml = await client.get(f"{API}/agents/greeter/schema")
    assert as_xml.headers["content-type"].startswith("application/xml")
    assert "Greeting" in as_xml.text
    as_json = await client.get(f"{API}/agents/greeter/schema", headers={"accept": "application/json"})
    assert as_json.json()["required"] == ["name"]


@pytest.mark.parametrize("accept", ["*/*", "text/html, */*;q=0.8", "application/*", "application/json;q=0.5, */*"])
async def test_our_own_media_type_wins_unless_json_is_preferred(client, accept):
    answer = await client.get(f"{API}/organism/config", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/yaml")


async def test_agents_are_filtered_and_paged(client, organism):
    organism.change("greeter", state="processing", last_activity="2024-01-15T10:30:00.000Z")
    organism.change("shouter", paused=True)

    async def names(**query) -> list[str]:
        page = (await client.get(f"{API}/agents", params=query)).json()
        assert page["count"] == len(page["agents"])
        return [agent["name"] for agent in page["agents"]]

    await eventually(lambda: names(status="processing"), ["greeter"])
    assert await names(since="2024-01-15T10:30:00") == ["greeter"]
    assert await names(since="2024-01-15T10:30:00.001Z") == []
    assert await names(status="paused") == ["shouter"]
    assert await names(agent="nobody") == []
    assert await names(limit=2, offset=1) == ["greeter", "shouter"]


@pytest.mark.parametrize("path", ["agents/nobody", "agents/nobody/config", "agents/nobody/schema"])
async def test_an_unknown_agent_is_404(client, path):
    answer = await client.get(f"{API}/{path}")
    assert (answer.status_code, problem_of(answer)["code"]) == (404, "not_found")


# Threads and messages


async def test_threads_are_filtered_by_status_participant_and_time(client, organism):
    for number in range(3):
        organism.append(f"t{number}", "console", "greeter", b"{}")
    organism.all_threads["t1"].status = "completed"

    async def ids(**query) -> list[str]:
        return [thread["id"] for thread in (await client.get(f"{API}/threads", params=query)).json()["threads"]]

    assert await ids() == ["t2", "t1", "t0"]
    assert await ids(status="completed") == ["t1"]
    assert await ids(agent="shouter") == []
    assert await ids(since="2024-01-15T12:30:00+02:00") == ["t2", "t1", "t0"]
    assert await ids(since="2024-01-15 10:30:01") == []


async def test_a_plus_in_a_time_may_be_left_unescaped(client, organism):
    organism.append("t1", "console", "greeter", b"{}")
    answer = await client.get(f"{API}/threads?since=2024-01-15T12:30:00+02:00")
    assert answer.json()["total"] == 1


async def test_a_thread_is_shown_with_a_page_of_its_messages(client, organism):
    for _ in range(3):
        organism.append("t1", "console", "greeter", b'{"name":"Dan"}')
    shown = (await client.get(f"{API}/threads/t1", params={"limit": 2})).json()
    assert (shown["status"], shown["count"], shown["total"]) == ("active", 2, 3)
    assert [message["slot_index"] for message in shown["messages"]] == [0, 1]
    page = (await client.get(f"{API}/threads/t1/messages", params={"order": "desc", "limit": 1})).json()
    assert [message["seq"] for message in page["messages"]] == [3]


async def test_messages_are_paged_by_seq(client, organism):
    for number in range(5):
        organism.append(f"t{number % 2}", "console", "greeter", b"{}")

    async def page(**query) -> tuple[list[int], int]:
        shown = (await client.get(f"{API}/messages", params=query)).json()
        return [message["seq"] for message in shown["messages"]], shown["total"]

    assert (await page(limit=2))[0] == [1, 2]
    assert (await page(after=2))[0] == [3, 4, 5]
    assert await page(order="desc", limit=2) == ([5, 4], 5)
    assert await page(limit=2, offset=1) == ([2, 3], 5)
    assert await page(agent="greeter", after=4) == ([5], 1)
    assert await page(status="dead") == ([], 0)


async def test_dead_letters_are_listed_and_requeued(client, organism):
    for number in range(3):
        message = organism.append("t1", "console", "greeter", b"{}")
        organism.letters.append(DeadLetter(message, "boom", 1, NOW_MS + 1000 * number))
    shown = (await client.get(f"{API}/dead-letters", params={"since": "2024-01-15T10:30:01Z", "limit": 1})).json()
    assert (shown["count"], shown["total"], shown["dead_letters"][0]["reason"]) == (1, 2, "boom")
    identifier = shown["dead_letters"][0]["id"]
    requeued = await client.post(f"{API}/dead-letters/{identifier}/requeue")
    assert requeued.json()["id"] == identifier
    again = await client.post(f"{API}/dead-letters/{identifier}/requeue")
    assert (again.status_code, problem_of(again)["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["agents", "threads", "messages", "dead-letters", "threads/t1/messages"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=1e99", "since=yesterday", "since=1", "colour=red"],
)
async def test_a_bad_parameter_is_named(client, path, query):
    answer = await client.get(f"{API}/{path}?{query}")
    assert answer.status_code == 422
    assert [detail["path"] for detail in problem_of(answer)["details"]] == [query.split("=")[0]]


async def test_a_route_without_parameters_takes_none(client):
    answer = await client.get(f"{API}/organism?verbose=1")
    assert problem_of(answer)["details"][0]["path"] == "verbose"


# Control


async def test_a_pause_shows_in_the_next_get(client):
    assert (await client.post(f"{API}/agents/greeter/pause")).json()["paused"] is True
    assert (await client.get(f"{API}/agents/greeter")).json()["paused"] is True
    assert (await client.post(f"{API}/agents/greeter/resume")).json()["paused"] is False
    assert (await client.get(f"{API}/agents/greeter")).json()["paused"] is False


async def test_a_killed_thread_is_shown(client, organism):
    organism.append("t1", "console", "greeter", b"{}")
    assert (await client.post(f"{API}/threads/t1/kill")).json()["status"] == "killed"
    assert (await client.post(f"{API}/threads/t2/kill")).status_code == 404


async def test_a_reload_shows_new_agents_at_once(client, organism):
    organism.config["listeners"].append(organism.config["listeners"][1] | {"name": "second-greeter"})
    organism.agents["second-greeter"] = organism.agents["greeter"] | {"name": "second-greeter"}
    assert (await client.post(f"{API}/organism/reload")).status_code == 200
    assert (await client.get(f"{API}/agents/second-greeter/config")).status_code == 200


async def test_stop_is_passed_on(client, organism):
    assert (await client.post(f"{API}/organism/stop")).json() == {"status": "stopping"}
    assert organism.stopping


async def test_an_inject_may_be_xml(client, organism):
    answer = await client.post(
        f"{API}/inject",
        params={"to": "greeter"},
        content="<Greeting><name>Dan</name></Greeting>",
        headers={"content-type": "application/xml"},
    )
    assert answer.status_code == 200
    assert orjson.loads(organism.log[0].payload) == {"name": "Dan"}


JSON = "application/json"
XML = "application/xml"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        (JSON, b"", 400, "malformed"),
        (JSON, b"{", 400, "malformed"),
        (JSON, b"[]", 400, "malformed"),
        (JSON, b"\xff\xfe{}", 400, "malformed"),
        (JSON, b'{"to":"greeter","payload":{"name":"\xff"}}', 400, "malformed"),
        (JSON, b'{"to":"greeter","payload":{"name":NaN}}', 400, "malformed"),
        (JSON, b'{"to":"greeter","payload":' + b'{"a":' * 50_000, 400, "malformed"),
        (JSON, b'{"to":"greeter","payload":{"name":"\\ud800"}}', 400, "malformed"),
        (JSON, b"{}", 422, "invalid_request"),
        (JSON, b'{"to":5,"payload":{}}', 422, "invalid_request"),
        (JSON, b'{"to":"greeter","payload":[]}', 422, "invalid_request"),
        (JSON, b'{"to":"greeter","payload":{},"from":"me"}', 422, "invalid_request"),
        (JSON, b'{"to":"nobody","payload":{}}', 404, "not_found"),
        (JSON, b'{"to":"greeter","payload":{}}', 422, "invalid_payload"),
        (JSON, b'{"to":"greeter","payload":{"name":5}}', 422, "invalid_payload"),
        (JSON, b"x" * 10_000_000, 413, "too_large"),
        (JSON, b'{"to":"greeter","payload":{"name":"' + b"x" * 1_500_000 + b'"}}', 413, "too_large"),
        (XML, b"<Greeting>", 422, "invalid_payload"),
        (XML, b"<Greeting/>", 422, "invalid_payload"),
        (XML, b'<!DOCTYPE x [<!ENTITY a "b">]><Greeting><name>&a;</name></Greeting>', 422, "invalid_payload"),
        ("text/plain", b"{}", 415, "unsupported_media_type"),
        ("", b"{}", 415, "unsupported_media_type"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_a_bad_inject_is_explained_and_nothing_is_stored(client, organism, content_type, body, status, code):
    query = {"to": "greeter"} if content_type == XML else {}
    answer = await client.post(f"{API}/inject", content=body, params=query, headers={"content-type": content_type})
    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)
    assert organism.submitted == []


async def test_an_invalid_payload_names_each_field(client):
    answer = await client.post(f"{API}/inject", json={"to": "greeter", "payload": {"nam": 1}})
    assert [detail["path"] for detail in problem_of(answer)["details"]] == ["name", "nam"]


async def test_integers_and_nul_characters_reach_the_agent_as_they_are(client, organism):
    await client.post(f"{API}/inject", json={"to": "greeter", "payload": {"name": "a\x00b"}})
    assert orjson.loads(organism.log[0].payload) == {"name": "a\x00b"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AgentNotFound("greeter"), 404),
        (ThreadNotFound("t"), 404),
        (ThreadKilled("t"), 409),
        (ThreadFull("t", 5), 409),
        (QueueFull("greeter", 5, 2.5), 429),
        (Stopping(), 503),
        (StorageUnavailable("disk full"), 503),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_the_pump_refuses_has_its_status(client, organism, error, status):
    organism.refuse = error
    answer = await client.post(f"{API}/inject", json=DAN)
    assert (answer.status_code, problem_of(answer)["message"]) == (status, str(error))
    if isinstance(error, QueueFull):
        assert answer.headers["retry-after"] == "3"


# Failures


async def test_unknown_routes_and_methods_have_the_same_shape(client):
    unknown = await client.get(f"{API}/nothing")
    assert (unknown.status_code, problem_of(unknown)["code"]) == (404, "not_found")
    wrong = await client.delete(f"{API}/agents")
    assert (wrong.status_code, problem_of(wrong)["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"


async def test_a_bug_is_500_without_our_insides(client, organism, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(organism, "kill_thread", broken)
    answer = await client.post(f"{API}/threads/t1/kill")
    assert (answer.status_code, problem_of(answer)["code"]) == (500, "internal")
    assert "secret" not in answer.text


async def test_an_organism_that_is_down_is_503_but_the_picture_still_answers(client, organism):
    organism.down = True
    organism.happen()
    await asyncio.sleep(0)
    for method, path in (("GET", "threads"), ("GET", "messages"), ("POST", "agents/greeter/pause"), ("GET", "ready")):
        answer = await client.request(method, f"{API}/{path}")
        assert (answer.status_code, problem_of(answer)["code"]) == (503, "unreachable"), path
    assert (await client.get(f"{API}/agents")).status_code == 200
    assert (await client.get("/health")).status_code == 200


async def test_a_replica_that_has_not_reached_the_organism_says_so(monkeypatch):
    monkeypatch.setattr("serve_app.app.FIRST_SNAPSHOT_S", 0.01)
    organism = FakeOrganism()
    organism.down = True
    async with client_of(organism) as client:
        for path in ("agents", "agents/greeter", "organism", "organism/config", "agents/greeter/schema", "ready"):
            answer = await client.get(f"{API}/{path}")
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "unreachable"), path
        assert (await client.post(f"{API}/inject", json=DAN)).status_code == 503
        organism.down = False

        async def ready() -> int:
            return (await client.get(f"{API}/ready")).status_code

        await eventually(ready, 200)


async def test_a_request_that_takes_too_long_is_503():
    organism = FakeOrganism(api={"request_timeout_s": 0.05})
    organism.gate.clear()
    async with client_of(organism) as client:
        answer = await client.post(f"{API}/inject", json=DAN)
        assert (answer.status_code, problem_of(answer)["code"]) == (503, "unreachable")


async def test_requests_that_arrive_together_share_a_call(client, organism):
    organism.gate.clear()
    requests = [asyncio.create_task(client.post(f"{API}/inject", json=DAN)) for _ in range(50)]
    await until(lambda: organism.submitted)
    organism.gate.set()
    answers = await asyncio.gather(*requests)
    assert sorted(answer.json()["seq"] for answer in answers) == list(range(1, 51))
    assert len(organism.submitted) <= 3


async def test_a_large_body_is_refused_while_it_is_still_being_sent():
    async with served(FakeOrganism(limits={"max_body_bytes": 1000})) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(
            b"POST /api/v1/inject HTTP/1.1\r\nhost: organism\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n7D0\r\n" + b"x" * 2000 + b"\r\n"  # and no end of the body
        )
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()
