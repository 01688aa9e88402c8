"""`organism chat` and `organism sessions` against the application, over real HTTP and in a real terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parent / "client"))

from session_server import Script, SessionServer, serving_sessions

from organism.cli import build_app
from organism.cli.failures import ExitCode
from organism.client import Client
from organism.sessions.events import AssistantThinkingMessage, ToolCallEvent, ToolInfo, ToolResultEvent

Cli = Callable[..., Result]
WORK = (
    AssistantThinkingMessage(content="let me see", message_id="m"),
    ToolCallEvent(
        tool_call_id="c",
        name="read_file",
        arguments={"path": "a.txt"},
        start_time=1,
        tool=ToolInfo(name="read_file", description="", schema_={}),
    ),
    ToolResultEvent(tool_call_id="c", name="read_file", content="the text", elapsed_ms=12),
)


@pytest.fixture
def server() -> Iterator[SessionServer]:
    with serving_sessions() as server:
        yield server


@pytest.fixture
def cli(server: SessionServer) -> Cli:
    def run(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(build_app(), list(args), env={"ORGANISM_URL": server.url}, **options)

    return run


def test_a_pipe_gets_the_answer_and_nothing_else(cli: Cli) -> None:
    result = cli("chat", input="hi\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello\n", "")


def test_without_a_question_there_is_no_answer(cli: Cli) -> None:
    assert cli("chat", input="").exit_code == ExitCode.USAGE


def test_without_a_model_the_way_to_add_one_is_told(cli: Cli, server: SessionServer) -> None:
    server.sessions.models = ()
    result = cli("chat", input="hi")
    assert result.exit_code == ExitCode.REFUSED
    assert "api_key_env" in result.stderr


def test_where_nothing_answers_chat_says_how_to_start() -> None:
    result = CliRunner().invoke(build_app(), ["chat", "--url", "http://127.0.0.1:9"], input="hi")
    assert result.exit_code == ExitCode.FAILED
    assert "start it with `organism up`" in result.stderr


@pytest.mark.parametrize(
    "command", [("sessions", "show", "x"), ("sessions", "delete", "x"), ("sessions", "abort", "x")]
)
def test_an_unknown_session_is_refused(cli: Cli, command: tuple[str, ...]) -> None:
    result = cli(*command, "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (ExitCode.REFUSED, "session_not_found")


def test_sessions_are_listed_shown_and_deleted(cli: Cli, server: SessionServer) -> None:
    with Client(server.url) as client:
        server.sessions.scripts = [Script(extra=WORK)]
        session = client.create(name="first", tags=["a"])
        session.query("hi")
    listed = cli("sessions")
    assert session.id in listed.stdout
    assert "first" in listed.stdout
    assert json.loads(cli("sessions", "--json", "--tag", "b").stdout) == {"sessions": [], "total": 0}
    shown = cli("sessions", "show", session.id).stdout
    for each in ("> hi", "let me see", 'read_file {"path":"a.txt"} → the text  12 ms', "Hello"):
        assert each in shown
    assert len(json.loads(cli("sessions", "show", session.id, "--json").stdout)["events"]) == 7
    assert "nothing was running" in cli("sessions", "abort", session.id).stdout
    assert cli("sessions", "delete", session.id).exit_code == 0
    assert "there are none" in cli("sessions").stderr


class Terminal:
    """`organism chat` as somebody sits before it."""

    def __init__(self, url: str, *options: str) -> None:
        self.master, slave = pty.openpty()
        command = [Path(sys.executable).with_name("organism"), "chat", "--url", url, *options]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env={**os.environ, "TERM": "dumb"}
        )
        os.close(slave)
        self.text = ""

    def type(self, line: str) -> None:
        os.write(self.master, line.encode())

    def see(self, pattern: str, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} is not in {self.text!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode()
        self.text = self.text[found.end() :]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(server: SessionServer) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*options: str) -> Terminal:
        opened.append(Terminal(server.url, *options))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def test_a_conversation_shows_what_happens_and_can_be_left(server: SessionServer, terminal: Any) -> None:
    server.sessions.scripts = [Script(extra=WORK), Script(gate=asyncio.Event())]
    chat = terminal()
    chat.see(r"session [\w-]+.*\n> ")
    chat.type("hi\n")
    chat.see(r"let me see\s+⚙ read_file .* → the text  12 ms\s+Hello\s+> ")
    chat.type("/model\n")
    chat.see(r"local: small, large\s+cloud: huge\s+> ")
    chat.type("/nonsense\n")
    chat.see(r"there is no /nonsense.*\s+> ")
    chat.type("tell me more\n")
    chat.see("tell me more\\s+Hello")
    chat.process.send_signal(signal.SIGINT)
    chat.see(r"\[aborted\]\s+> ")
    chat.type("/new\n")
    chat.see(r"session [\w-]+")
    chat.type("\x04")
    chat.see("goes on from here")
    assert chat.process.wait(20) == 0


def test_a_session_is_gone_on_with_and_a_second_interrupt_leaves(server: SessionServer, terminal: Any) -> None:
    with Client(server.url) as client:
        session = client.create()
        session.query("what was first")
    chat = terminal("--session", session.id)
    chat.see(r"> what was first\s+Hello\s+session")
    chat.see("> ")
    chat.process.send_signal(signal.SIGINT)
    chat.see("goes on from here")
    assert chat.process.wait(20) == 0
