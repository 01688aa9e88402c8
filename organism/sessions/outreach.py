"""From a session into the organism: a message to a listener, and what its thread comes to."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from organism.agent import Agent
from organism.errors import AgentNotFound, InvalidPayload, OrganismError
from organism.messages import CONSOLE, Inject
from organism.pump import Pump
from organism.sessions.wire import AgentAnswer
from organism.storage.base import MessageFilter

LAST_MESSAGES = 20
"""Among which the last one by somebody else is looked for."""


class Outreach:
    """Sends through the pump, and waits with it."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    async def inject(self, agent: str, payload: dict[str, Any], owner: str | None) -> str:
        """See SessionLink.inject; the cell, which has the payload's class, has validated it."""
        found = self._pump.agents.get(agent)
        if found is None:
            raise AgentNotFound(agent)
        payload_type, body = _payload_type(found), orjson.dumps(payload)
        max_bytes = self._pump.ledger.limits.max_payload_bytes
        if len(body) > max_bytes:
            problem = f"is larger than {max_bytes} bytes (limits.max_payload_bytes)"
            raise InvalidPayload(agent, payload_type, (("", problem),))
        [answer] = await self._pump.submit([Inject(agent, payload_type, body, owner=owner)])
        if isinstance(answer, OrganismError):
            raise answer
        return answer.thread_id

    async def wait_thread(self, thread_id: str, timeout_s: float) -> AgentAnswer:
        """See SessionLink.wait_thread."""
        try:
            async with asyncio.timeout(timeout_s):
                thread = await self._pump.inactive_thread(thread_id)
        except TimeoutError:
            return AgentAnswer("active", None, None, None)
        newest, _ = await self._pump.storage.messages(
            MessageFilter(threads=(thread_id,)), LAST_MESSAGES, newest_first=True
        )
        last = next((each for each in newest if each.sender != CONSOLE), None)
        if last is None:
            return AgentAnswer(thread.status, None, None, thread.error)
        return AgentAnswer(thread.status, last.payload_type, last.payload, thread.error)


def _payload_type(agent: Agent) -> str:
    return agent.accepts[0] if agent.accepts else agent.listener.payload_class.rpartition(".")[2]
