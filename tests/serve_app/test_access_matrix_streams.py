"""Every command of the WebSockets and every event of Socket.IO against every kind of caller, from their own tables."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from access_control import ROLES, STRANGERS
from access_samples import UNKNOWN, Samples, add_samples, state_of
from conftest import Socket
from fake_sessions import Script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from socketio.exceptions import ConnectionError as SocketIOError
from test_stream_access import PATHS, Place, caller, closed_with, place  # noqa: F401 - a fixture
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from organism.access.principal import Bounds, Role
from organism.sessions.records import NewSession
from organism.sessions.wire import Query
from serve_app.commands import COMMAND_ROLES, EVENT_COMMANDS, LOG_COMMANDS
from serve_app.routes.session_queries import NOTHING_RUNS
from serve_app.socketio.client import EVENT_ROLES

SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
COMMANDS = [(path, cmd) for path, table in zip(PATHS, (EVENT_COMMANDS, LOG_COMMANDS), strict=True) for cmd in table]


def fields_of(cmd: str, samples: Samples) -> dict[str, Any]:
    """What makes the command succeed."""
    fields: dict[str, dict[str, Any]] = {
        "inject": {"to": samples.agent, "payload": {"name": "Dan"}},
        "pause": {"agent": samples.agent},
        "resume": {"agent": samples.agent},
        "kill": {"thread_id": samples.thread_id},
        "requeue": {"message_id": samples.message_id},
        "auth": {"token": "org_no"},
    }
    return fields.get(cmd, {})


@pytest.mark.parametrize("path", PATHS)
async def test_strangers_are_shown_out_of_a_websocket(place, path):  # noqa: F811
    for who in STRANGERS:
        async with place.socket(path=path) as socket:
            await socket.say(cmd="auth", token=place.it.credential_of(who))
            assert await closed_with(socket) == 1008, who


@pytest.mark.parametrize("path", PATHS)
async def test_no_command_of_a_stranger_is_obeyed(place, path):  # noqa: F811
    samples = await add_samples(place.it)
    before = await state_of(place.it, samples)
    for cmd in (each for where, each in COMMANDS if where == path):
        async with place.socket(path=path) as socket:
            await socket.say(cmd=cmd, **fields_of(cmd, samples))
            assert await closed_with(socket) == 1008, cmd
    assert await state_of(place.it, samples) == before


@pytest.mark.parametrize("path", [*PATHS, SOCKET_IO])
async def test_strangers_open_no_websocket_by_headers_either(place, path):  # noqa: F811
    for who in STRANGERS:
        if who != "nobody":
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://{place.address}{path}", additional_headers=place.it.headers_of(who)):
                    pass
            assert refused.value.response.status_code == 403, who


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.label)
@pytest.mark.parametrize("path", PATHS)
async def test_a_role_commands_what_the_table_says_and_it_succeeds(place, path, role):  # noqa: F811
    async with place.socket(role.label, path) as socket:
        for cmd in (each for where, each in COMMANDS if where == path):
            answer = await answer_to(socket, cmd=cmd, **fields_of(cmd, await add_samples(place.it)))
            if role < COMMAND_ROLES[cmd]:
                assert answer["code"] == "forbidden", (cmd, answer)
            else:
                expected = "unauthenticated" if cmd == "auth" else None  # nobody becomes somebody else
                assert answer.get("code") == expected, (cmd, answer)


async def answer_to(socket: Socket, **command: Any) -> dict[str, Any]:
    """An `error` may be an event as well."""
    await socket.say(id="asked", **command)
    while (answer := await socket.hear("ack", "error")).get("id") != "asked":
        pass
    return answer


async def test_strangers_do_not_get_into_socket_io(place):  # noqa: F811
    for who in STRANGERS:
        with pytest.raises(SocketIOError, match="namespaces failed to connect"):
            async with caller(place, {"token": place.it.credential_of(who)}):
                pass


async def test_strangers_poll_no_socket_io(place):  # noqa: F811
    async with place.it.client() as client:
        for who in STRANGERS:
            if who != "nobody":
                headers = place.it.headers_of(who)
                for method in ("GET", "POST"):
                    refused = await client.request(method, "/socket.io/?EIO=4&transport=polling", headers=headers)
                    assert refused.status_code == 401, (who, refused.text)


async def test_no_event_before_connect_is_obeyed(place):  # noqa: F811
    samples = await add_samples(place.it)
    before = await state_of(place.it, samples)
    for event in EVENT_ROLES:
        async with connect(f"ws://{place.address}{SOCKET_IO}") as connection:
            assert str(await connection.recv()).startswith("0")
            await connection.send("420" + orjson.dumps([event, payload_of(event, samples.session_id)]).decode())
            await connection.send("40")
            assert str(await connection.recv()).startswith("44"), event  # refused; nothing came before
    assert await state_of(place.it, samples) == before
    assert place.it.sessions.followers() == 0


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.label)
async def test_a_role_sends_the_events_that_the_table_says_and_they_succeed(place, role):  # noqa: F811
    session_id = (await place.it.sessions.create(NewSession(), f"key:{role.label}")).id
    async with caller(place, {"token": place.it.keys[role.label]}) as client:
        for event, least in EVENT_ROLES.items():
            answer: Any = await client.call(event, payload_of(event, session_id))
            if role < least:
                assert "needs the role" in answer["error"], (event, answer)
            else:
                ended = event == "abort-query" and answer["error"] == NOTHING_RUNS  # the run of send-query is short
                assert ended or not answer or "error" not in answer, (event, answer)


def payload_of(event: str, session_id: str) -> dict[str, Any]:
    return {"sessionId": session_id} | ({"query": "hi"} if event == "send-query" else {})


@pytest.mark.parametrize("who", ["other", "bound"])
async def test_every_event_about_a_session_of_others_is_answered_as_if_there_were_none(place, who):  # noqa: F811
    it = place.it
    await it.add("bound", Role.ADMIN, Bounds())
    session_id = (await it.sessions.create(NewSession(), "key:operator")).id
    it.sessions.scripts.append(Script(gate=asyncio.Event()))
    await it.sessions.begin(session_id, Query("hi"))
    await it.refresh()
    async with it.sessions, caller(place, {"token": it.keys[who]}) as client:
        for event in EVENT_ROLES:
            known, unknown = [
                await client.call(event, payload_of(event, each)) for each in (session_id, UNKNOWN.session_id)
            ]
            assert str(known).replace(session_id, UNKNOWN.session_id) == str(unknown), event
            assert session_id not in str(unknown), event
        assert it.sessions.running() == [session_id]
        assert len(it.sessions.queries) == 1
        assert it.sessions.followers() == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    auth=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=50),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=5,
    )
)
async def test_no_payload_of_connect_lets_anybody_in(place, auth):  # noqa: F811
    with pytest.raises((SocketIOError, TypeError)):
        async with caller(place, auth):
            pass
    answer = place.it.app.state.socket_io._clients
    assert answer == {}
