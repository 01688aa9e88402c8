"""A connection to one MCP server, opened when first needed and again, after growing delays, when it is lost.

The SDK's client must be entered and left in one task, so each connection lives in a task of its own, and what goes
wrong with the server stays there: callers get ToolFailed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

import anyio
import httpx2
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, INVALID_REQUEST, CallToolResult
from mcp_types import Tool as McpTool

from organism.config import McpServer
from organism.masking import mask_text
from organism.sessions.tools.base import ToolFailed

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 30.0
START_TIMEOUT_S = 20.0
"""For connecting and listing the tools; a server's own timeout_s counts where it is shorter."""
CLOSE_TIMEOUT_S = 10.0
STEADY_S = 60.0
"""A connection that lasted this long begins again with the first delay."""
MAX_TOOLS = 500
_SESSION_ENDED = (INVALID_REQUEST, INTERNAL_ERROR)
"""What the SDK answers when an HTTP server is gone, or has forgotten the session after a restart."""


class McpConnection:
    """Call `close` in the end. environ: where the variables that the configuration names are looked up.
    folder: where commands run."""

    def __init__(self, server: McpServer, environ: Mapping[str, str], folder: Path) -> None:
        self._server = server
        self._environ = environ
        self._folder = folder
        self._client: Client | None = None
        self._tools: list[McpTool] = []
        self._reason = "it has not been started"
        self._settled = asyncio.Event()  # set while connected, and while waiting after a failure
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._server.name

    async def tools(self) -> list[McpTool]:
        """What the server offers, or offered when it last answered: calls say then that it is not there."""
        await self._start()
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Raises ToolFailed when the server does not answer, or dies. Cancelling tells the server."""
        await self._start()
        if self._client is None:
            raise ToolFailed(f"MCP server {self.name!r} is not there at present ({self._reason}); try again later")
        try:
            async with asyncio.timeout(self._server.timeout_s):
                return await self._client.call_tool(tool, arguments)
        except TimeoutError as error:
            raise ToolFailed(f"MCP server {self.name!r}: no answer within {self._server.timeout_s:g} s") from error
        except MCPError as error:
            if error.code == CONNECTION_CLOSED or (self._server.url and error.code in _SESSION_ENDED):
                self._lost.set()
            raise ToolFailed(f"MCP server {self.name!r}: {error}") from error
        except Exception as error:  # what the transport raises when the server is gone: it is started again
            self._lost.set()
            raise ToolFailed(f"MCP server {self.name!r} was lost during the call: {_text(error)}") from error

    async def close(self) -> None:
        """Ends the connection, and the server's process."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT_S)

    async def _start(self) -> None:
        """Returns when it is connected, or known not to be."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"mcp {self.name}")
        await self._settled.wait()

    async def _keep(self) -> None:
        """Connects again and again."""
        loop, delay_s = asyncio.get_running_loop(), FIRST_DELAY_S
        while not self._is_closed:
            began = loop.time()
            try:
                await self._connected()
                self._reason = "it ended"
            except Exception as error:  # whatever a server does ends its connection only
                self._reason = _text(error)
                logger.warning("MCP server %r does not answer: %s; it is tried again", self.name, self._reason)
            finally:
                self._client = None
                self._settled.set()
            if self._is_closed:
                return  # the SDK may turn our cancellation into an error of its own
            delay_s = FIRST_DELAY_S if loop.time() - began > STEADY_S else delay_s
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)
            self._settled.clear()

    async def _connected(self) -> None:
        """One connection, from its start to its loss."""
        self._lost.clear()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(min(START_TIMEOUT_S, self._server.timeout_s)):
                client = Client(self._transport(), mode="legacy", cache=None)
                await stack.enter_async_context(client)
                self._tools = await _all_tools(client)
            self._client = client
            self._settled.set()
            await self._lost.wait()
            self._settled.clear()  # callers wait for the next try
            self._client = None

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        if self._server.url is not None:
            return self._http(self._server.url)
        program, *arguments = self._server.command
        named = {name: self._environ[name] for name in self._server.env if name in self._environ}
        parameters = StdioServerParameters(command=program, args=arguments, env=named, cwd=self._folder)
        return self._stdio(parameters)

    @asynccontextmanager
    async def _http(self, url: str) -> AsyncGenerator[Any]:
        names = self._server.headers_env
        headers = {header: self._environ[name] for header, name in names.items() if name in self._environ}
        timeout = httpx2.Timeout(START_TIMEOUT_S, read=self._server.timeout_s)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http_client,
            streamable_http_client(url, http_client=http_client) as streams,
        ):
            yield streams

    @asynccontextmanager
    async def _stdio(self, parameters: StdioServerParameters) -> AsyncGenerator[Any]:
        """The SDK's, which does not tell of a server that ends: we see the end of its output pass by."""
        with _server_errors() as errors:
            async with stdio_client(parameters, errlog=errors) as (read, write), anyio.create_task_group() as group:
                sink, source = anyio.create_memory_object_stream[Any](0)

                async def forward() -> None:
                    async with sink:
                        try:
                            async for message in read:
                                await sink.send(message)
                        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                            pass  # we are closing
                    self._lost.set()

                group.start_soon(forward)
                try:
                    yield source, write
                finally:
                    group.cancel_scope.cancel()
                    source.close()


def _server_errors() -> TextIO:
    """Where a server's stderr goes: to ours, where that is a real file."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w")
    except (OSError, ValueError, AttributeError):
        return Path(os.devnull).open("w")


async def _all_tools(client: Client) -> list[McpTool]:
    tools: list[McpTool] = []
    cursor: str | None = None
    while len(tools) < MAX_TOOLS:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    return tools[:MAX_TOOLS]


def _text(error: BaseException) -> str:
    """What an error says; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return mask_text(str(error)) or type(error).__name__
