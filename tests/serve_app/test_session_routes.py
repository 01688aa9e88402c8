"""The tables of the contract, row by row, asked of the application over scripted sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from conftest import client_of, until
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions, Script

from organism.errors import SessionAgentNotFound, Stopping, StorageUnavailable
from organism.llm.base import ModelRejected, NoModelConfigured
from organism.sessions.wire import Query

PREFIXES = ("/api/sessions", "/api/v1/sessions")
UNKNOWN = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
JSON = {"content-type": "application/json"}

Client = httpx.AsyncClient


@pytest.fixture
async def api(organism: FakeOrganism, sessions: FakeSessions) -> AsyncIterator[Client]:
    async with sessions, client_of(organism, sessions) as client:
        yield client


async def new_session(api: Client, **fields: Any) -> str:
    return (await api.post("/api/sessions/create", json=fields)).json()["sessionId"]


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and text of an error, which must have the shape of these routes."""
    body = answer.json()
    assert isinstance(body["error"], str)
    assert isinstance(body["code"], str)
    assert "Traceback" not in answer.text
    return answer.status_code, body["error"]


# Each row


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_create_answers_201_with_the_session(api, prefix):
    answer = await api.post(f"{prefix}/create", json={"name": "first", "tags": ["a"], "model": {"id": "small"}})
    body = answer.json()
    assert answer.status_code == 201
    assert body["sessionId"] == body["session"]["id"]
    assert body["session"]["name"] == "first"
    assert body["session"]["tags"] == ["a"]
    assert body["session"]["model"] == {"id": "small", "provider": ""}
    assert body["session"]["createdAt"] == body["session"]["updatedAt"] > 1_700_000_000_000
    assert body["session"]["workingDirectory"] == body["sessionId"]
    assert body["session"]["active"] is True


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json": {}},
        {"content": b"{}"},
        {"content": b"{}", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"headers": JSON},
        {"content": b" ", "headers": JSON},
        {"json": {"name": None, "tags": None}},
    ],
)
async def test_create_needs_nothing(api, sent):
    assert (await api.post("/api/sessions/create", **sent)).status_code == 201


async def test_what_a_client_may_not_choose_has_no_effect(api, sessions):
    evil = {"workingDirectory": "/etc", "id": "mine", "prompt": "p", "agentOptions": {"tools": ["run"]}, "active": 5}
    plain, forced = [(await api.post("/api/sessions/create", json=each)).json()["session"] for each in ({}, evil)]
    assert forced["workingDirectory"] == forced["id"] != "mine"
    assert set(plain) == set(forced)


async def test_create_takes_an_agent_that_is_offered(api):
    assert (await api.post("/api/sessions/create", json={"agent": "assistant"})).status_code == 201
    answer = await api.post("/api/sessions/create", json={"agent": "root"})
    assert told(answer) == (400, str(SessionAgentNotFound("root", ("assistant",))))


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_sessions_are_listed_the_last_changed_first(api, sessions, prefix):
    first, second = await new_session(api, name="Alpha", tags=["x"]), await new_session(api, name="beta")
    await asyncio.sleep(0.002)
    await api.post("/api/sessions/update", json={"sessionId": first, "tags": ["x", "y"]})
    sessions.store(second)

    async def listed(query: str = "") -> tuple[list[str], int]:
        body = (await api.get(prefix + query)).json()
        return [each["id"] for each in body["sessions"]], body["total"]

    assert await listed() == await listed("/") == ([first, second], 2)
    assert await listed("?limit=1") == ([first], 2)
    assert await listed("?limit=1&offset=1") == ([second], 2)
    assert await listed("?tag=y") == ([first], 1)
    assert await listed("?q=ALPH") == ([first], 1)
    assert await listed("?q=") == ([first, second], 2)
    active = {each["id"]: each["active"] for each in (await api.get(prefix)).json()["sessions"]}
    assert active == {first: True, second: False}


