"""The names that `sessions.agents.*.tools` may hold. Pure, so that the rules of the configuration can ask, too."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

FILES = "files"
FILE_TOOLS = ("read_file", "write_file", "edit_file", "list_files", "search_files")
BUILT_IN = (FILES, *FILE_TOOLS, "run_command", "fetch_url", "send_to_agent", "search_library")
MAX_NAME_CHARACTERS = 64
"""Of a tool, as models take it."""
_MCP = "mcp."


class McpName(NamedTuple):
    """`mcp.<server>`, or `mcp.<server>.<tool>`; tool None stands for all of the server's."""

    server: str
    tool: str | None


def is_python_function(name: str) -> bool:
    return "." in name and not name.startswith(_MCP)


def mcp_name(name: str, servers: Container[str]) -> McpName | None:
    """None for a name that leads to none of the servers; their names may contain dots themselves."""
    if not name.startswith(_MCP):
        return None
    rest = name.removeprefix(_MCP)
    if rest in servers:
        return McpName(rest, None)
    dots = (at for at, character in enumerate(rest) if character == ".")
    return next((McpName(rest[:at], rest[at + 1 :]) for at in dots if rest[:at] in servers and rest[at + 1 :]), None)


def is_mcp(name: str) -> bool:
    return name.startswith(_MCP)
