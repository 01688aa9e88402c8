"""edit_file: replaces one piece of a text file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.results import blocking
from organism.sessions.tools.write_file import check_size


class EditFile:
    spec = Tool(
        "edit_file",
        "Replaces a piece of a text file. The old text must be in the file exactly once, with its white space: "
        "take in some lines around it where it is there several times.",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "relative to the workspace"},
                "old_text": {"type": "string", "minLength": 1},
                "new_text": {"type": "string"},
            },
            "required": ["path", "old_text", "new_text"],
            "additionalProperties": False,
        },
    )

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        place = await blocking(context.workspace.resolve, arguments["path"])
        lock = self._locks.setdefault(str(place), asyncio.Lock())
        async with lock:  # calls of one turn run side by side: both edits of one file must stay
            return await self._edit(arguments, context)

    async def _edit(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        path, old = arguments["path"], arguments["old_text"]
        text = await blocking(context.workspace.read_text, path, self._max_file_bytes)
        count = text.count(old)
        if count != 1:
            found = "is not in the file; read it first" if count == 0 else f"is in the file {count} times"
            raise ToolFailed(f"old_text {found}; nothing was changed")
        changed = text.replace(old, arguments["new_text"])
        check_size(changed, self._max_file_bytes)
        entry = await blocking(context.workspace.write_text, path, changed)
        return f"replaced one piece of {entry.path}, which has {entry.size} bytes now"
