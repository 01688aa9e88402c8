"""Sessions as their owner, somebody else, an admin and bound keys see them: each method of SessionsRef."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fake_sessions import FakeSessions, Script

from organism.access.principal import LOCAL, Bounds, Principal, Role
from organism.errors import Forbidden, OrganismError, ServerExclusive, SessionNotFound
from organism.sessions.records import NewSession, SessionChanges, SessionFilter, SessionView
from organism.sessions.ref import SessionsRef
from organism.sessions.wire import Query
from serve_app.owned_sessions import OwnedSessions, OwnerCache, owner_of, sessions_of

ANN = Principal("key:ann", Role.OPERATOR, credential="a")
BOB = Principal("key:bob", Role.OPERATOR, credential="b")
ADMIN = Principal("key:root", Role.ADMIN, credential="r")
UNKNOWN = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
QUERY = Query("hi")

Call = Callable[[SessionsRef, str], Awaitable[object]]


async def run(sessions: SessionsRef, session_id: str) -> object:
    async with sessions.run(session_id, QUERY) as batches:
        return [frame async for frames in batches for frame in frames]


async def watch(sessions: SessionsRef, session_id: str) -> object:
    async with sessions.watch(session_id, 0) as items:
        return await anext(aiter(items))


CALLS: dict[str, Call] = {
    "session": lambda sessions, id_: sessions.session(id_),
    "update": lambda sessions, id_: sessions.update(id_, SessionChanges(name="new")),
    "restore": lambda sessions, id_: sessions.restore(id_),
    "events": lambda sessions, id_: sessions.events(id_, 0, 10),
    "status": lambda sessions, id_: sessions.status(id_),
    "ask": lambda sessions, id_: sessions.ask(id_, QUERY),
    "run": run,
    "begin": lambda sessions, id_: sessions.begin(id_, QUERY),
    "abort": lambda sessions, id_: sessions.abort(id_),
    "watch": watch,
    "summarize": lambda sessions, id_: sessions.summarize(id_, [{"role": "user", "content": "hi"}], None),
    "delete": lambda sessions, id_: sessions.delete(id_),
}
"""Of each method that is about one session."""

ABOUT_NONE = {"create", "sessions", "server_status", "settings"}


class Counted(FakeSessions):
    """looks: how often a list was asked for. views: how often one session was."""

    looks = 0
    views = 0

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        self.looks += 1
        return await super().sessions(where, limit, offset)

    async def session(self, session_id: str) -> SessionView:
        self.views += 1
        return await super().session(session_id)


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Counted]:
    async with Counted(tmp_path) as sessions:
        yield sessions


@pytest.fixture
def owners() -> OwnerCache:
    return OwnerCache()


def seen_by(principal: Principal, sessions: FakeSessions, owners: OwnerCache | None = None) -> OwnedSessions:
    return OwnedSessions(sessions, principal, OwnerCache() if owners is None else owners)


def bound(*session_ids: str, role: Role = Role.OPERATOR, principal_id: str = "key:ann") -> Principal:
    return Principal(principal_id, role, Bounds(sessions=frozenset(session_ids)), "a")


async def ids_of(sessions: SessionsRef, where: SessionFilter | None = None) -> set[str]:
    found, total = await sessions.sessions(where or SessionFilter(), 100, 0)
    assert total == len(found)
    return {view.id for view in found}


async def refusal(call: Call, sessions: SessionsRef, session_id: str) -> str:
    with pytest.raises(SessionNotFound) as raised:
        await call(sessions, session_id)
    return str(raised.value)


def test_each_method_of_sessions_is_tested_here():
    methods = {name for name, _ in inspect.getmembers(SessionsRef, inspect.isfunction) if not name.startswith("_")}
    assert methods == set(CALLS) | ABOUT_NONE


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("made_here", [True, False])
async def test_an_owner_reaches_its_own(sessions, owners, name, made_here):
    maker = seen_by(ANN, sessions, owners if made_here else None)
    session_id = (await maker.create(NewSession())).id
    await CALLS[name](seen_by(ANN, sessions, owners), session_id)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("is_known", [True, False])
async def test_somebody_else_s_is_answered_like_one_that_does_not_exist(sessions, owners, name, is_known):
    session_id = (await seen_by(ANN, sessions, owners if is_known else None).create(NewSession())).id
    await sessions.ask(session_id, QUERY)
    before = sessions.sessions_by_id[session_id].record, len(sessions.sessions_by_id[session_id].log)
    bobs = seen_by(BOB, sessions, owners)
    refused = await refusal(CALLS[name], bobs, session_id)
    assert refused.replace(session_id, UNKNOWN) == await refusal(CALLS[name], bobs, UNKNOWN)
    assert before == (sessions.sessions_by_id[session_id].record, len(sessions.sessions_by_id[session_id].log))


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_does_not_exist_costs_as_much_to_find_out_as_what_is_somebody_else_s(sessions, owners, is_known):
    anns = seen_by(ANN, sessions, owners if is_known else None)
    session_id = (await anns.create(NewSession())).id
    bobs = seen_by(BOB, sessions, owners)
    looks = []
    for asked in (session_id, UNKNOWN, session_id, UNKNOWN):
        sessions.looks = sessions.views = 0
        await refusal(CALLS["status"], bobs, asked)
        looks.append((sessions.looks, sessions.views))
    assert looks == [(1, 0)] * 4


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("principal", [ANN, BOB, bound("*")], ids=["one", "other", "bound"])
async def test_a_session_of_nobody_is_only_an_admin_s(sessions, name, principal):
    session_id = (await sessions.create(NewSession())).id
    await refusal(CALLS[name], seen_by(principal, sessions), session_id)
    await CALLS[name](seen_by(ADMIN, sessions), session_id)


@pytest.mark.parametrize("name", CALLS)
async def test_a_bound_key_reaches_only_the_sessions_it_names(sessions, name):
    anns = seen_by(ANN, sessions)
    named, other = [(await anns.create(NewSession())).id for _ in range(2)]
    bobs = (await seen_by(BOB, sessions).create(NewSession())).id
    mine = seen_by(bound(named, bobs), sessions)
    for session_id in (other, bobs):
        await refusal(CALLS[name], mine, session_id)
    await refusal(CALLS[name], seen_by(bound(), sessions), named)
    await CALLS[name](mine, named)


@pytest.mark.parametrize("name", CALLS)
async def test_a_bound_admin_reaches_what_it_names_whosever_it_is(sessions, name):
    named, other = [(await seen_by(ANN, sessions).create(NewSession())).id for _ in range(2)]
    admin = seen_by(bound(named, role=Role.ADMIN, principal_id="key:root"), sessions)
    await refusal(CALLS[name], admin, other)
    await CALLS[name](admin, named)


async def test_lists_leave_out_what_is_not_reached(sessions):
    anns = [(await seen_by(ANN, sessions).create(NewSession(tags=("t",)))).id for _ in range(2)]
    bobs = (await seen_by(BOB, sessions).create(NewSession(tags=("t",)))).id
    nobodys = (await sessions.create(NewSession())).id
    assert await ids_of(seen_by(ANN, sessions)) == set(anns)
    assert await ids_of(seen_by(ANN, sessions), SessionFilter(tag="t", owner=BOB.id)) == set(anns)
    assert await ids_of(seen_by(ANN, sessions), SessionFilter(ids=(anns[0], bobs, nobodys))) == {anns[0]}
    assert await ids_of(seen_by(bound("*"), sessions)) == set(anns)
    assert await ids_of(seen_by(bound(anns[1], bobs), sessions)) == {anns[1]}
    assert await ids_of(seen_by(bound(anns[1], bobs), sessions), SessionFilter(ids=(anns[0],))) == set()
    assert await ids_of(seen_by(bound(), sessions)) == set()
    assert await ids_of(seen_by(bound(bobs, nobodys, role=Role.ADMIN), sessions)) == {bobs, nobodys}
    page, total = await seen_by(ANN, sessions).sessions(SessionFilter(), 1, 0)
    assert (len(page), total) == (1, 2)


async def test_a_new_session_belongs_to_who_makes_it_whatever_is_asked_for(sessions):
    view = await seen_by(ANN, sessions).create(NewSession(), BOB.id)
    assert sessions.sessions_by_id[view.id].record.owner == ANN.id


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
async def test_a_key_bound_to_sessions_makes_none(sessions, role):
    with pytest.raises(Forbidden, match="bound"):
        await seen_by(bound(UNKNOWN, role=role), sessions).create(NewSession())
    assert sessions.sessions_by_id == {}
    await seen_by(bound("*", role=role), sessions).create(NewSession())


async def test_owners_are_shown_to_those_who_see_everything_only(sessions, owners):
    anns = seen_by(ANN, sessions, owners)
    views = [await anns.create(NewSession())]
    session_id = views[0].id
    views.append(await anns.session(session_id))
    views.append(await anns.update(session_id, SessionChanges(name="n")))
    views.append(await anns.restore(session_id))
    views += (await anns.sessions(SessionFilter(), 10, 0))[0]
    assert [view.owner for view in views] == [None] * 5
    assert (await sessions.session(session_id)).owner == ANN.id


async def test_the_owner_is_looked_up_once(sessions, owners):
    session_id = (await seen_by(ANN, sessions).create(NewSession())).id
    for _ in range(3):
        await seen_by(ANN, sessions, owners).ask(session_id, QUERY)
    assert (sessions.looks, sessions.views) == (1, 0)


async def test_who_makes_a_session_uses_it_without_a_look(sessions, owners):
    session_id = (await seen_by(ANN, sessions, owners).create(NewSession())).id
    await seen_by(ANN, sessions, owners).ask(session_id, QUERY)
    assert (sessions.looks, sessions.views) == (0, 0)


def test_the_longest_unused_owner_is_forgotten_first():
    owners = OwnerCache(max_entries=2)
    for session_id in ("a", "b"):
        owners.put(session_id, ANN.id)
    assert owners.is_reached(ANN, "a")
    owners.put("c", ANN.id)
    assert [owners.is_reached(ANN, each) for each in "abc"] == [True, False, True]
    assert len(owners) == 2


async def test_a_deleted_session_leaves_nothing_behind(sessions, owners):
    anns = seen_by(ANN, sessions, owners)
    session_id = (await anns.create(NewSession())).id
    await anns.delete(session_id)
    assert len(owners) == 0
    await refusal(CALLS["session"], anns, session_id)


@pytest.mark.parametrize("name", ["ask", "begin", "run"])
async def test_which_session_runs_is_told_only_to_those_who_reach_it(tmp_path, name):
    gate = asyncio.Event()
    async with FakeSessions(tmp_path, exclusive=True) as sessions:
        running = (await seen_by(ANN, sessions).create(NewSession())).id
        waiting = {each: (await seen_by(each, sessions).create(NewSession())).id for each in (ANN, BOB)}
        sessions.scripts.append(Script(gate=gate))
        await sessions.begin(running, QUERY)
        for principal, told in ((ANN, running), (BOB, "")):
            with pytest.raises(ServerExclusive) as raised:
                await CALLS[name](seen_by(principal, sessions), waiting[principal])
            assert raised.value.running_session_id == told
            status = await seen_by(principal, sessions).server_status()
            assert (status.running_session_id or "", status.can_accept) == (told, False)
            assert (running in str(raised.value)) == bool(told)
        gate.set()


async def test_failures_of_what_is_below_come_through(sessions, owners):
    anns = seen_by(ANN, sessions, owners)
    session_id = (await anns.create(NewSession())).id
    sessions.fail()
    for principal in (ANN, BOB):
        for call in CALLS.values():
            with pytest.raises(OrganismError) as raised:
                await call(seen_by(principal, sessions, owners), session_id)
            assert raised.value is sessions.down


class FakeReplica:
    def __init__(self, sessions: SessionsRef) -> None:
        self.sessions = sessions
        self.owners = OwnerCache()


@pytest.mark.parametrize("principal", [LOCAL, ADMIN])
def test_who_sees_everything_gets_the_sessions_as_they_are(sessions, principal):
    assert sessions_of(FakeReplica(sessions), principal) is sessions


def test_all_others_get_their_own(sessions):
    for principal in (ANN, bound("*", role=Role.ADMIN)):
        assert isinstance(sessions_of(FakeReplica(sessions), principal), OwnedSessions)


def test_sessions_made_without_authentication_belong_to_nobody():
    assert owner_of(LOCAL) is None
    assert owner_of(ADMIN) == "key:root"
