"""agent_state events: at once when an agent was quiet, then at most one in each interval, and always the last one."""

from __future__ import annotations

import asyncio
from typing import Any

from organism.agent import Agent
from organism.publisher import Publisher
from organism.ref import Event


class AgentStates:
    """Collects which agents changed and publishes their views."""

    def __init__(self, publisher: Publisher, interval_s: float) -> None:
        self.interval_s = interval_s
        self._publisher = publisher
        self._changed: dict[str, Agent] = {}
        self._published_s: dict[str, float] = {}
        self._views: dict[str, dict[str, Any]] = {}

    def touch(self, agent: Agent) -> None:
        self._changed[agent.name] = agent

    def forget(self, name: str) -> None:
        """The agent was removed: nothing is told of it any more."""
        for each in (self._changed, self._published_s, self._views):
            each.pop(name, None)

    def flush(self) -> None:
        """Publishes the changed agents whose interval is over."""
        if not self._changed:
            return
        now_s = asyncio.get_running_loop().time()
        due = [
            agent
            for name, agent in self._changed.items()
            if now_s - self._published_s.get(name, float("-inf")) >= self.interval_s
        ]
        events = [event for agent in due if (event := self._event(agent, now_s)) is not None]
        self._publisher.publish(events)

    async def run(self) -> None:
        """Publishes what flush() had to hold back."""
        while True:
            await asyncio.sleep(max(self.interval_s, 0.05))
            self.flush()

    def _event(self, agent: Agent, now_s: float) -> Event | None:
        name = agent.name
        del self._changed[name]
        view = agent.view()
        if self._views.get(name) == view:
            return None
        self._views[name] = view
        self._published_s[name] = now_s
        return Event("agent_state", None, view)
