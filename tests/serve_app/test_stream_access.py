"""Who may open WebSockets and Socket.IO connections, what they show to whom, and when they end."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
import pytest
import socketio
import uvicorn
from access_control import Guarded, guarded
from conftest import Socket, eventually, until
from hypothesis import given
from hypothesis import strategies as st
from test_session_socketio import drop_unread_answers
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from organism.access.audit import AuditFilter
from organism.access.principal import LOCAL, Bounds, Role
from organism.ref import Event
from organism.sessions.records import NewSession
from serve_app.auth import BROKEN_OFF
from serve_app.authority import UNKNOWN
from serve_app.commands import COMMAND_ROLES, EVENT_COMMANDS, LOG_COMMANDS
from serve_app.login import NoLogin, log_in
from serve_app.socketio.client import EVENT_ROLES, Client

PATHS = ["/ws", "/ws/messages"]


class Place:
    """address: of the application, behind a real server."""

    def __init__(self, it: Guarded, address: str) -> None:
        self.it = it
        self.address = address

    @asynccontextmanager
    async def socket(self, name: str | None = None, path: str = "/ws") -> AsyncIterator[Socket]:
        headers = {} if name is None else {"X-API-Key": self.it.keys[name]}
        url = f"ws://{self.address}{path}"
        async with connect(url, max_size=None, compression=None, additional_headers=headers) as connection:
            yield Socket(connection)


@asynccontextmanager
async def place_of(it: Guarded) -> AsyncIterator[Place]:
    listening = sockets.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(it.app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await until(lambda: server.started)
        yield Place(it, "{}:{}".format(*listening.getsockname()))
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with guarded(tmp_path, bind_host="127.0.0.1") as it, place_of(it) as place:
        yield place


async def closed_with(socket: Socket) -> int:
    """The code; whatever is sent before must be errors."""
    try:
        while True:
            assert (await socket.hear())["event"] == "error"
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


def test_every_command_and_event_says_what_it_needs():
    assert COMMAND_ROLES.keys() == EVENT_COMMANDS.keys() | LOG_COMMANDS.keys()
    assert COMMAND_ROLES["inject"] is Role.OPERATOR
    client: Any = Client(LOCAL, SimpleNamespace(queue=None), *[None] * 3)  # type: ignore[arg-type]
    assert EVENT_ROLES.keys() == client._commands.keys()
    assert EVENT_ROLES["send-query"] is Role.OPERATOR


@pytest.mark.parametrize("path", PATHS)
async def test_the_first_message_tells_who_it_is(place, path):
    async with place.socket(path=path) as socket:
        answer = await socket.ask(cmd="auth", id=1, token=place.it.keys["operator"])
        assert answer == {"event": "ack", "cmd": "auth", "id": 1, "principal": "key:operator", "role": "operator"}
        assert (await socket.ask(cmd="auth", token="org_no"))["code"] == "unauthenticated"
        assert (await socket.ask(cmd="ping"))["event"] == "ack"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("first", ["", "[]", '{"cmd":"ping"}', '{"cmd":"auth"}', b"\x00", '{"cmd":"auth","token":"x"}'])
async def test_anything_else_first_closes_the_connection(place, path, first):
    async with place.socket(path=path) as socket:
        await socket.connection.send(first)
        assert await closed_with(socket) == 1008


async def test_silence_closes_the_connection(place, monkeypatch):
    monkeypatch.setattr("serve_app.login.AUTH_WITHIN_S", 0.05)
    async with place.socket() as socket:
        assert await closed_with(socket) == 1008
    assert place.it.app.state.replica.hub.unknown == 0


async def test_failed_logins_are_recorded_without_the_token(place):
    async with place.socket() as socket:
        await socket.say(cmd="auth", token=place.it.keys["revoked"])
        assert await closed_with(socket) == 1008

    found: list[Any] = []
    while not found:
        await asyncio.sleep(0.02)
        found = await place.it.desk.audit_page(AuditFilter(action="login"), 10)
    assert place.it.keys["revoked"] not in str(found)


async def test_a_viewer_commands_nothing_and_stays(place):
    async with place.socket("viewer") as socket:
        await socket.hear("connected")
        assert (await socket.ask(cmd="pause", agent="greeter"))["code"] == "forbidden"
        assert (await socket.ask(cmd="inject", to="greeter", payload={"name": "Dan"}))["code"] == "forbidden"
        assert (await socket.ask(cmd="ping"))["event"] == "ack"


async def test_commands_are_recorded(place):
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        await socket.ask(cmd="pause", agent="greeter")
    (record,) = await place.it.desk.audit_page(AuditFilter(action="pause"), 10)
    assert (record.who, record.target, record.outcome) == ("key:operator", "greeter", "ok")


async def outcomes_of(place: Place, action: str) -> list[tuple[str, str, str]]:
    found = await place.it.desk.audit_page(AuditFilter(action=action), 10)
    return [(each.who, each.outcome, each.detail) for each in found]


class Hanging:
    """A verb of the organism that takes effect and does not answer. begun: it has taken effect."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, *_: object) -> Any:
        self.begun.set()
        await asyncio.Event().wait()


