"""Every command of the WebSockets and every event of Socket.IO against every kind of caller, from their own tables."""

from __future__ import annotations

from typing import Any

import pytest
import socketio
from access_control import ROLES, token
from conftest import Socket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_access_matrix import STRANGERS
from test_stream_access import PATHS, Place, caller, closed_with, place  # noqa: F401 - a fixture

from organism.access.principal import Role
from organism.sessions.records import NewSession
from serve_app.commands import COMMAND_ROLES, EVENT_COMMANDS, LOG_COMMANDS
from serve_app.socketio.client import EVENT_ROLES

FIELDS: dict[str, dict[str, Any]] = {
    "inject": {"to": "greeter", "payload": {"name": "Dan"}},
    "pause": {"agent": "greeter"},
    "resume": {"agent": "greeter"},
    "kill": {"thread_id": "unknown"},
    "requeue": {"message_id": "unknown"},
    "auth": {"token": "org_no"},
}
COMMANDS = [(path, cmd) for path, table in zip(PATHS, (EVENT_COMMANDS, LOG_COMMANDS), strict=True) for cmd in table]


def credential(place: Place, who: str) -> str:  # noqa: F811
    """What a stranger of the matrix of routes would send."""
    forged = {
        "nobody": "",
        "garbage": "org_aaaaaaaaaa_" + 43 * "x",
        "wrong signature": token(secret="another secret that is long enough for HS256, too"),
        "alg none": token(algorithm="none"),
        "expired token": token(expires_in_s=-3600),
    }
    return forged[who] if who in forged else place.it.keys[who]


@pytest.mark.parametrize("who", STRANGERS)
@pytest.mark.parametrize("path", PATHS)
async def test_strangers_are_shown_out_of_a_websocket(place, path, who):  # noqa: F811
    async with place.socket(path=path) as socket:
        await socket.say(cmd="auth", token=credential(place, who))
        assert await closed_with(socket) == 1008


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.label)
@pytest.mark.parametrize("path", PATHS)
async def test_a_role_commands_what_the_table_says(place, path, role):  # noqa: F811
    async with place.socket(role.label, path) as socket:
        for _, cmd in (each for each in COMMANDS if each[0] == path):
            answer = await asked(socket, cmd)
            assert (answer.get("code") == "forbidden") == (role < COMMAND_ROLES[cmd]), (cmd, answer)


async def asked(socket: Socket, cmd: str) -> dict[str, Any]:
    await socket.say(cmd=cmd, id=cmd, **FIELDS.get(cmd, {}))
    while (answer := await socket.hear("ack", "error")).get("id") != cmd:
        pass
    return answer


@pytest.mark.parametrize("who", STRANGERS)
async def test_strangers_do_not_get_into_socket_io(place, who):  # noqa: F811
    with pytest.raises(socketio.exceptions.ConnectionError):
        async with caller(place, {"token": credential(place, who)}):
            pass


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.label)
async def test_a_role_sends_the_events_that_the_table_says(place, role):  # noqa: F811
    session_id = (await place.it.sessions.create(NewSession(), f"key:{role.label}")).id
    async with caller(place, {"token": place.it.keys[role.label]}) as client:
        for event, least in EVENT_ROLES.items():
            payload = {"sessionId": session_id, "query": "hi"} if event == "send-query" else {"sessionId": session_id}
            answer = await client.call(event, payload)
            refused = isinstance(answer, dict) and "needs the role" in str(answer.get("error"))
            assert refused == (role < least), (event, answer)
        assert Role.VIEWER in EVENT_ROLES.values()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    auth=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=50),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=5,
    )
)
async def test_no_payload_of_connect_lets_anybody_in(place, auth):  # noqa: F811
    with pytest.raises((socketio.exceptions.ConnectionError, TypeError)):
        async with caller(place, auth):
            pass
    answer = place.it.app.state.socket_io._clients
    assert answer == {}
