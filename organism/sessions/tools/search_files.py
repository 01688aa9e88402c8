"""search_files: lines of the workspace's text files. Plain text by default; a regular expression is run in a process
of its own with a time limit, since an expression can be made that never ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from organism.errors import OrganismError
from organism.llm.base import Tool
from organism.sessions.tools import regex_worker
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.process import run_process
from organism.sessions.tools.results import blocking
from organism.sessions.workspace import Entry, Workspace

MAX_FOUND = 200
MAX_LINE_CHARACTERS = 500
MAX_SEARCHED_BYTES = 32_000_000
REGEX_TIMEOUT_S = 5.0

Found = tuple[str, int, str]  # path, 1-based line, its text


class SearchFiles:
    spec = Tool(
        "search_files",
        "Searches the text files of the workspace; answers path:line: text. Upper and lower case count alike, "
        "except in a regular expression.",
        {
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 1000},
                "path": {"type": "string", "default": ".", "description": "the directory or file to search"},
                "is_regex": {"type": "boolean", "default": False, "description": "query is a Python expression"},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    )

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        query, path = arguments["query"], arguments.get("path", ".")
        texts = await blocking(_texts, context.workspace, path, self._max_file_bytes)
        find = _find_regex if arguments.get("is_regex", False) else _find_plain
        found = await find(query, texts)
        lines = [f"{path}:{line}: {text}" for path, line, text in found]
        if len(lines) >= MAX_FOUND:
            lines.append(f"[the first {MAX_FOUND}; search for less]")
        return "\n".join(lines) or "nothing found"


def _texts(workspace: Workspace, path: str, max_file_bytes: int) -> list[tuple[str, str]]:
    start = workspace.info(path)
    entries = [start] if start.type == "file" else workspace.walk(path)
    texts, size = [], 0
    for entry in entries:
        text = _text_of(workspace, entry, max_file_bytes)
        size += len(text)
        if size > MAX_SEARCHED_BYTES:
            raise ToolFailed(f"there are more than {MAX_SEARCHED_BYTES} bytes below {path!r}; search a part of it")
        if text:
            texts.append((entry.path, text))
    return texts


def _text_of(workspace: Workspace, entry: Entry, max_file_bytes: int) -> str:
    """Empty for what is no text file, too large, or gone."""
    if entry.type != "file" or entry.size > max_file_bytes:
        return ""
    try:
        return workspace.read_text(entry.path, max_file_bytes)
    except OrganismError:
        return ""


async def _find_plain(query: str, texts: list[tuple[str, str]]) -> list[Found]:
    return await blocking(_search_plain, query.casefold(), texts)


def _search_plain(wanted: str, texts: list[tuple[str, str]]) -> list[Found]:
    found: list[Found] = []
    for path, text in texts:
        if wanted not in text.casefold():
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if wanted in line.casefold():
                found.append((path, number, line[:MAX_LINE_CHARACTERS]))
                if len(found) >= MAX_FOUND:
                    return found
    return found


async def _find_regex(pattern: str, texts: list[tuple[str, str]]) -> list[Found]:
    asked = orjson.dumps({"pattern": pattern, "limit": MAX_FOUND, "texts": texts})
    worker = [sys.executable, "-I", "-S", str(Path(regex_worker.__file__))]
    finished = await run_process(
        worker, cwd=Path("/"), env={}, timeout_s=REGEX_TIMEOUT_S, max_output_bytes=2_000_000, stdin=asked
    )
    if finished.exit_code != 0:
        raise ToolFailed(f"the regular expression took longer than {REGEX_TIMEOUT_S:g} s; use a simpler one")
    answer = orjson.loads(finished.output)
    if "error" in answer:
        raise ToolFailed(f"query is no regular expression: {answer['error']}")
    return [tuple(each) for each in answer["found"]]
