"""Every route about a session, under both prefixes: its owner and admins, others who find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from access_control import Guarded, guarded
from access_samples import MARK, OF_NO_SESSION, OF_SESSION, SESSIONS, UNKNOWN, Samples, add_samples, answer
from test_access_matrix import routes

from organism.access.principal import Bounds, Role
from organism.sessions.wire import Query

OTHERS = {
    "another operator": (Role.OPERATOR, None),
    "bound to nothing": (Role.ADMIN, Bounds()),
    "bound to its own": (Role.ADMIN, Bounds(sessions=frozenset({"*"}))),
    "bound to another": (Role.ADMIN, Bounds(sessions=frozenset({UNKNOWN.session_id}))),
}
"""Who does not reach the sessions of key:operator."""


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path, takes_tokens=False) as it, it.sessions:
        for number, (role, bounds) in enumerate(OTHERS.values()):
            await it.add(f"other-{number}", role, bounds)
        await it.refresh()
        yield it


def test_every_route_of_sessions_has_a_row():
    walked = {(method, base + path) for base in SESSIONS for method, path in (*OF_SESSION, *OF_NO_SESSION)}
    assert {row for row in routes() if "session" in row[1]} == walked


@pytest.mark.parametrize("base", SESSIONS)
@pytest.mark.parametrize("caller", ["operator", "admin"])
async def test_the_owner_and_an_admin_are_served(it, base, caller):
    for method, path in OF_SESSION:
        samples = await add_samples(it, "key:operator")
        got = await answer(it, caller, (method, base + path), samples)
        assert got.status_code == 200, (path, got.text)


@pytest.mark.parametrize("base", SESSIONS)
@pytest.mark.parametrize("number", range(len(OTHERS)), ids=list(OTHERS))
async def test_others_are_answered_as_for_a_session_that_does_not_exist(it, base, number):
    samples = await add_samples(it, "key:operator")
    await it.sessions.ask(samples.session_id, Query(MARK))
    session = it.sessions.sessions_by_id[samples.session_id]
    before = session.record, list(session.log), list(it.sessions.queries)
    for method, path in OF_SESSION:
        got = [await answer(it, f"other-{number}", (method, base + path), each) for each in (samples, UNKNOWN)]
        assert [each.status_code for each in got] == [404, 404], path
        assert without_ids(got[0], samples) == without_ids(got[1], UNKNOWN), path
    assert (session.record, session.log, it.sessions.queries) == before
    assert it.sessions.followers() == 0


def without_ids(got: httpx.Response, samples: Samples) -> tuple[str, set[str]]:
    return got.text.replace(samples.session_id, ""), set(got.headers)


async def test_nothing_of_a_request_is_looked_at_before_the_owner(it):
    """What is wrong with it would tell that there is a session."""
    samples = await add_samples(it, "key:operator")
    async with it.client("other") as client:
        for method, path in OF_SESSION:
            if method == "POST" and "{" not in path:
                ids = (samples.session_id, UNKNOWN.session_id)
                got = [await client.post(f"{SESSIONS[0]}{path}", json={"sessionId": each}) for each in ids]
                assert got[0].status_code == got[1].status_code, path
                assert without_ids(got[0], samples) == without_ids(got[1], UNKNOWN), path


async def test_a_session_is_in_no_list_of_others(it):
    samples = await add_samples(it, "key:operator")
    for base in SESSIONS:
        for method, path in (("GET", ""), ("GET", "/")):
            for caller, total in (("operator", 1), ("admin", 1), *((f"other-{n}", 0) for n in range(len(OTHERS)))):
                got = await answer(it, caller, (method, base + path), samples)
                assert (got.status_code, got.json()["total"]) == (200, total), (caller, path)
                assert (samples.session_id in got.text) == bool(total)


async def test_what_is_made_belongs_to_who_made_it(it):
    for base in SESSIONS:
        made = await answer(it, "operator", ("POST", f"{base}/create"), UNKNOWN)
        samples = UNKNOWN._replace(session_id=made.json()["sessionId"])
        details = ("GET", f"{base}/details")
        statuses = [(await answer(it, caller, details, samples)).status_code for caller in ("operator", "other")]
        assert statuses == [200, 404]