async def test_details_take_the_id_from_query_or_body(api):
    session_id = await new_session(api, name="n")
    answers = [
        await api.get("/api/sessions/details", params={"sessionId": session_id}),
        await api.request("GET", "/api/sessions/details", json={"sessionId": session_id}),
        await api.post("/api/sessions/details", json={"sessionId": session_id}),
        await api.post("/api/sessions/details", params={"sessionId": session_id}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["session"]["name"] == "n"


async def test_events_are_the_stored_ones(api):
    session_id = await new_session(api)
    assert (await api.get("/api/sessions/events", params={"sessionId": session_id})).json() == {"events": []}
    await api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"})
    events = (await api.post("/api/sessions/events", json={"sessionId": session_id})).json()["events"]
    assert [each["type"] for each in events] == [
        "user_message",
        "agent_run_start",
        "assistant_message",
        "agent_run_end",
    ]
    assert [each["seq"] for each in events] == [1, 2, 3, 4]
    part = await api.get("/api/sessions/events", params={"sessionId": session_id, "after": 1, "limit": 2})
    assert [each["seq"] for each in part.json()["events"]] == [2, 3]
    part = await api.post("/api/sessions/events", json={"sessionId": session_id, "after": 3})
    assert [each["seq"] for each in part.json()["events"]] == [4]


async def test_all_events_of_a_long_session_are_answered(api, sessions):
    session_id = await new_session(api)
    log = sessions.sessions_by_id[session_id].log
    await api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"})
    log += [log[0]._replace(seq=seq) for seq in range(len(log) + 1, 3001)]
    params = {"sessionId": session_id}
    assert len((await api.get("/api/sessions/events", params=params)).json()["events"]) == 3000
    assert len((await api.get("/api/sessions/events", params={**params, "limit": 1500})).json()["events"]) == 1500


async def test_status_says_what_a_session_does(api, sessions):
    session_id = await new_session(api)
    gate = asyncio.Event()
    sessions.scripts = [Script(gate=gate)]

    async def status() -> tuple[bool, str]:
        body = (await api.get("/api/sessions/status", params={"sessionId": session_id})).json()
        assert body["sessionId"] == session_id
        return body["status"]["isProcessing"], body["status"]["state"]

    assert await status() == (False, "idle")
    asking = asyncio.create_task(api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"}))
    await until(sessions.running)
    assert await status() == (True, "executing")
    gate.set()
    await asking
    assert await status() == (False, "idle")
    sessions.store(session_id)
    assert await status() == (False, "stored")
    assert sessions.restored == []


@pytest.mark.parametrize("wrap", [lambda fields: fields, lambda fields: {"metadata": fields}])
async def test_update_changes_what_is_sent_and_shows_all(api, wrap):
    session_id = await new_session(api, name="old", tags=["t"])
    answer = await api.post("/api/sessions/update", json={"sessionId": session_id, **wrap({"name": "new"})})
    assert answer.status_code == 200
    assert (answer.json()["session"]["name"], answer.json()["session"]["tags"]) == ("new", ["t"])
    answer = await api.post("/api/sessions/update", json={"sessionId": session_id, **wrap({"tags": []})})
    assert (answer.json()["session"]["name"], answer.json()["session"]["tags"]) == ("new", [])
    answer = await api.post("/api/sessions/update", json={"sessionId": session_id, **wrap({"id": "x"})})
    assert (answer.json()["session"]["name"], answer.json()["session"]["id"]) == ("new", session_id)


async def test_delete_removes_the_session(api):
    session_id = await new_session(api)
    assert (await api.post("/api/sessions/delete", json={"sessionId": session_id})).json() == {"success": True}
    assert (await api.post("/api/sessions/delete", json={"sessionId": session_id})).status_code == 404


async def test_restore_is_a_success_also_for_an_active_session(api, sessions):
    session_id = await new_session(api)
    for stored in (False, True):
        if stored:
            sessions.store(session_id)
        answer = await api.post("/api/sessions/restore", json={"sessionId": session_id})
        assert answer.status_code == 200
        assert (answer.json()["success"], answer.json()["session"]["active"]) == (True, True)
    assert sessions.restored == [session_id]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("content", ["hi", [{"type": "text", "text": "hi"}]])
async def test_query_answers_with_the_last_text_and_its_event(api, sessions, prefix, content):
    session_id = await new_session(api)
    answer = await api.post(f"{prefix}/query", json={"sessionId": session_id, "query": content})
    assert answer.status_code == 200
    assert answer.json()["result"] == "Hello"
    assert answer.json()["event"]["type"] == "assistant_message"
    assert answer.json()["event"]["finishReason"] == "stop"
    assert sessions.queries[0][1].content == content
    assert sessions.queries[0][1].stream is False


async def test_query_of_a_stored_session_brings_it_back(api, sessions):
    session_id = await new_session(api)
    sessions.store(session_id)
    await api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"})
    assert sessions.restored == [session_id]


@pytest.mark.parametrize("path", ["/api/sessions/abort", "/api/v1/sessions/{}/abort", "/api/sessions/{}/abort"])
async def test_abort_ends_the_run_and_keeps_what_there_is(api, sessions, path):
    session_id = await new_session(api)
    sessions.scripts = [Script(("par", "tial"), gate=asyncio.Event())]
    asking = asyncio.create_task(api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"}))
    await until(sessions.running)

    async def abort() -> httpx.Response:
        in_path = "{}" in path
        return await api.post(path.format(session_id), **({} if in_path else {"json": {"sessionId": session_id}}))

    assert (await abort()).json() == {"success": True}
    answered = await asking
    assert answered.status_code == 200
    assert answered.json()["result"] == "partial"
    assert answered.json()["event"]["finishReason"] == "abort"
    nothing = await abort()
    assert nothing.status_code == 200
    assert nothing.json()["success"] is False
    assert nothing.json()["error"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("small", "local")),
        ({"model": {"provider": "cloud", "id": "huge"}}, ("huge", "cloud")),
        ({"model": "huge", "provider": "cloud", "apiKey": "x", "baseURL": "http://x"}, ("huge", "cloud")),
    ],
)
async def test_a_summary_is_a_title_and_says_whose(api, fields, expected):
    session_id = await new_session(api)
    messages = [{"role": "user", "content": "hi"}]
    body = {"sessionId": session_id, "messages": messages, **fields}
    answer = await api.post("/api/sessions/generate-summary", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"summary": "A short title", "model": expected[0], "provider": expected[1]}


@pytest.mark.parametrize(
    "fields", [{"model": {"provider": "cloud", "id": "huge"}}, {"provider": "cloud", "modelId": "huge"}]
)
async def test_the_model_of_a_session_can_be_changed(api, fields):
    session_id = await new_session(api)
    answer = await api.post("/api/sessions/model", json={"sessionId": session_id, **fields})
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert answer.json()["sessionInfo"]["model"] == {"provider": "cloud", "id": "huge"}


@pytest.mark.parametrize(
    "model", [{"id": "unheard"}, {"provider": "local", "id": "huge"}, {"provider": "x", "id": "small"}]
)
async def test_a_model_that_nobody_offers_is_refused(api, model):
    session_id = await new_session(api)
    status, text = told(await api.post("/api/sessions/model", json={"sessionId": session_id, "model": model}))
    assert status == 400
    assert model["id"] in text


async def test_the_models_are_listed(api, sessions):
    body = (await api.get("/api/v1/models")).json()
    assert body["models"] == [
        {"provider": "local", "models": ["small", "large"]},
        {"provider": "cloud", "models": ["huge"]},
    ]
    assert body["defaultModel"] == {"provider": "local", "id": "small", "modelId": "small"}
    assert body["agents"][0]["name"] == "assistant"
    sessions.models = ()
    assert (await api.get("/api/v1/models")).json()["defaultModel"] is None


async def test_health_and_version(api):
    assert (await api.get("/api/v1/health")).json() == {"status": "ok"}
    assert (await api.get("/api/v1/version")).json()["version"]


async def test_oneshot_creates_and_asks(api, sessions):
    answer = await api.post("/api/v1/oneshot/query", json={"query": "hi", "sessionName": "n", "sessionTags": ["t"]})
    assert answer.status_code == 200
    session = sessions.sessions_by_id[answer.json()["sessionId"]].record
    assert (answer.json()["result"], session.name, session.tags) == ("Hello", "n", ("t",))


async def test_a_oneshot_that_is_refused_leaves_no_session(api, sessions):
    sessions.config = sessions.config.model_copy(update={"exclusive": True})
    session_id = await new_session(api)
    sessions.scripts = [Script(gate=asyncio.Event())]
    await sessions.begin(session_id, Query("hi"))
    for path in ("query", "query/stream"):
        assert (await api.post(f"/api/v1/oneshot/{path}", json={"query": "hi"})).status_code == 409
    assert list(sessions.sessions_by_id) == [session_id]


# Each failure


OF_ONE = [
    ("GET", "details"), ("POST", "details"), ("GET", "events"), ("POST", "events"), ("GET", "events/stream"),
    ("GET", "status"), ("POST", "update"), ("POST", "delete"), ("POST", "restore"), ("POST", "query"),
    ("POST", "query/stream"), ("POST", "abort"), ("POST", "generate-summary"), ("POST", "model"),
    ("GET", "workspace/files"), ("GET", "workspace/search"), ("POST", "workspace/validate"),
]  # fmt: skip
MORE = {
    "query": {"query": "x"}, "query/stream": {"query": "x"}, "model": {"model": {"id": "small"}},
    "generate-summary": {"messages": [{"role": "user", "content": "x"}]}, "update": {"name": "x"},
    "workspace/validate": {"paths": ["x"]},
}  # fmt: skip


async def ask(api: Client, method: str, route: str, session_id: Any, prefix: str = "/api/sessions") -> httpx.Response:
    fields = ({} if session_id is None else {"sessionId": session_id}) | MORE.get(route, {})
    sent: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
    return await api.request(method, f"{prefix}/{route}", **sent)


@pytest.mark.parametrize(("method", "route"), OF_ONE)
async def test_a_missing_id_is_named(api, method, route):
    status, text = told(await ask(api, method, route, None))
    assert (status, "sessionId" in text) == (400, True)


@pytest.mark.parametrize("session_id", [5, None, ["x"], {"a": "b"}, True])
@pytest.mark.parametrize(("method", "route"), [each for each in OF_ONE if each[0] == "POST"])
async def test_an_id_that_is_no_text_is_named(api, method, route, session_id):
    answer = await api.request(method, f"/api/sessions/{route}", json={"sessionId": session_id, **MORE.get(route, {})})
    status, text = told(answer)
    assert (status, "sessionId" in text) == (400, True)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("method", "route"), OF_ONE)
async def test_an_unknown_id_is_404(api, method, route, prefix):
    assert told(await ask(api, method, route, UNKNOWN, prefix))[0] == 404


@pytest.mark.parametrize("session_id", ["", "../../etc/passwd", "a\0b", "a/b", "x" * 5000, "💥", " ", "%2e%2e", "."])
@pytest.mark.parametrize(("method", "route"), OF_ONE)
async def test_an_odd_id_is_404_and_no_storage_ever_sees_it(api, sessions, method, route, session_id):
    sessions.fail()
    assert told(await ask(api, method, route, session_id))[0] == 404


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "an array": (b"[]", JSON, 400),
    "a text": (b'"x"', JSON, 400),
    "cut off": (b'{"sessionId"', JSON, 400),
    "NaN": (b'{"sessionId": NaN}', JSON, 400),
    "deep": (b'{"a":' * 100_000, JSON, 400),
    "invalid UTF-8": (b'{"sessionId": "\xff"}', JSON, 400),
    "a lone surrogate": (b'{"sessionId": "\\ud800"}', JSON, 400),
    "a form": (b"sessionId=5", {"content-type": "application/x-www-form-urlencoded"}, 415),
    "JSON as a text": (b'{"sessionId": "x"}', {"content-type": "text/plain"}, 415),
    "JSON as nothing": (b'{"sessionId": "x"}', {}, 415),
    "3 MB": (b'{"sessionId": "' + b"x" * 3_000_000 + b'"}', JSON, 413),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/api/sessions/create", "/api/v1/sessions/query", "/api/v1/oneshot/query"])
async def test_a_bad_body_is_told(api, sessions, path, name):
    content, headers, expected = BODIES[name]
    assert told(await api.post(path, content=content, headers=headers))[0] == expected
    assert sessions.queries == []


@pytest.mark.parametrize(
    ("route", "fields", "field"),
    [
        ("create", {"name": 5}, "name"),
        ("create", {"name": "x" * 201}, "name"),
        ("create", {"name": "a\0b"}, "name"),
        ("create", {"tags": "x"}, "tags"),
        ("create", {"tags": [1]}, "tags.0"),
        ("create", {"tags": ["x"] * 101}, "tags"),
        ("create", {"model": {"provider": "x"}}, "model.id"),
        ("create", {"agent": ["x"]}, "agent"),
        ("update", {"sessionId": UNKNOWN, "metadata": 5}, "metadata"),
        ("update", {"sessionId": UNKNOWN, "metadata": {"tags": 5}}, "metadata.tags"),
        ("query", {"sessionId": UNKNOWN}, "query"),
        ("query", {"sessionId": UNKNOWN, "query": 5}, "query"),
        ("query", {"sessionId": UNKNOWN, "query": None}, "query"),
        ("query", {"sessionId": UNKNOWN, "query": ["x"]}, "query"),
        ("query/stream", {"sessionId": UNKNOWN, "query": {"text": "x"}}, "query"),
        ("model", {"sessionId": UNKNOWN}, "model"),
        ("model", {"sessionId": UNKNOWN, "model": {"id": 5}}, "model.id"),
        ("generate-summary", {"sessionId": UNKNOWN}, "messages"),
        ("generate-summary", {"sessionId": UNKNOWN, "messages": []}, "messages"),
        ("generate-summary", {"sessionId": UNKNOWN, "messages": ["x"]}, "messages.0"),
        ("events", {"sessionId": UNKNOWN, "after": -1}, "after"),
        ("events", {"sessionId": UNKNOWN, "after": "x"}, "after"),
        ("events", {"sessionId": UNKNOWN, "limit": 0}, "limit"),
        ("workspace/validate", {"sessionId": UNKNOWN}, "paths"),
        ("workspace/validate", {"sessionId": UNKNOWN, "paths": "x"}, "paths"),
        ("workspace/validate", {"sessionId": UNKNOWN, "paths": [5]}, "paths.0"),
    ],
)
async def test_a_wrong_field_is_named(api, route, fields, field):
    status, text = told(await api.post(f"/api/sessions/{route}", json=fields))
    assert status == 400
    assert text.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=0", "limit=1001", "offset=-1", "offset=" + "9" * 30, "q=%00", "tag=%00"]
)
async def test_a_bad_parameter_of_the_list_is_named(api, query):
    status, text = told(await api.get(f"/api/sessions?{query}"))
    assert status == 400
    assert text.startswith(query.partition("=")[0])


