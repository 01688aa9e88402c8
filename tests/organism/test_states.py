"""agent_state events: the first at once, the next ones after the interval, the last one always."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from organism.agent import Agent
from organism.publisher import Publisher
from organism.states import AgentStates


class FakeAgent:
    """Shows what it is told to."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.state = "idle"

    def view(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state}


class Clock:
    """What AgentStates asks for the time of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)


@pytest.fixture
async def publisher() -> Publisher:
    followed = Publisher()
    followed.watch()
    return followed


@pytest.fixture
async def clock(publisher, monkeypatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def states(publisher, clock) -> AgentStates:
    publisher.watch()
    return AgentStates(publisher, interval_s=1)


def change(states: AgentStates, agent: FakeAgent, state: str) -> None:
    agent.state = state
    states.touch(cast(Agent, agent))
    states.flush()


def shown(publisher: Publisher) -> list[str]:
    events, _ = publisher.since(publisher.incarnation, 0)
    return [event.value["state"] for event in events]


async def test_the_first_change_of_a_quiet_agent_is_told_at_once(states, publisher):
    change(states, FakeAgent(), "processing")
    assert shown(publisher) == ["processing"]


async def test_within_the_interval_only_the_last_change_counts(states, publisher, clock):
    agent = FakeAgent()
    for state in ("processing", "idle", "processing", "waiting"):
        change(states, agent, state)
    clock.now_s += 0.9
    states.flush()
    assert shown(publisher) == ["processing"]
    clock.now_s += 0.2
    states.flush()
    assert shown(publisher) == ["processing", "waiting"]


async def test_a_change_that_was_taken_back_is_not_told(states, publisher, clock):
    agent = FakeAgent()
    for state in ("processing", "idle", "processing"):
        change(states, agent, state)
    clock.now_s += 2
    states.flush()
    assert shown(publisher) == ["processing"]


async def test_agents_do_not_wait_for_each_other(states, publisher):
    change(states, FakeAgent("a"), "processing")
    change(states, FakeAgent("b"), "waiting")
    assert shown(publisher) == ["processing", "waiting"]


async def test_of_a_removed_agent_nothing_is_told_any_more(states, publisher, clock):
    agent = FakeAgent()
    for state in ("processing", "idle"):
        change(states, agent, state)
    states.forget("a")
    clock.now_s += 2
    states.flush()
    assert shown(publisher) == ["processing"]


async def test_what_was_held_back_is_told_without_another_change(publisher):
    states = AgentStates(publisher, interval_s=0.01)
    agent = FakeAgent()
    change(states, agent, "processing")
    agent.state = "idle"
    states.touch(cast(Agent, agent))
    running = asyncio.create_task(states.run())
    await publisher.wait(1, timeout_s=10)
    running.cancel()
    assert shown(publisher) == ["processing", "idle"]
