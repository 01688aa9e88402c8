"""mcp: libraries for coding agents that speak the Model Context Protocol, over stdio or HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from organism.cli.options import Url
from organism.cli.session_client import async_client

HOST = "127.0.0.1"


def register(app: typer.Typer) -> None:
    app.command()(mcp)


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP at http://127.0.0.1:PORT/mcp instead.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of --http.")] = 8010,
    url: Url = None,
) -> None:
    """Gives a coding agent the libraries of a running organism, as an MCP server on stdin and stdout.

    The organism need not run yet: a tool that needs it says so.
    """
    asyncio.run(_serve(url, port if http else None))


async def _serve(url: str | None, port: int | None) -> None:
    from organism.cli.mcp_tools import build_server  # half a second that no other command should pay

    async with async_client(url) as client:
        server = build_server(client.librarian)
        if port is None:
            await server.run_stdio_async()
        else:
            await server.run_streamable_http_async(host=HOST, port=port, stateless_http=True)
