"""search_library: what the librarian knows. Its search is handed in; nothing of the librarian is imported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext

LibrarySearch = Callable[[str, int], Awaitable[Any]]
"""From a query and how many to the results, JSON-like."""


class SearchLibrary:
    spec = Tool(
        "search_library",
        "Searches the library of code and documents; answers the passages that fit best, with where they stand.",
        {
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 2000},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    )

    def __init__(self, search: LibrarySearch) -> None:
        self._search = search

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        return await self._search(arguments["query"], arguments.get("limit", 10))
