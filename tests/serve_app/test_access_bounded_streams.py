"""WebSockets and Socket.IO of bound keys: what they are not bound to is neither seen, replayed nor commanded."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from access_samples import MARK, UNKNOWN, add_samples, state_of
from conftest import Socket, until
from test_access_matrix_streams import answer_to, fields_of
from test_stream_access import PATHS, Place, place  # noqa: F401 - a fixture

from organism.access.principal import Bounds, Role
from organism.messages import DeadLetter, Message, new_id, now_ms
from organism.ref import Event
from organism.threads import ThreadView
from serve_app.commands import COMMAND_ROLES, EventName

OWN = ("shouter", "own-library", "own-session")
OTHERS = ("greeter", "another-library", "another-session")
"""An agent, a library and a session: what the key `bound` is bound to, and what not."""

ABOUT_NOTHING = {"subscribe", "unsubscribe", "ping", "auth"}
"""Commands that name no agent, thread or message, or only to filter by."""

MINE, THEIRS = b'{"message":"x","original_sender":"y"}', b'{"name":"%s"}' % MARK.encode()


@pytest.fixture
async def it(place: Place) -> Place:  # noqa: F811
    """With the keys `bound`, to OWN, and `nothing`, bound to nothing."""
    bounds = Bounds(*(frozenset({each}) for each in OWN))
    await place.it.add("bound", Role.ADMIN, bounds)
    await place.it.add("nothing", Role.ADMIN, Bounds())
    await place.it.refresh()
    return place


def events_about(it: Place, agent: str, library_id: str, session_id: str) -> dict[str, list[Event]]:
    """Of each kind, some about these."""
    thread = ThreadView(new_id(), "active", ("console", agent), 1, now_ms(), now_ms(), None)
    names = {"added": [], "changed": [], "removed": [], "unchanged": []}
    return {
        "message": [message_event(it, agent)],
        "thread_created": [Event("thread_created", None, thread)],
        "thread_updated": [Event("thread_updated", None, thread)],
        "agent_state": [Event("agent_state", None, it.it.organism.agents[agent] | {"error": MARK})],
        "session_state": [Event("session_state", None, {"id": session_id, "owner": "key:bound", "state": "idle"})],
        "ingest": [Event("ingest", None, {"library_id": library_id, "status": "running"})],
        "error": [Event("error", None, {"agent": agent, "error": MARK, "thread_id": thread.id})],
        "reloaded": [Event("reloaded", None, names | {kind: [agent]}) for kind in ("added", "changed", "removed")],
    }


def message_event(it: Place, agent: str) -> Event:
    message = it.it.organism.append(new_id(), "console", agent, THEIRS)
    return Event("message", message.seq, message)


def test_every_kind_of_event_is_tried(it):
    assert set(events_about(it, *OTHERS)) == set(get_args(EventName))


@pytest.mark.parametrize("key", ["bound", "nothing"])
async def test_no_event_about_others_is_seen(it, key):
    async with it.socket("admin") as witness, it.socket(key) as bound:
        await witness.hear("connected")
        await bound.hear("connected")
        for event in all_of(events_about(it, *OTHERS)):
            it.it.organism.happen(event)
            await witness.hear(event.kind)
            await bound.hears_nothing_before_pong()


async def test_events_about_ones_own_are_seen_but_of_reloads(it):
    async with it.socket("admin") as witness, it.socket("bound") as bound:
        await bound.hear("connected")
        for event in all_of(events_about(it, *OWN)):
            it.it.organism.happen(event)
            await witness.hear(event.kind)
            if event.kind == "reloaded":  # it names all agents
                await bound.hears_nothing_before_pong()
            else:
                await bound.hear(event.kind)


def all_of(events: dict[str, list[Event]]) -> list[Event]:
    return [each for kind in events.values() for each in kind]


async def test_an_error_of_no_agent_is_for_those_who_see_all(it):
    async with it.socket("admin") as witness, it.socket("bound") as bound:
        await bound.hear("connected")
        it.it.organism.happen(Event("error", None, {"agent": None, "error": MARK}))
        await witness.hear("error")
        await bound.hears_nothing_before_pong()


async def test_who_subscribes_to_others_hears_nothing_of_them(it):
    async with it.socket("admin") as witness, it.socket("bound") as bound, it.socket("bound", PATHS[1]) as log:
        for wanted in ({"agents": ["greeter"]}, {"threads": ["t"]}, {}):
            await answer_to(bound, cmd="subscribe", **wanted)
            await answer_to(log, cmd="subscribe", filter=wanted)
            it.it.organism.send("t", to="greeter")
            await witness.hear("message")
            await bound.hears_nothing_before_pong()
            await log.hears_nothing_before_pong()


async def test_the_picture_and_the_replay_are_of_ones_own(it):
    own = log_of_both(it)
    threads = list(it.it.organism.all_threads.values())
    it.it.organism.happen(*(Event("thread_created", None, each.view()) for each in threads))
    live = it.it.app.state.replica.live
    await until(lambda: len(live.threads()) == len(threads))
    async with it.socket("bound", "/ws?since=0") as bound:
        await is_own_picture(bound, [own.thread_id])
        assert (await bound.hear("message"))["seq"] == own.seq
        await bound.hears_nothing_before_pong()


async def test_the_replay_of_the_log_is_of_ones_own(it):
    own = log_of_both(it)
    async with it.socket("bound", PATHS[1]) as bound:
        await bound.ask(cmd="subscribe", filter={"since": 0})
        assert (await bound.hear(""))["id"] == own.id
        await bound.hears_nothing_before_pong()


def log_of_both(it: Place) -> Message:
    """A log with messages of both before and behind this one, the only one of one's own."""
    organism = it.it.organism
    organism.append("theirs", "console", "greeter", THEIRS)
    own = organism.append("own", "console", "shouter", MINE)
    organism.append("theirs", "console", "greeter", THEIRS)
    return own