async def test_a_query_in_the_url_asks_nothing(api, sessions):
    """A page of another site can have a browser send this."""
    assert (await api.post("/api/v1/oneshot/query?query=rm")).status_code == 400
    assert sessions.queries == []


async def test_an_empty_query_is_refused(api):
    session_id = await new_session(api)
    assert told(await api.post("/api/sessions/query", json={"sessionId": session_id, "query": ""})) == (
        400,
        "query: is empty",
    )


@pytest.mark.parametrize("route", ["query", "query/stream"])
async def test_a_busy_session_is_409_in_the_words_that_clients_know(api, sessions, route):
    session_id = await new_session(api)
    sessions.scripts = [Script(gate=asyncio.Event())]
    await sessions.begin(session_id, Query("hi"))
    answer = await api.post(f"/api/sessions/{route}", json={"sessionId": session_id, "query": "x"})
    text = "Agent is already executing a task. Complete or abort the current task before starting a new one."
    assert told(answer) == (409, text)


@pytest.mark.parametrize("route", ["query", "query/stream"])
async def test_an_exclusive_server_says_which_session_runs(api, sessions, route):
    sessions.config = sessions.config.model_copy(update={"exclusive": True})
    first, second = await new_session(api), await new_session(api)
    sessions.scripts = [Script(gate=asyncio.Event())]
    await sessions.begin(first, Query("hi"))
    answer = await api.post(f"/api/sessions/{route}", json={"sessionId": second, "query": "x"})
    assert told(answer)[0] == 409
    assert answer.json()["runningSessionId"] == first


