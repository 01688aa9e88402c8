import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from organism.config import McpServer
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.mcp_connection import McpConnection
from organism.sessions.tools.mcp_tool import model_name
from organism.sessions.tools.toolset import CellToolset
from organism.sessions.workspace import Workspace

SCRIPT = Path(__file__).with_name("mcp_test_server.py")
CONTEXT = ToolContext("s", Workspace(Path("/nowhere")))


def stdio(kind: str = "stdio", **options) -> McpServer:
    return McpServer(name="test", command=(sys.executable, str(SCRIPT), kind), **{"timeout_s": 20.0, **options})


@pytest.fixture
async def open_tools(tmp_path):
    opened = []

    def open_tools(*servers: McpServer, environ=None) -> CellToolset:
        connections = {each.name: McpConnection(each, environ or {}, tmp_path) for each in servers}
        opened.append(CellToolset({}, connections, 10_000))
        return opened[-1]

    yield open_tools
    for each in opened:
        await each.close()


async def by_name(tools: CellToolset, *names: str):
    return {each.spec.name: each for each in await tools.tools_of(names or ("mcp.test",))}


async def test_tools_of_a_stdio_server_are_offered_and_called(open_tools):
    tools = await by_name(open_tools(stdio()))
    add = tools["test_add"]
    assert add.spec.description == "Adds two numbers"
    assert add.spec.schema["required"] == ["a", "b"]
    assert await add.call({"a": 1, "b": 2}, CONTEXT) == "3"
    with pytest.raises(ToolFailed, match="no luck today"):
        await tools["test_fail"].call({}, CONTEXT)


async def test_one_tool_of_a_server_can_be_named(open_tools):
    assert list(await by_name(open_tools(stdio()), "mcp.test.add", "mcp.test.gone")) == ["test_add"]


async def test_a_server_starts_once_for_all_sessions(open_tools):
    tools = open_tools(stdio())
    both = await asyncio.gather(by_name(tools), by_name(tools))
    first, second = [await each["test_process_id"].call({}, CONTEXT) for each in both]
    assert first == second


async def test_a_server_gets_the_variables_that_are_named_and_no_others(open_tools, monkeypatch):
    monkeypatch.setenv("UNNAMED_KEY", "secret")
    tools = await by_name(
        open_tools(stdio(env=("NAMED_KEY",)), environ={"NAMED_KEY": "value", "UNNAMED_KEY": "secret"})
    )
    assert await tools["test_variable"].call({"name": "NAMED_KEY"}, CONTEXT) == "value"
    assert await tools["test_variable"].call({"name": "UNNAMED_KEY"}, CONTEXT) == "(not set)"


async def test_a_server_that_dies_during_a_call_is_told_and_started_again(open_tools):
    tools = await by_name(open_tools(stdio()))
    with pytest.raises(ToolFailed):
        await tools["test_die"].call({}, CONTEXT)
    assert await eventually(lambda: tools["test_add"].call({"a": 1, "b": 2}, CONTEXT)) == "3"


async def test_a_server_that_is_killed_while_idle_is_started_again(open_tools):
    tools = await by_name(open_tools(stdio()))
    first = int(await tools["test_process_id"].call({}, CONTEXT))
    os.kill(first, signal.SIGKILL)
    assert int(await eventually(lambda: tools["test_process_id"].call({}, CONTEXT))) != first


async def eventually(call):
    """The first result that is no failure."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await call()
            except ToolFailed:
                await asyncio.sleep(0.05)


async def test_a_call_that_hangs_ends_at_its_timeout_and_others_go_on(open_tools):
    tools = await by_name(open_tools(stdio(timeout_s=4.0)))
    hanging = asyncio.create_task(tools["test_hang"].call({}, CONTEXT))
    assert await tools["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"
    with pytest.raises(ToolFailed, match="within 4 s"):
        await hanging
    assert await tools["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"


async def test_a_call_can_be_cancelled(open_tools):
    tools = await by_name(open_tools(stdio()))
    hanging = asyncio.create_task(tools["test_hang"].call({}, CONTEXT))
    assert await tools["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await tools["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"


@pytest.mark.parametrize(
    "server",
    [stdio("dying"), stdio("mute", timeout_s=1.0), McpServer(name="test", command=("no-such-program",)),
     McpServer(name="test", url="http://127.0.0.1:1/mcp")],
    ids=["dying", "mute", "missing", "unreachable"],
)  # fmt: skip
async def test_a_server_that_does_not_answer_is_left_out_and_does_not_block(open_tools, server):
    tools = open_tools(server)
    async with asyncio.timeout(15):
        assert await by_name(tools) == {}


async def test_garbage_between_the_messages_is_passed_over(open_tools):
    tools = await by_name(open_tools(stdio("garbage")))
    assert await tools["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"


async def test_closing_ends_the_servers(tmp_path):
    connection = McpConnection(stdio(), {}, tmp_path)
    tools = await by_name(CellToolset({}, {"test": connection}, 1000))
    pid = int(await tools["test_process_id"].call({}, CONTEXT))
    await connection.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.fixture
def http_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SCRIPT), "http", str(port)], stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()


async def test_a_streamable_http_server_is_asked_once_it_is_there(open_tools, http_url):
    tools = open_tools(McpServer(name="test", url=http_url, timeout_s=20.0))
    async with asyncio.timeout(40):
        while not (named := await by_name(tools)):  # noqa: ASYNC110 another process
            await asyncio.sleep(0.1)
    assert await named["test_add"].call({"a": 1, "b": 2}, CONTEXT) == "3"
    with pytest.raises(ToolFailed):
        await named["test_die"].call({}, CONTEXT)
    with pytest.raises(ToolFailed):
        await named["test_add"].call({"a": 1, "b": 2}, CONTEXT)


def test_names_are_such_that_every_model_takes_them():
    assert model_name("docs.v2", "read page!") == "docs_v2_read_page_"
    assert len(model_name("x" * 60, "y" * 60)) == 64
