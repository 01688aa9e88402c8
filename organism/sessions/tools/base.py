"""The seam of tools: what a model may do beside talking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from organism.llm.base import Tool
from organism.sessions.workspace import Workspace


class ToolFailed(Exception):
    """The tool could not do it; the text is for the model, so that it can try otherwise."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Whom a tool works for. workspace: the session's own."""

    session_id: str
    workspace: Workspace


class SessionTool(Protocol):
    """One tool, shared by all sessions of a cell. Calls may run side by side."""

    @property
    def spec(self) -> Tool:
        """Name, description, and the JSON Schema that `arguments` of a call has been validated against."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """The result, a text or a JSON-like value. Cancelling the call ends whatever it started.

        Raises:
            ToolFailed: why it could not be done. Any other exception counts as one, too.
        """
        ...


class Toolset(Protocol):
    """All tools of a cell, opened once."""

    async def tools_of(self, names: tuple[str, ...]) -> list[SessionTool]:
        """The tools that an agent's `tools:` names; those of an MCP server that does not answer are left out.
        An unknown name was refused when the configuration was read."""
        ...

    async def close(self) -> None:
        """Ends what the tools have started (MCP servers, commands)."""
        ...
