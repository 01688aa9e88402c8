"""A tool of an MCP server, as one of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from mcp_types import ContentBlock, EmbeddedResource, ResourceLink, TextContent, TextResourceContents
from mcp_types import Tool as McpSdkTool

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.mcp_connection import McpConnection
from organism.sessions.tools.names import MAX_NAME_CHARACTERS

MAX_DESCRIPTION_CHARACTERS = 10_000
MAX_SCHEMA_BYTES = 100_000
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


class McpTool:
    def __init__(self, connection: McpConnection, offered: McpSdkTool) -> None:
        self._connection = connection
        self._name = offered.name
        self._spec = Tool(
            model_name(connection.name, offered.name),
            (offered.description or offered.title or "")[:MAX_DESCRIPTION_CHARACTERS],
            _schema(offered.input_schema),
        )

    @property
    def name(self) -> str:
        """As the server calls it."""
        return self._name

    @property
    def spec(self) -> Tool:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        result = await self._connection.call(self._name, dict(arguments))
        content = "\n".join(_shown(block) for block in result.content)
        if result.is_error:
            raise ToolFailed(content or f"{self._name} failed and gave no reason")
        if result.structured_content is not None and not content:
            return result.structured_content
        return content


def model_name(server: str, tool: str) -> str:
    """A function name that every model takes."""
    return _REFUSED.sub("_", f"{server}_{tool}")[:MAX_NAME_CHARACTERS]


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The server's, where it is one of an object and of sensible size; else one that takes any object."""
    if schema.get("type", "object") != "object" or len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        return {"type": "object"}
    return {"type": "object", **schema}


def _shown(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case ResourceLink():
            return f"[{block.name}: {block.uri}]"
        case _:
            return f"[{block.type}, not shown]"
