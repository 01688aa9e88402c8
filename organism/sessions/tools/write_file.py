"""write_file: a whole text file of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.results import blocking


class WriteFile:
    spec = Tool(
        "write_file",
        "Writes a text file of the workspace, replacing it if it is there; directories are made as needed.",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "relative to the workspace"},
                "content": {"type": "string", "description": "all of the file"},
            },
            "required": ["path", "content"],
            "additionalProperties": False,
        },
    )

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        check_size(arguments["content"], self._max_file_bytes)
        entry = await blocking(context.workspace.write_text, arguments["path"], arguments["content"])
        return f"wrote {entry.size} bytes to {entry.path}"


def check_size(content: str, max_bytes: int) -> None:
    """Raises ToolFailed for a file that would be too large."""
    size = len(content.encode(errors="replace"))
    if size > max_bytes:
        raise ToolFailed(f"the file would have {size} bytes, at most {max_bytes} are allowed; write several files")