@pytest.fixture
def pause(place: Place, monkeypatch: pytest.MonkeyPatch) -> Hanging:
    hanging = Hanging()
    monkeypatch.setattr(place.it.organism, "pause", hanging)
    return hanging


async def test_a_verb_that_is_not_answered_in_time_has_one_record_which_says_so(place, pause):
    place.it.organism.config = place.it.organism.config | {"api": {"request_timeout_s": 0.05}}
    await place.it.app.state.replica.feed.refresh()
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        answer = await socket.ask(cmd="pause", agent="greeter")
        assert "no answer within 0.05 s" in answer["error"]
        assert (await socket.ask(cmd="ping"))["event"] == "ack"
    await eventually(lambda: outcomes_of(place, "pause"), [("key:operator", "failed", BROKEN_OFF)])


async def test_a_verb_whose_client_leaves_meanwhile_has_one_record_which_says_so(place, pause):
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        await socket.say(cmd="pause", agent="greeter")
        await pause.begun.wait()
    clients = place.it.app.state.replica.hub._clients
    async with asyncio.timeout(10):
        while clients:
            place.it.organism.send()  # the writer finds that the client has gone
            await asyncio.sleep(0.01)
    await eventually(lambda: outcomes_of(place, "pause"), [("key:operator", "failed", BROKEN_OFF)])


async def test_a_verb_whose_key_is_revoked_meanwhile_has_one_record_which_says_so(place, pause):
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        await socket.say(cmd="pause", agent="greeter")
        await pause.begun.wait()
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        assert await closed_with(socket) == 1008
    await eventually(lambda: outcomes_of(place, "pause"), [("key:operator", "failed", BROKEN_OFF)])


async def test_a_verb_whose_record_waits_when_the_key_is_revoked_has_no_second_one(place, monkeypatch):
    append, begun, is_back = place.it.storage.append_audit, asyncio.Event(), asyncio.Event()

    async def append_later(records: list[Any]) -> None:
        begun.set()
        await is_back.wait()
        await append(records)

    monkeypatch.setattr(place.it.storage, "append_audit", append_later)
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        await socket.say(cmd="pause", agent="greeter")
        await begun.wait()
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        assert await closed_with(socket) == 1008
        is_back.set()
    await eventually(lambda: outcomes_of(place, "pause"), [("key:operator", "ok", "")])


async def test_an_inject_whose_client_leaves_has_the_record_of_how_it_ended(place):
    place.it.organism.gate.clear()
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        await socket.say(cmd="inject", to="greeter", payload={"name": "Dan"})
        await until(lambda: place.it.organism.submitted)
    await until(lambda: not place.it.app.state.replica.hub._clients)
    place.it.organism.gate.set()
    await eventually(lambda: outcomes_of(place, "inject"), [("key:operator", "ok", "")])


async def test_a_failed_auth_on_an_open_socket_is_a_failed_login(place):
    async with place.socket("viewer") as socket:
        await socket.hear("connected")
        for name in ("revoked", "admin"):
            await socket.ask(cmd="auth", token=place.it.keys[name])
    unknown = ("key:viewer", "refused", UNKNOWN)
    await eventually(lambda: outcomes_of(place, "login"), [unknown])


async def test_a_bound_key_sees_and_reaches_its_agents_only(place):
    await place.it.add("bound", Role.OPERATOR, Bounds(agents=frozenset({"shouter"})))
    await place.it.refresh()
    organism = place.it.organism
    organism.append("old", "console", "greeter", b"{}")
    async with place.socket("bound", "/ws?since=0") as socket:
        connected = await socket.hear("connected")
        assert [agent["name"] for agent in connected["agents"]] == ["shouter"]
        assert (await socket.ask(cmd="pause", agent="greeter"))["code"] == "not_found"
        assert (await socket.ask(cmd="kill", thread_id="old"))["code"] in ("not_found", "thread_not_found")
        organism.send(to="greeter")
        organism.change("greeter", state="processing")
        organism.send(thread_id="t2", to="shouter")
        assert (await socket.hear("message", "agent_state"))["message"]["to"] == "shouter"