async def is_own_picture(bound: Socket, thread_ids: list[str]) -> None:
    picture = await bound.hear("connected")
    assert [agent["name"] for agent in picture["agents"]] == ["shouter"]
    assert [thread["id"] for thread in picture["threads"]] == thread_ids
    assert MARK not in str(picture)


async def test_after_a_change_of_the_log_the_picture_is_of_ones_own(it):
    organism = it.it.organism
    organism.append("lost", "console", "greeter", THEIRS)
    async with it.socket("admin") as witness, it.socket("bound") as bound:
        await bound.hear("connected")
        organism.send("lost")
        await witness.hear("message")
        organism.log.clear()
        organism.all_threads.clear()
        own = organism.append("own", "console", "shouter", MINE)
        organism.restart()
        organism.change("greeter", error=MARK)
        await is_own_picture(bound, [own.thread_id])


@pytest.mark.parametrize("key", ["bound", "nothing"])
async def test_commands_about_others_are_answered_as_about_what_does_not_exist(it, key):
    samples = await add_samples(it.it)
    before = await state_of(it.it, samples)
    async with it.socket(key) as bound:
        for cmd in COMMAND_ROLES.keys() - ABOUT_NOTHING:
            known, unknown = [await answer_to(bound, cmd=cmd, **fields_of(cmd, each)) for each in (samples, UNKNOWN)]
            assert known["event"] == "error", known
            assert without(known, samples) == without(unknown, UNKNOWN), cmd
    assert await state_of(it.it, samples) == before


def without(answer: dict[str, Any], names: tuple[str, ...]) -> str:
    text = str(answer | {"timestamp": ""})
    for each in names:
        text = text.replace(each, "")
    return text


async def test_a_bound_key_commands_its_own(it):
    inject = {"to": "shouter", "payload": {"message": "x", "original_sender": "y"}}
    samples = await add_samples(it.it)
    async with it.socket("bound") as bound:
        for cmd in ("pause", "resume"):
            assert (await answer_to(bound, cmd=cmd, agent="shouter"))["event"] == "ack"
        refused = await answer_to(bound, cmd="inject", **inject, thread_id=samples.thread_id)
        assert (refused["event"], it.it.organism.submitted) == ("error", [])
        own = it.it.organism.append("own", "shouter", "shouter", MINE)
        it.it.organism.letters.append(DeadLetter(own, "broken", 1, now_ms()))
        for fields in (
            {"cmd": "inject", **inject},
            {"cmd": "inject", **inject, "thread_id": "own"},
            {"cmd": "requeue", "message_id": own.id},
            {"cmd": "kill", "thread_id": "own"},
        ):
            answer = await answer_to(bound, **fields)
            assert answer["event"] == "ack", answer
