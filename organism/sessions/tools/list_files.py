"""list_files: what is in a directory of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext
from organism.sessions.tools.results import blocking
from organism.sessions.workspace import Entry

MAX_ENTRIES = 1000


class ListFiles:
    spec = Tool(
        "list_files",
        "Lists a directory of the workspace: directories first, files with their size in bytes.",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "default": ".", "description": "relative to the workspace"},
                "recursive": {"type": "boolean", "default": False, "description": "all below it, as paths"},
            },
            "additionalProperties": False,
        },
    )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        path, workspace = arguments.get("path", "."), context.workspace
        if arguments.get("recursive", False):
            entries = await blocking(lambda: list(workspace.walk(path, MAX_ENTRIES + 1)))
            lines = [_line(each, each.path) for each in entries]
        else:
            entries = await blocking(workspace.listing, path, MAX_ENTRIES + 1)
            lines = [_line(each, each.name) for each in entries]
        if len(lines) > MAX_ENTRIES:
            lines[MAX_ENTRIES:] = [f"[more than {MAX_ENTRIES}; list a directory below, or use search_files]"]
        return "\n".join(lines) or "(empty)"


def _line(entry: Entry, shown: str) -> str:
    return f"{shown}/" if entry.type == "directory" else f"{shown}  {entry.size}"
