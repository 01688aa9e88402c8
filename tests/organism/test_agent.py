"""How an agent looks from outside."""

from __future__ import annotations

from typing import Any, cast

import pytest

from organism.agent import Agent
from organism.config import Listener
from organism.keeper import Keeper
from organism.messages import Message
from organism.window import Window
from organism.wire import Outcome


class FakeKeeper:
    name = "agent:a"
    restarts = 2
    pid = 42
    is_up = True


def agent(queued: int = 0, running: int = 0, **fields: Any) -> Agent:
    listener = Listener(name="a", payload_class="handlers.Ping", handler="handlers.a", peers=("b",))
    window = Window(100)
    for seq in range(1, queued + running + 1):
        window.add(Message(seq, f"id-{seq}", f"t{seq}", 0, "console", "a", "Ping", b"{}", 0, "console"))
    for _ in range(running):
        window.take("cell")
    made = Agent(listener, window, 2, "actor", cast(Keeper, FakeKeeper()))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (agent(), "idle"),
        (agent(queued=1), "idle"),
        (agent(queued=1, running=1), "processing"),
        (agent(running=2, waiting=1), "processing"),
        (agent(running=2, waiting=2), "waiting"),
        (agent(paused=True), "idle"),
        (agent(queued=1, paused=True), "waiting"),
        (agent(queued=1, running=1, paused=True), "processing"),
        (agent(running=1, error="it died"), "error"),
    ],
)
def test_the_state_is_that_of_its_handlers(made, state):
    assert made.state == state


def test_it_takes_a_message_when_one_is_ready_and_it_has_room():
    assert agent(queued=1).may_take
    assert agent(queued=1, running=1).may_take
    assert not agent().may_take
    assert not agent(queued=1, running=2).may_take
    assert not agent(queued=1, paused=True).may_take


def test_it_takes_nothing_while_its_cell_is_down():
    down = agent(queued=1)
    cast(Any, down.keeper).is_up = False
    assert not down.may_take


def test_it_adds_up_what_its_handlers_did():
    counted = agent()
    counted.count(Outcome(1, "a", "done", seconds=0.5, tokens=10))
    counted.count(Outcome(2, "a", "failed", seconds=0.25, tokens=5))
    assert (counted.handled, counted.failed, counted.handler_seconds, counted.tokens) == (2, 1, 0.75, 15)


def test_its_view_is_what_the_api_shows():
    shown = agent(queued=3, running=1, last_activity_ms=0).view()
    assert (shown["state"], shown["queue_depth"], shown["running"]) == ("processing", 3, 1)
    assert (shown["current_thread"], shown["last_activity"]) == ("t1", "1970-01-01T00:00:00.000Z")
    assert (shown["cell"], shown["restarts"], shown["peers"]) == ("agent:a", 2, ["b"])
