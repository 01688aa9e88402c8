"""read_file: a text file of the workspace, by lines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, takewhile
from typing import Any

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.results import blocking


class ReadFile:
    spec = Tool(
        "read_file",
        "Reads a text file of the workspace. Long files come in parts: the result says which lines follow.",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "relative to the workspace"},
                "first_line": {"type": "integer", "minimum": 1, "default": 1, "description": "1-based"},
                "max_lines": {"type": "integer", "minimum": 1, "maximum": 100_000},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    )

    def __init__(self, max_file_bytes: int, max_result_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._max_shown_bytes = max_result_bytes * 9 // 10  # room for the note

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        text = await blocking(context.workspace.read_text, arguments["path"], self._max_file_bytes)
        lines = text.splitlines(keepends=True)
        first = arguments.get("first_line", 1)
        if first > max(1, len(lines)):
            raise ToolFailed(f"first_line {first} is behind the end: the file has {len(lines)} lines")
        wanted = lines[first - 1 :][: arguments.get("max_lines")]
        shown = wanted[: max(1, self._fitting(wanted))]
        last = first - 1 + len(shown)
        note = f"\n[lines {first} to {last} of {len(lines)}; read on with first_line {last + 1}]"
        return "".join(shown) + (note if last < len(lines) else "")

    def _fitting(self, lines: list[str]) -> int:
        sizes = accumulate(len(line.encode()) for line in lines)
        return sum(1 for _ in takewhile(lambda size: size <= self._max_shown_bytes, sizes))
