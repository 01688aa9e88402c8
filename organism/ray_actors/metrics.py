"""The pump's counts in Ray's metrics."""

from __future__ import annotations

import asyncio

from ray.util.metrics import Counter, Gauge

from organism.runtime import Runtime

METRICS_INTERVAL_S = 2.0


class Metrics:
    """Shows the pump's counts in Ray's metrics, by agent."""

    def __init__(self, runtime: Runtime) -> None:
        self._pump = runtime.pump
        self._directory = runtime.sessions
        self._active = Gauge("organism_sessions_active", "Agent sessions in memory")
        self._runs = Counter("organism_session_runs", "Runs of agent sessions that have begun")
        self._runs_shown = 0
        self._depth = Gauge("organism_queue_depth", "Messages that wait for an agent", ("agent",))
        self._running = Gauge("organism_handlers_running", "Handlers of an agent at work", ("agent",))
        self._counters = {
            "handled": Counter("organism_messages", "Messages an agent has handled", ("agent",)),
            "failed": Counter("organism_messages_failed", "Messages an agent has failed on", ("agent",)),
            "handler_seconds": Counter("organism_handler_seconds", "Seconds spent in handlers", ("agent",)),
            "tokens": Counter("organism_tokens", "Tokens an agent's model calls have used", ("agent",)),
            "restarts": Counter("organism_restarts", "Times an agent's cell was started again", ("agent",)),
        }
        self._shown: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(METRICS_INTERVAL_S)
            self.update()

    def update(self) -> None:
        self._update_agents()
        self._active.set(self._directory.active)
        begun = self._directory.runs - self._runs_shown
        if begun > 0:
            self._runs.inc(begun)
            self._runs_shown += begun

    def _update_agents(self) -> None:
        for name, agent in self._pump.agents.items():
            tags = {"agent": name}
            self._depth.set(agent.window.depth, tags)
            self._running.set(len(agent.window.in_flight), tags)
            totals = {
                "handled": agent.handled,
                "failed": agent.failed,
                "handler_seconds": agent.handler_seconds,
                "tokens": agent.tokens,
                "restarts": agent.keeper.restarts,
            }
            for key, total in totals.items():
                grown = total - self._shown.get((name, key), 0)
                if grown > 0:
                    self._counters[key].inc(grown, tags)
                    self._shown[name, key] = total
