"""All tools of a session cell, made from its configuration."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from organism.llm.base import Tool
from organism.sessions.tools.base import SessionTool, Toolset
from organism.sessions.tools.edit_file import EditFile
from organism.sessions.tools.fetch_url import FetchUrl
from organism.sessions.tools.list_files import ListFiles
from organism.sessions.tools.names import (
    FILE_TOOLS,
    FILES,
    MAX_NAME_CHARACTERS,
    McpName,
    is_python_function,
    mcp_name,
)
from organism.sessions.tools.python_function import load_function
from organism.sessions.tools.read_file import ReadFile
from organism.sessions.tools.results import BoundedTool
from organism.sessions.tools.run_command import DEFAULT_PATH, RunCommand
from organism.sessions.tools.search_files import SearchFiles
from organism.sessions.tools.search_library import LibrarySearch, SearchLibrary
from organism.sessions.tools.send_to_agent import SendToAgent
from organism.sessions.tools.write_file import WriteFile
from organism.sessions.wire import SessionCellSpec, SessionLink

if TYPE_CHECKING:
    from organism.sessions.tools.mcp_connection import McpConnection


async def open_toolset(
    spec: SessionCellSpec, folder: Path, link: SessionLink, search_library: LibrarySearch | None = None
) -> Toolset:
    """The tools that the agents of `spec` name. `folder`: the organism's, unpacked. MCP servers start when needed.

    Raises:
        HandlerNotLoaded: a function of the author's, or a payload class of a listener, cannot be imported.
    """
    named = {name for agent in spec.sessions.offered for name in agent.tools}
    environ = {**spec.environ, **os.environ}
    tools = _built_in(spec, folder, link, search_library, named, environ)
    for name in filter(is_python_function, named):
        tools[name] = load_function(name, folder)
    max_bytes = spec.sessions.tools.max_result_bytes
    bounded: dict[str, SessionTool] = {name: BoundedTool(tool, max_bytes) for name, tool in tools.items()}
    return CellToolset(bounded, _servers(spec, environ, folder), max_bytes)


def _servers(spec: SessionCellSpec, environ: Mapping[str, str], folder: Path) -> dict[str, McpConnection]:
    if not spec.sessions.mcp_servers:
        return {}
    from organism.sessions.tools.mcp_connection import McpConnection  # the SDK: 27 MB and 0.3 s for each cell

    return {each.name: McpConnection(each, environ, folder) for each in spec.sessions.mcp_servers}


class CellToolset:
    """`tools` by the names of the configuration, `servers` by theirs."""

    def __init__(self, tools: dict[str, SessionTool], servers: dict[str, McpConnection], max_result_bytes: int) -> None:
        self._tools = tools
        self._servers = servers
        self._max_result_bytes = max_result_bytes

    async def tools_of(self, names: tuple[str, ...]) -> list[SessionTool]:
        found = await asyncio.gather(*(self._named(name) for name in names))
        return _distinct(tool for group in found for tool in group)

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._servers.values()))

    async def _named(self, name: str) -> list[SessionTool]:
        if name == FILES:
            return [self._tools[each] for each in FILE_TOOLS]
        if (wanted := mcp_name(name, self._servers)) is not None:
            return await self._of_server(wanted)
        return [self._tools[name]] if name in self._tools else []

    async def _of_server(self, wanted: McpName) -> list[SessionTool]:
        from organism.sessions.tools.mcp_tool import McpTool  # as above, only where there are servers

        connection = self._servers[wanted.server]
        offered = await connection.tools()
        return [
            BoundedTool(McpTool(connection, each), self._max_result_bytes)
            for each in offered
            if wanted.tool in (None, each.name)
        ]


class _Renamed:
    """A tool whose name another tool has already."""

    def __init__(self, tool: SessionTool, name: str) -> None:
        self.spec: Tool = replace(tool.spec, name=name)
        self.call = tool.call


def _built_in(
    spec: SessionCellSpec,
    folder: Path,
    link: SessionLink,
    search_library: LibrarySearch | None,
    named: set[str],
    environ: Mapping[str, str],
) -> dict[str, SessionTool]:
    """By name; what is not configured, or not handed in, is not there."""
    section = spec.sessions.tools
    tools: dict[str, SessionTool] = {
        "read_file": ReadFile(section.max_file_bytes, section.max_result_bytes),
        "write_file": WriteFile(section.max_file_bytes),
        "edit_file": EditFile(section.max_file_bytes),
        "list_files": ListFiles(),
        "search_files": SearchFiles(section.max_file_bytes),
    }
    if section.run_command.allow:
        tools["run_command"] = RunCommand(section.run_command, environ.get("PATH", DEFAULT_PATH))
    if section.fetch_url.allow_hosts:
        tools["fetch_url"] = FetchUrl(section.fetch_url)
    if "send_to_agent" in named:
        tools["send_to_agent"] = SendToAgent(section.send_to_agent, spec.listeners, folder, link)
    if search_library is not None:
        tools["search_library"] = SearchLibrary(search_library)
    return tools


def _distinct(tools: Iterable[SessionTool]) -> list[SessionTool]:
    """Each tool once, under a name of its own."""
    by_name: dict[str, SessionTool] = {}
    for tool in tools:
        earlier = by_name.setdefault(tool.spec.name, tool)
        if earlier is not tool and earlier.spec != tool.spec:
            name = _free_name(tool.spec, by_name)
            by_name[name] = _Renamed(tool, name)
    return list(by_name.values())


def _free_name(spec: Tool, taken: dict[str, SessionTool]) -> str:
    """The same one each time, so that a model that has seen it in its history finds the same tool."""
    digest = hashlib.sha256(f"{spec.name}\0{spec.description}\0{spec.schema}".encode()).hexdigest()
    lengths = range(6, len(digest))
    names = (f"{spec.name[: MAX_NAME_CHARACTERS - length - 1]}_{digest[:length]}" for length in lengths)
    return next(name for name in names if name not in taken)
