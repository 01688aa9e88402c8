"""send_to_agent: a message into the organism, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from organism.config import Listener
from organism.config import SendToAgent as SendToAgentSection
from organism.errors import NotFound, OrganismError, Overloaded, Refused
from organism.llm.base import Tool
from organism.loading import load_payload
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.wire import AgentAnswer, SessionLink


class SendToAgent:
    """`listeners`: those that the configuration allows. `folder`: the organism's, with their payload classes.

    Raises:
        HandlerNotLoaded: a payload class cannot be imported.
    """

    def __init__(
        self, section: SendToAgentSection, listeners: tuple[Listener, ...], folder: Path, link: SessionLink
    ) -> None:
        self._timeout_s = section.timeout_s
        self._link = link
        allowed = [each for each in listeners if not section.agents or each.name in section.agents]
        self._names = [each.name for each in allowed]
        self._spec = Tool(
            "send_to_agent",
            "Sends a message to an agent, waits until the work that follows from it is done, and answers the last "
            "message of that. The agents:\n" + "\n".join(_described(each, folder) for each in allowed),
            {
                "type": "object",
                "properties": {
                    "agent": {"type": "string", **({"enum": self._names} if self._names else {})},
                    "payload": {"type": "object", "description": "fits the schema of that agent's payload"},
                },
                "required": ["agent", "payload"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> Tool:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        agent = arguments["agent"]
        if agent not in self._names:
            raise ToolFailed(f"agent {agent[:100]!r} cannot be reached; there are: {', '.join(self._names) or 'none'}")
        try:
            thread_id = await self._link.inject(context.session_id, agent, dict(arguments["payload"]))
            answer = await self._link.wait_thread(thread_id, self._timeout_s)
        except (NotFound, Refused, Overloaded) as error:
            raise ToolFailed(str(error)) from error
        except OrganismError as error:
            raise ToolFailed(f"the message could not be sent, try again: {error}") from error
        return self._told(answer, thread_id)

    def _told(self, answer: AgentAnswer, thread_id: str) -> Any:
        if answer.status == "active":
            raise ToolFailed(f"no end after {self._timeout_s:g} s; the work goes on in thread {thread_id}")
        if answer.error is not None or answer.status != "completed":
            raise ToolFailed(f"the work ended with status {answer.status!r}: {answer.error or 'no reason given'}")
        if answer.payload is None:
            return "done; no message came back"
        return {"type": answer.payload_type, "payload": orjson.loads(answer.payload)}


def _described(listener: Listener, folder: Path) -> str:
    schema = orjson.dumps(load_payload(listener, folder).json_schema()).decode()
    return f"- {listener.name}: {listener.description or 'no description'}\n  payload: {schema}"
