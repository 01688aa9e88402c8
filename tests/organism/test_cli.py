"""The command line against a small API over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fake_api import FakeOrganism, make_agent, serving
from typer.testing import CliRunner, Result

from organism.cli import build_app
from organism.cli.client import may_use_proxy
from organism.cli.failures import ExitCode
from organism.cli.output import age, duration, printable

Cli = Callable[..., Result]


@pytest.fixture
def organism() -> Iterator[FakeOrganism]:
    with serving(FakeOrganism(agents={"counter": make_agent("counter"), "outbox": make_agent("outbox")})) as fake:
        yield fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs one command line in an empty folder; a string is split at spaces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORGANISM_URL", raising=False)

    def run(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(build_app(), list(args), **options)

    return run


@pytest.fixture
def cli(run: Cli, organism: FakeOrganism) -> Cli:
    """Runs one command line against the fake organism."""
    return lambda *args, **options: run(*args, env={"ORGANISM_URL": organism.url}, **options)


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def document(result: Result) -> dict[str, Any]:
    (only,) = documents(result)
    return only


# finding the organism


def test_where_nothing_answers_the_way_to_start_is_shown(run: Cli) -> None:
    result = run("status", "--url", "http://127.0.0.1:9")
    assert result.exit_code == ExitCode.FAILED
    assert "nothing answers at http://127.0.0.1:9; start it with `organism up`" in result.stderr
    assert "Traceback" not in result.output


def test_an_error_is_one_json_document_too(run: Cli) -> None:
    result = run("status", "--url", "http://127.0.0.1:9", "--json")
    assert document(result)["error"]["code"] == "nothing_answers"


@pytest.mark.parametrize(
    "command", ["status --limt 3", "nosuch", "up --port http", "threads --limit 0", "keys add", "keys ad x", "inject a"]
)
def test_a_command_that_is_used_wrongly_says_so_as_a_json_document_too(run: Cli, command: str) -> None:
    result = run(*command.split(), "--json")
    error = document(result)["error"]
    assert (result.exit_code, error["code"], result.stderr) == (ExitCode.USAGE, "usage", "")
    assert run(*command.split()).stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    "command",
    ["status", "tail", "threads", "thread x", "inject a {}", "pause a", "resume a", "kill x", "reload", "dead-letters",
     "requeue x", "down"],
)  # fmt: skip
def test_every_command_says_so_where_nothing_answers(run: Cli, command: str) -> None:
    result = run(*command.split(), "--url", "http://127.0.0.1:9")
    assert (result.exit_code, "nothing answers" in result.stderr) == (ExitCode.FAILED, True)


def test_the_address_is_read_from_the_run_file_of_the_folder(run: Cli, organism: FakeOrganism, tmp_path: Path) -> None:
    (tmp_path / ".organism").mkdir()
    facts = {"url": organism.url, "pid": 1, "namespace": "fake", "dashboard": None}
    (tmp_path / ".organism" / "run.json").write_text(json.dumps(facts))
    assert run("status").exit_code == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1, "pid": "x", "namespace": ""}', "\xff"])
def test_a_broken_run_file_is_as_good_as_none(run: Cli, tmp_path: Path, content: str) -> None:
    (tmp_path / ".organism").mkdir()
    (tmp_path / ".organism" / "run.json").write_text(content, encoding="latin-1")
    result = run("status")
    assert "http://127.0.0.1:8000" in result.stderr or result.exit_code == 0


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://host:port"])
def test_what_is_no_address_is_wrong_use(run: Cli, url: str) -> None:
    result = run("status", "--url", url)
    assert result.exit_code == ExitCode.USAGE
    assert "http://host:port" in result.stderr


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert cli("status").exit_code == 0
    assert may_use_proxy("http://organism.example:8000")
    assert not may_use_proxy("http://[::1]:8000")


def test_a_server_that_is_no_organism_is_told_apart(cli: Cli, organism: FakeOrganism) -> None:
    organism.failures = [(502, b"<html>Bad gateway</html>")]
    result = cli("thread", "thread-1")
    assert result.exit_code == ExitCode.REFUSED
    assert "answered 502: <html>Bad gateway</html>" in result.stderr
    organism.failures = [(200, b"hello")]
    assert "does not speak the organism API" in cli("thread", "thread-1").stderr


# looking


def test_status_shows_every_agent_of_all_pages(cli: Cli, organism: FakeOrganism) -> None:
    organism.agents["writer"] = make_agent("writer", state="error", queue_depth=1234, restarts=11, error="gave up")
    organism.agents["outbox"]["paused"] = True
    result = cli("status")
    assert result.exit_code == 0
    assert "fake at " in result.stdout
    assert "up 1 min" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["counter", "outbox", "writer"]
    for shown in ("idle (paused)", "1234", "11", "gave up"):
        assert shown in result.stdout


def test_status_as_json_holds_organism_and_agents(cli: Cli) -> None:
    shown = document(cli("status", "--json"))
    assert shown["organism"]["name"] == "fake"
    assert [agent["name"] for agent in shown["agents"]] == ["counter", "outbox"]


def test_the_filters_of_threads_reach_the_api(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1", participants=["console", "counter"], status="error", error="it broke")
    organism.add_thread("thread-2")
    stamp = "2026-01-15T10:00:00Z"
    result = cli("threads", "--status", "error", "--agent", "counter", "--since", stamp, "--limit", "1")
    assert "thread-1" in result.stdout
    assert "it broke" in result.stdout
    assert "1 of 2; --offset 1 shows the next ones" in result.stderr
    ((_, asked, _),) = organism.asked
    assert asked == "/threads?status=error&agent=counter&since=2026-01-15T10%3A00%3A00Z&limit=1&offset=0"


def test_a_thread_is_shown_as_a_conversation(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1", status="completed")
    organism.add_message("thread-1", "console", "counter", payload={"text": "to be"})
    organism.add_message("thread-1", "counter", "outbox", fate="dead")
    lines = cli("thread", "thread-1").stdout.splitlines()
    assert 'console → counter  Text {"text":"to be"}' in lines[1]
    assert lines[2].endswith("[dead]")
    assert lines[3] == "completed, 2 messages"


def test_a_thread_longer_than_a_page_is_shown_whole(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1", status="completed")
    for _ in range(2001):
        organism.add_message("thread-1", "counter", "counter")
    shown = document(cli("thread", "thread-1", "--json"))
    assert [message["slot_index"] for message in shown["messages"]] == list(range(2001))
    assert shown["status"] == "completed"
    assert "limit" not in shown


def test_the_message_of_the_api_is_shown_when_it_refuses(cli: Cli) -> None:
    result = cli("thread", "none such/..")
    assert result.exit_code == ExitCode.REFUSED
    assert "no thread 'none such" in result.stderr or "404" in result.stderr


def test_what_an_agent_sends_cannot_steer_the_terminal(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1", status="error", error="\x1b[2Jgone\x9b31m")
    organism.add_message("thread-1", "console", "counter", payload={"text": "\x1b[2J\x9b31m [red]x[/red]"})
    shown = cli("thread", "thread-1").stdout
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "[red]x[/red]" in shown


def test_dead_letters_are_listed_and_requeued(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    message = organism.add_message("thread-1", "console", "counter")
    died = {"reason": "handler raised", "attempts": 3, "died_at": message["timestamp"], "message": message}
    organism.dead.append({"id": message["id"], **died})
    listed = cli("dead-letters", "--agent", "counter").stdout
    assert "message-1" in listed
    assert "handler raised" in listed
    assert document(cli("requeue", "message-1", "--json"))["id"] == "message-1"
    assert cli("requeue", "message-1").exit_code == ExitCode.REFUSED


# steering


def test_inject_answers_when_the_message_is_accepted(cli: Cli, organism: FakeOrganism) -> None:
    result = cli("inject", "counter", '{"text": "to be"}')
    assert (result.exit_code, result.stdout) == (0, "thread thread-1\n")
    assert organism.asked[-1][2] == {"to": "counter", "payload": {"text": "to be"}}


def test_inject_reads_the_payload_from_standard_input(cli: Cli, organism: FakeOrganism) -> None:
    assert cli("inject", "counter", "-", input='{"text": "à"}').exit_code == 0
    assert organism.asked[-1][2]["payload"] == {"text": "à"}


def test_a_payload_that_is_no_json_is_never_sent(cli: Cli, organism: FakeOrganism) -> None:
    result = cli("inject", "counter", "{text: to be}")
    assert result.exit_code == ExitCode.USAGE
    assert "the payload is not JSON" in result.stderr
    assert organism.asked == []


def test_the_fields_that_are_wrong_are_listed(cli: Cli) -> None:
    result = cli("inject", "counter", "3")
    assert result.exit_code == ExitCode.REFUSED
    assert "payload is no Text" in result.stderr
    assert "path: text, problem: Field required" in result.stderr


def test_a_problem_that_the_message_tells_is_not_shown_again(cli: Cli, organism: FakeOrganism) -> None:
    problems = ["organism.yaml:3: prot: is no known key", "organism.yaml:4: foo: is no known key"]
    details = [{"path": "prot", "problem": "is no known key", "line": 3}]
    error = {"code": "config", "message": "\n".join(problems), "details": details}
    organism.reload_answer = (422, {"error": error})
    assert cli("reload").stderr.splitlines() == [f"error: {problems[0]}", problems[1]]


def test_an_unknown_agent_is_refused_with_the_api_s_words(cli: Cli) -> None:
    result = cli("inject", "nobody", "{}", "--json")
    assert result.exit_code == ExitCode.REFUSED
    error = {"code": "not_found", "message": "no agent named 'nobody'; GET /api/v1/agents lists them"}
    assert document(result) == {"error": error}


def test_wait_shows_the_thread_until_it_completes(cli: Cli, organism: FakeOrganism) -> None:
    organism.unfold = [("counter", "outbox"), ("outbox", "console")]
    result = cli("inject", "counter", "{}", "--wait")
    assert result.exit_code == 0
    shown = result.stdout.splitlines()
    assert [line for line in shown if "→" in line and "console → counter" in line] == [shown[1]]
    assert "counter → outbox" in shown[2]
    assert "outbox → console" in shown[3]
    assert shown[4] == "completed, 3 messages"


def test_wait_in_an_old_thread_shows_only_what_is_new(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1", status="completed")
    organism.add_message("thread-1", "console", "counter")
    organism.unfold = [("counter", "outbox")]
    shown = document(cli("inject", "counter", "{}", "--thread", "thread-1", "--wait", "--json"))
    assert shown["status"] == "completed"
    assert [message["slot_index"] for message in shown["messages"]] == [1, 2]


def test_wait_fails_as_the_thread_does(cli: Cli, organism: FakeOrganism) -> None:
    organism.outcome = ("error", "handler of counter raised ValueError")
    result = cli("inject", "counter", "{}", "--wait")
    assert result.exit_code == ExitCode.THREAD_FAILED
    assert "error, 1 message: handler of counter raised ValueError" in result.stdout


def test_wait_gives_up_after_its_time(cli: Cli, organism: FakeOrganism) -> None:
    organism.outcome = ("active", None)
    result = cli("inject", "counter", "{}", "--wait", "--timeout-s", "0.2")
    assert result.exit_code == ExitCode.TIMED_OUT
    assert "still active after 0.2 s" in result.stderr


def test_wait_outlives_a_pump_that_restarts(cli: Cli, organism: FakeOrganism) -> None:
    body = b'{"error": {"code": "unreachable", "message": "it restarts by itself"}}'
    organism.failures = [(503, body), (500, b"Internal Server Error")]
    assert cli("inject", "counter", "{}", "--wait").exit_code == 0


def test_pause_and_resume_reach_the_agent(cli: Cli, organism: FakeOrganism) -> None:
    assert cli("pause", "counter").stdout == "counter is paused; `organism resume counter` goes on\n"
    assert organism.agents["counter"]["paused"]
    assert document(cli("resume", "counter", "--json"))["paused"] is False


def test_kill_ends_the_thread(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    assert cli("kill", "thread-1").exit_code == 0
    assert organism.threads["thread-1"]["status"] == "killed"


def test_reload_says_what_changed(cli: Cli, organism: FakeOrganism) -> None:
    organism.reload_answer = (200, {"added": ["writer"], "changed": ["counter", "outbox"], "removed": []})
    assert cli("reload").stdout == "added writer; changed counter, outbox\n"
    organism.reload_answer = (200, {"added": [], "changed": [], "removed": []})
    assert cli("reload").stdout == "no listener has changed\n"


def test_a_reload_that_is_refused_shows_every_problem(cli: Cli, organism: FakeOrganism) -> None:
    details = [{"file": "organism.yaml", "line": 3, "problem": "no listener is named 'x'"}]
    error = {"code": "config", "message": "the new configuration cannot be used", "details": details}
    organism.reload_answer = (422, {"error": error})
    result = cli("reload")
    assert result.exit_code == ExitCode.REFUSED
    assert "file: organism.yaml, line: 3, problem: no listener is named 'x'" in result.stderr


def test_down_returns_when_the_organism_is_gone(cli: Cli, organism: FakeOrganism) -> None:
    result = cli("down", "--timeout-s", "20")
    assert result.exit_code == 0, result.output
    assert organism.stop.is_set()
    assert "nothing answers" in cli("status").stderr


# following


def test_tail_from_the_beginning_shows_the_whole_log(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    for _ in range(3):
        organism.add_message("thread-1", "console", "counter")
    shown = documents(cli("tail", "--since", "0", "--count", "3", "--json"))
    assert [message["seq"] for message in shown] == [1, 2, 3]


def test_tail_begins_with_what_comes_next(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    organism.add_message("thread-1", "console", "counter")

    def send_when_followed() -> None:
        while not any(method == "WS" for method, *_ in organism.asked):
            time.sleep(0.01)
        organism.add_message("thread-1", "counter", "outbox")

    sender = threading.Thread(target=send_when_followed)
    sender.start()
    (shown,) = documents(cli("tail", "--count", "1", "--json"))
    sender.join()
    assert shown["seq"] == 2


def test_the_filters_of_tail_reach_the_api(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    organism.add_message("thread-1", "console", "counter")
    organism.add_message("thread-1", "counter", "outbox")
    options = ["--agent", "outbox", "--thread", "thread-1", "--type", "Text", "--since", "0", "-n", "1"]
    assert "counter → outbox" in cli("tail", *options).stdout
    wanted = {"agents": ["outbox"], "threads": ["thread-1"], "payload_types": ["Text"], "since": 0}
    assert organism.asked[-1] == ("WS", "/ws/messages", {"cmd": "subscribe", "filter": wanted})


def test_tail_goes_on_behind_the_last_message_when_the_connection_is_lost(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    for _ in range(5):
        organism.add_message("thread-1", "console", "counter")
    organism.drop_stream_after = 2
    result = cli("tail", "--since", "0", "-n", "5", "--json")
    assert [message["seq"] for message in documents(result)] == [1, 2, 3, 4, 5]


def test_tail_reads_again_what_the_server_had_to_skip(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    for _ in range(5):
        organism.add_message("thread-1", "console", "counter")
    organism.lag_after = 3
    result = cli("tail", "--since", "0", "-n", "5", "--json")
    assert [message["seq"] for message in documents(result)] == [1, 2, 3, 4, 5]


def test_tail_can_begin_at_a_time(cli: Cli, organism: FakeOrganism) -> None:
    organism.add_thread("thread-1")
    for _ in range(3):
        organism.add_message("thread-1", "console", "counter")
    organism.drop_stream_after = 1
    result = cli("tail", "--since", "2026-01-15T10:00:00Z", "-n", "3", "--json")
    assert [message["seq"] for message in documents(result)] == [1, 2, 3]
    starts = [command["filter"]["since"] for _, _, command in organism.asked]
    assert starts == ["2026-01-15T10:00:00Z", 1]


def test_a_refused_subscription_ends_tail(cli: Cli) -> None:
    result = cli("tail", "--agent", "refuse-me")
    assert result.exit_code == ExitCode.REFUSED
    assert "no such agent" in result.stderr


# the whole


def test_the_version_is_shown(run: Cli) -> None:
    assert run("--version").stdout.startswith("organism 0.")


def test_help_tells_the_exit_codes(run: Cli) -> None:
    shown = run("--help").stdout
    assert "Exit codes" in shown
    assert "130" in shown


@pytest.mark.parametrize(
    "command",
    ["up", "down", "status", "inject", "tail", "threads", "thread", "pause", "resume", "kill", "reload", "check", "new",
     "dead-letters", "requeue"],
)  # fmt: skip
def test_every_command_takes_json(run: Cli, command: str) -> None:
    shown = run(command, "--help", env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "--json" in shown.stdout


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_durations_are_shown_in_their_largest_unit(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_agent_that_never_worked_has_no_age() -> None:
    assert age(None) == "–"
    assert age("2020-01-01T00:00:00.000Z").endswith(" d ago")


def test_lines_and_tabs_are_kept_and_control_characters_are_not() -> None:
    assert printable("a\n\tb\x07\x1b[31m") == "a\n\tb��[31m"
