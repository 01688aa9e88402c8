"""`organism ingest`, `search`, `ask` and `libraries` against the application, over real HTTP."""

from __future__ import annotations

import json
import os
import pty
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

from librarian_server import GIT_URL, LibrarianServer, serving_librarian

from librarian.errors import LibraryDamaged
from organism.cli import build_app
from organism.cli.failures import ExitCode
from organism.cli.librarian import INTERRUPTED, absolute
from organism.client import Client

Cli = Callable[..., Result]
ORGANISM = Path(sys.executable).with_name("organism")


@pytest.fixture
def server() -> Iterator[LibrarianServer]:
    with serving_librarian() as server:
        yield server


@pytest.fixture
def cli(server: LibrarianServer) -> Cli:
    def run(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(build_app(), list(args), env={"ORGANISM_URL": server.url}, **options)

    return run


@pytest.fixture
def library_id(cli: Cli) -> str:
    return json.loads(cli("ingest", GIT_URL, "--json").stdout)["library_id"]


def test_an_ingest_tells_phases_and_what_came_of_it(cli: Cli) -> None:
    result = cli("ingest", GIT_URL, "--branch", "next", "--name", "hello")
    assert result.exit_code == 0
    assert "hello-" in result.stdout
    assert "3 files, 3 chunks of next 4c9fb5c1d1b7" in result.stdout
    again = cli("ingest", GIT_URL, "--branch", "next", "--name", "hello")
    assert "nothing has changed" in again.stdout


def test_an_ingest_that_fails_says_why(cli: Cli) -> None:
    result = cli("ingest", "https://example.org/nothing.git")
    assert (result.exit_code, result.stdout) == (ExitCode.REFUSED, "")
    assert "no such repository" in result.stderr


@pytest.mark.parametrize("given", ["https://x.org/a.git", "ssh://git@x.org/a", "git@x.org:a/b.git", "file:///a/b"])
def test_a_url_is_sent_as_it_is(given: str) -> None:
    assert absolute(given) == given


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("repository") == str(tmp_path / "repository")
    assert absolute(".") == str(tmp_path)
    assert absolute("~/x") == str(Path.home() / "x")


def test_a_search_shows_places_and_what_stands_there(cli: Cli, library_id: str) -> None:
    result = cli("search", library_id, "hello", "--path", "src/*.py", "--limit", "3")
    assert result.stdout.splitlines() == ["src/greet.py:1-3  greet (module, 1.00)", "    def greet(name):"]
    assert "nothing was found" in cli("search", library_id, "zebra").stderr


def test_search_and_filters_as_json(cli: Cli, server: LibrarianServer, library_id: str) -> None:
    result = cli("search", library_id, "hello", "--json", "--language", "python", "--type", "module")
    assert [each["start_line"] for each in json.loads(result.stdout)["sources"]] == [1, 1]
    filters = server.librarian.searches[-1][3]
    assert (filters.languages, filters.chunk_types) == (("python",), ("module",))


def test_a_language_that_there_is_not_is_refused(cli: Cli, library_id: str) -> None:
    result = cli("search", library_id, "hello", "--language", "klingon")
    assert result.exit_code == ExitCode.REFUSED
    assert "python" in result.stderr


def test_an_answer_comes_with_its_places(cli: Cli, library_id: str) -> None:
    answered = cli("ask", library_id, "hello").stdout  # of two sources it cites one
    assert answered == "def greet(name): [1]\n\n[1] src/greet.py:1-3  greet\n"
    assert json.loads(cli("ask", library_id, "hello", "--json").stdout)["found"] is True


def test_an_honest_answer_names_no_places(cli: Cli, library_id: str) -> None:
    assert cli("ask", library_id, "zebra").stdout == "Nothing was found.\n\n"


def test_an_unknown_model_is_refused_with_those_that_there_are(cli: Cli, library_id: str) -> None:
    result = cli("ask", library_id, "hello", "--model", "large")
    assert result.exit_code == ExitCode.REFUSED
    assert "there are small" in result.stderr


def test_a_library_is_found_by_its_name(cli: Cli, library_id: str) -> None:
    assert cli("search", "greeter", "hello").exit_code == 0


def test_a_name_that_two_libraries_have_is_refused(cli: Cli, server: LibrarianServer, library_id: str) -> None:
    server.librarian.repositories["https://example.org/other.git"] = {"a.py": "a = 1\n"}
    assert cli("ingest", "https://example.org/other.git", "--name", "greeter").exit_code == 0
    result = cli("search", "greeter", "hello")
    assert result.exit_code == ExitCode.REFUSED
    assert library_id in result.stderr


def test_a_library_that_is_not_there_is_told_with_those_that_are(cli: Cli, library_id: str) -> None:
    result = cli("ask", "nowhere", "hello", "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["code"]) == (ExitCode.REFUSED, "library_not_found")
    assert library_id in error["message"]


def test_libraries_are_listed_and_deleted(cli: Cli, library_id: str) -> None:
    assert library_id in cli("libraries").stdout
    (listed,) = json.loads(cli("libraries", "--json").stdout)["libraries"]
    assert (listed["library_id"], listed["total_files"]) == (library_id, 3)
    assert "is deleted" in cli("libraries", "delete", "greeter").stdout
    assert "there are none" in cli("libraries").stderr


def test_a_damaged_library_says_so(cli: Cli, server: LibrarianServer, library_id: str) -> None:
    server.librarian.trouble = LibraryDamaged(library_id, "a checksum")
    result = cli("libraries")
    assert result.exit_code == ExitCode.REFUSED
    assert "a checksum" in result.stderr


def test_what_stands_in_a_repository_does_not_steer_the_terminal(cli: Cli, server: LibrarianServer) -> None:
    server.librarian.repositories[GIT_URL] = {"a.py": "hello = '\x1b[2J'\n"}
    cli("ingest", GIT_URL)
    assert "\x1b" not in cli("search", "greeter", "hello").stdout + cli("ask", "greeter", "hello").stdout


def test_where_nothing_answers_it_says_how_to_start() -> None:
    result = CliRunner().invoke(build_app(), ["libraries", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == ExitCode.FAILED
    assert "start it with `organism up`" in result.stderr


def test_ctrl_c_cancels_the_ingest(server: LibrarianServer) -> None:
    server.on_loop(server.librarian.gate.clear)
    command = [ORGANISM, "ingest", GIT_URL, "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "fetching\n"  # it follows the job by now
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (INTERRUPTED, "")
    assert errors == "cancelled; the library is as it was before\n"
    with Client(server.url) as client:
        assert [each.status for each in client.librarian.jobs()] == ["cancelled"]


def test_a_terminal_sees_a_bar_and_the_answer_as_it_is_written(server: LibrarianServer) -> None:
    assert "3 files" in in_terminal(server.url, "ingest", GIT_URL)
    assert "[1] src/greet.py:1-3" in in_terminal(server.url, "ask", "greeter", "hello")


def in_terminal(url: str, *args: str, timeout_s: float = 20.0) -> str:
    """What the command shows to somebody who sits before it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [ORGANISM, *args, "--url", url], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"}
    )
    os.close(slave)
    text, ends_s = b"", time.monotonic() + timeout_s
    try:
        while time.monotonic() < ends_s:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    text += os.read(master, 65536)
                except OSError:  # the other side is closed
                    break
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return text.decode()