@pytest.mark.parametrize("route", ["query", "query/stream", "restore", "events/stream"])
async def test_too_many_active_sessions_are_429_with_a_time_to_come_back(api, sessions, route):
    session_id = await new_session(api)
    sessions.store(session_id)
    sessions.config = sessions.config.model_copy(update={"max_active": 0})
    answer = await ask(api, "GET" if route == "events/stream" else "POST", route, session_id)
    assert told(answer)[0] == 429
    assert answer.headers["retry-after"] == "5"


async def test_a_failed_model_is_502_and_no_key_is_shown(api, sessions):
    session_id = await new_session(api)
    sessions.scripts = [Script(error=ModelRejected("cloud", 401, "bad key sk-abcdefghijkl"))] * 2
    answer = await api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"})
    assert told(answer) == (502, "model backend 'cloud': request refused (401): bad key ***")
    body = {"sessionId": session_id, "messages": [{}]}
    assert (await api.post("/api/sessions/generate-summary", json=body)).status_code == 502


async def test_no_model_is_502_and_says_how_to_add_one(api, sessions):
    session_id = await new_session(api)
    sessions.scripts = [Script(error=NoModelConfigured())]
    status, text = told(await api.post("/api/sessions/query", json={"sessionId": session_id, "query": "hi"}))
    assert status == 502
    assert "backends:" in text


