"""MCP servers for the tests: `python mcp_test_server.py stdio|http|dying|hanging|garbage|mute [port]`."""

from __future__ import annotations

import os
import sys
import time

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError


def server() -> MCPServer:
    app = MCPServer("test")

    @app.tool(description="Adds two numbers")
    def add(a: int, b: int) -> str:
        return str(a + b)

    @app.tool()
    def fail() -> str:
        raise ToolError("no luck today")

    @app.tool()
    def die() -> str:
        os._exit(3)

    @app.tool()
    async def hang() -> str:
        import anyio

        await anyio.sleep(1000)
        return "never"

    @app.tool()
    def variable(name: str) -> str:
        return os.environ.get(name, "(not set)")

    @app.tool()
    def process_id() -> str:
        return str(os.getpid())

    return app


def main(kind: str, port: int) -> None:
    if kind == "dying":
        sys.exit(3)
    if kind == "mute":
        time.sleep(1000)
    if kind == "garbage":
        sys.stdout.write("this is no JSON\n")
        sys.stdout.write('{"jsonrpc": "2.0", "id": 77, "result": {}}\n')
        sys.stdout.flush()
    if kind == "http":
        server().run("streamable-http", host="127.0.0.1", port=port)
    else:
        server().run("stdio")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