async def test_a_thread_whose_agents_are_gone_is_no_bound_keys(place):
    await place.it.add("bound", Role.OPERATOR, Bounds(agents=frozenset({"shouter"})))
    await place.it.refresh()
    place.it.organism.append("old", "removed", "removed too", b"{}")
    async with place.socket("bound") as socket, place.it.client("bound") as client:
        assert (await socket.ask(cmd="kill", thread_id="old"))["code"] == "not_found"
        inject = {"to": "shouter", "payload": {"text": "x"}, "thread_id": "old"}
        assert (await socket.ask(cmd="inject", **inject))["code"] == "not_found"
        assert (await client.post("/api/v1/inject", json=inject)).status_code == 404
        assert (await client.post("/api/v1/threads/old/kill")).status_code == 404


async def test_session_states_are_told_to_the_owner_and_to_admins(place):
    async with place.socket("operator") as owner, place.socket("other") as other, place.socket("admin") as admin:
        for socket in (owner, other, admin):
            await socket.hear("connected")
        place.it.organism.happen(Event("session_state", None, {"id": "s", "owner": "key:operator", "state": "idle"}))
        for socket in (owner, admin):
            assert (await socket.hear("session_state"))["session"] == {"id": "s", "state": "idle"}
        await other.hears_nothing_before_pong()


@pytest.mark.parametrize("path", PATHS)
async def test_a_revoked_key_ends_what_it_has_opened(place, path):
    async with place.socket("operator", path) as socket:
        await socket.ask(cmd="ping")
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear("nothing")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@asynccontextmanager
async def caller(place: Place, auth: Any) -> AsyncIterator[socketio.AsyncClient]:
    async with aiohttp.ClientSession() as http:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        try:
            await client.connect(f"http://{place.address}", transports=["websocket"], auth=auth)
            yield client
        finally:
            await client.disconnect()
            drop_unread_answers()


@pytest.mark.parametrize("auth", [None, {}, {"token": 7}, {"token": "x" * 100_000}, [], "x", {"token": {"token": 1}}])
async def test_socket_io_refuses_who_is_nobody(place, auth):
    with pytest.raises(socketio.exceptions.ConnectionError):
        async with caller(place, auth):
            pass
    engine = place.it.app.state.socket_io._server.eio
    await until(lambda: not any(not each.closed for each in engine.sockets.values()))


async def test_socket_io_shows_sessions_to_their_owner(place):
    session_id = (await place.it.sessions.create(NewSession(), "key:operator")).id
    for name, may in (("operator", True), ("other", False), ("viewer", False), ("admin", True)):
        async with caller(place, {"token": place.it.keys[name]}) as client:
            assert (await client.call("join-session", session_id))["success"] is may


async def test_socket_io_ends_with_the_key(place):
    async with caller(place, {"token": place.it.keys["operator"]}) as client:
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        await until(lambda: not client.connected)


async def test_a_key_that_is_revoked_before_socket_io_connects_does_not_connect(place):
    url = f"ws://{place.address}/socket.io/?EIO=4&transport=websocket"
    async with connect(url, additional_headers={"x-api-key": place.it.keys["operator"]}) as connection:
        assert str(await connection.recv()).startswith("0")
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        await connection.send("40")
        assert str(await connection.recv()).startswith("44")


async def test_a_key_in_place_of_a_connections_id_is_not_repeated(place):
    url = f"http://{place.address}/socket.io/?EIO=4&transport=polling"
    async with aiohttp.ClientSession() as http, http.get(f"{url}&sid={place.it.keys['viewer']}") as answer:
        assert (answer.status, await answer.json(content_type=None)) == (400, "Invalid session ***")


async def test_a_polling_connection_belongs_to_who_opened_it(place):
    url = f"http://{place.address}/socket.io/?EIO=4&transport=polling"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers={"x-api-key": place.it.keys["operator"]}) as opened:
            sid = orjson.loads((await opened.text())[1:])["sid"]
        for headers in ({"x-api-key": place.it.keys["other"]}, {}):
            async with http.post(f"{url}&sid={sid}", data="40", headers=headers) as answer:
                assert answer.status == 403


class _Mute:
    """A WebSocket without anybody known that sends one thing; nothing may be sent back."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.scope: dict[str, Any] = {}
        self._event = event

    async def receive(self) -> dict[str, Any]:
        return self._event


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.text(), st.lists).map(lambda v: orjson.dumps(v))))
def test_no_first_message_breaks_the_login(first):
    event = {"type": "websocket.receive", "text" if isinstance(first, str) else "bytes": first}
    hub, live = SimpleNamespace(unknown=0), SimpleNamespace(limits=SimpleNamespace(max_clients=8))
    with pytest.raises(NoLogin):
        asyncio.run(log_in(_Mute(event), SimpleNamespace(hub=hub, live=live)))  # type: ignore[arg-type]
    assert hub.unknown == 0