@pytest.mark.parametrize("error", [StorageUnavailable("it is full"), Stopping(), None], ids=repr)
@pytest.mark.parametrize(("method", "route"), OF_ONE)
async def test_a_storage_or_a_pump_that_does_not_answer_is_503(api, sessions, method, route, error):
    session_id = await new_session(api)
    sessions.fail(error)
    answer = await ask(api, method, route, session_id)
    assert told(answer)[0] == 503
    assert answer.headers["retry-after"] == "1"


async def test_without_sessions_their_routes_say_so(organism):
    async with client_of(organism) as client:
        for method, path in [("GET", "/api/sessions"), ("POST", "/api/v1/sessions/create"), ("GET", "/api/v1/models")]:
            status, text = told(await client.request(method, path))
            assert (status, "not served" in text) == (503, True)


@pytest.mark.parametrize("prefix", [*PREFIXES, "/api/v1/oneshot", "/api/v1/models"])
async def test_unknown_routes_and_methods_have_the_shape_of_these_routes(api, prefix):
    assert told(await api.get(f"{prefix}/nowhere"))[0] == 404
    assert told(await api.get(f"{prefix}/query"))[0] in (404, 405)
    assert told(await api.request("DELETE", "/api/sessions/create"))[0] == 405


@pytest.mark.parametrize(("path", "allowed"), [("details", "GET, POST"), ("create", "POST"), ("events/stream", "GET")])
async def test_a_method_that_is_refused_is_told_all_that_are_not(api, path, allowed):
    assert (await api.delete(f"/api/sessions/{path}")).headers["allow"] == allowed


async def test_other_routes_keep_their_shape(api):
    assert (await api.get("/api/v1/sessionsx")).json()["error"]["code"] == "not_found"
    assert (await api.get("/api/v1/agents?limit=x")).json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "path", ["/api/sessions/%00/abort", "/api/sessions/..%2f..%2fetc/abort", "/api/sessions/%ff/abort"]
)
async def test_odd_paths_are_404(api, path):
    assert told(await api.post(path))[0] == 404


async def test_a_bug_is_told_in_the_same_shape(api, sessions, monkeypatch):
    monkeypatch.delattr(FakeSessions, "sessions")
    status, text = told(await api.get("/api/sessions"))
    assert (status, "internal error" in text) == (500, True)
