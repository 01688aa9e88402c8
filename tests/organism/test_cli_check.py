"""check and new: what works without a running organism."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from organism.cli import build_app
from organism.cli.failures import CliFailure, ExitCode
from organism.cli.starter import write_starter
from organism.config_file import load_config
from organism.handlers import Context
from organism.loading import load_listener

TWO_BAD_LISTENERS = """\
organism:
  name: broken
listeners:
  - name: first
    payload_class: handlers.Text
    handler: handlers.not_there
  - name: second
    payload_class: missing.Text
    handler: handlers.count_words
"""


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    write_starter(tmp_path / "my swarm")
    return tmp_path / "my swarm"


def run(*args: object) -> Result:
    return CliRunner().invoke(build_app(), [str(each) for each in args])


def test_the_starter_is_valid(starter: Path) -> None:
    result = run("check", starter)
    assert result.exit_code == 0, result.output
    assert "is valid: my-swarm, 3 listeners" in result.stdout
    assert json.loads(run("check", starter / "organism.yaml", "--json").stdout)["valid"] is True


def test_every_problem_is_listed_with_file_and_line(starter: Path) -> None:
    (starter / "organism.yaml").write_text(TWO_BAD_LISTENERS)
    result = run("check", starter)
    assert result.exit_code == ExitCode.INVALID
    assert "2 problems" in result.stderr
    assert f"{starter / 'organism.yaml'}:6: listeners.0.handler: cannot load handlers.not_there" in result.stderr
    assert f"{starter / 'organism.yaml'}:8: listeners.1.payload_class: cannot load missing.Text" in result.stderr


def test_a_tool_of_a_session_agent_that_is_not_there_is_a_problem(starter: Path) -> None:
    text = (starter / "organism.yaml").read_text()
    agents = "sessions:\n  agents:\n    - name: helper\n      tools: [files, handlers.coun_words]\n"
    (starter / "organism.yaml").write_text(f"{text}\n{agents}")
    result = run("check", starter)
    assert result.exit_code == ExitCode.INVALID
    line = len(text.splitlines()) + 5
    place = f"{starter / 'organism.yaml'}:{line}: sessions.agents.0.tools.1: cannot load handlers.coun_words"
    assert place in result.stderr


def test_problems_are_json_when_asked_for(starter: Path) -> None:
    (starter / "organism.yaml").write_text(TWO_BAD_LISTENERS)
    error = json.loads(run("check", starter, "--json").stdout)["error"]
    assert error["code"] == "config"
    assert [(each["line"], each["field"]) for each in error["details"]] == [
        (6, "listeners.0.handler"),
        (8, "listeners.1.payload_class"),
    ]


def test_a_module_that_cannot_be_imported_is_one_problem_of_a_listener(starter: Path) -> None:
    (starter / "handlers.py").write_text("def broken(:\n")
    result = run("check", starter)
    assert "3 problems" in result.stderr
    assert "handlers.py:1: SyntaxError" in result.stderr


def test_a_wrong_key_is_named_with_its_line(starter: Path) -> None:
    (starter / "organism.yaml").write_text("organism:\n  name: x\n  prot: 8000\n")
    result = run("check", starter)
    assert (result.exit_code, ":3: organism.prot: " in result.stderr) == (ExitCode.INVALID, True)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    result = run("check", tmp_path / "none.yaml")
    assert (result.exit_code, "does not exist" in result.stderr) == (ExitCode.INVALID, True)


def test_what_access_control_needs_is_checked_along_with_the_rest(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JWT_SECRET", raising=False)
    tls_and_tokens = "auth:\n  jwt:\n    secret_env: JWT_SECRET\ntls:\n  cert: cert.pem\n  key: key.pem\n"
    (starter / "organism.yaml").write_text(TWO_BAD_LISTENERS + tls_and_tokens)
    error = json.loads(run("check", starter, "--json").stdout)["error"]
    assert [(each["line"], each["field"]) for each in error["details"]] == [
        (6, "listeners.0.handler"),
        (8, "listeners.1.payload_class"),
        (12, "auth.jwt.secret_env"),
        (14, "tls.cert"),
        (15, "tls.key"),
    ]
    assert "5 problems" in run("up", starter).stderr


def test_a_secret_in_the_env_file_is_seen(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JWT_SECRET", raising=False)
    with (starter / "organism.yaml").open("a") as file:
        file.write("auth:\n  jwt:\n    secret_env: JWT_SECRET\n")
    assert "JWT_SECRET, which is not set" in run("check", starter).stderr
    (starter / ".env").write_text("JWT_SECRET=short\n")
    result = run("check", starter)
    assert "JWT_SECRET holds 5 bytes" in result.stderr
    (starter / ".env").write_text(f"JWT_SECRET={'long' * 8}\n")
    assert run("check", starter).exit_code == 0


def test_up_starts_nothing_that_is_not_valid(starter: Path) -> None:
    (starter / "organism.yaml").write_text(TWO_BAD_LISTENERS)
    result = run("up", starter)
    assert (result.exit_code, "2 problems" in result.stderr) == (ExitCode.INVALID, True)


def test_new_says_how_to_go_on(tmp_path: Path) -> None:
    result = run("new", tmp_path / "swarm")
    assert result.exit_code == 0
    assert f"organism up {tmp_path / 'swarm'}" in result.stdout
    assert sorted(each.name for each in (tmp_path / "swarm").iterdir()) == [
        ".gitignore",
        "handlers.py",
        "organism.yaml",
    ]


def test_new_overwrites_nothing(starter: Path) -> None:
    (starter / "organism.yaml").unlink()
    (starter / "handlers.py").write_text("# mine")
    result = run("new", starter)
    assert result.exit_code == ExitCode.FAILED
    assert "handlers.py" in result.stderr
    assert (starter / "handlers.py").read_text() == "# mine"
    assert not (starter / "organism.yaml").exists()


def test_new_in_a_folder_with_other_files_adds_to_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run("new", tmp_path).exit_code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_new_in_a_place_that_cannot_be_written_fails_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliFailure, match="cannot be written"):
        write_starter(tmp_path / "file" / "swarm")


@pytest.mark.parametrize(
    ("folder", "name"), [("42", "organism-42"), ("höhle", "h-hle"), ("...", "starter"), ("a.b", "a-b")]
)
def test_the_starter_is_named_for_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    write_starter(tmp_path / folder)
    assert load_config(tmp_path / folder).organism.name == name


async def test_the_starter_s_handlers_do_what_it_says(starter: Path) -> None:
    config = load_config(starter)
    counter, announcer, _ = (load_listener(each, starter) for each in config.listeners)
    text = type("Text", (), {"text": "to be or not to be"})()
    context = Context(services=None, message_id="m", thread_id="t", slot_index=0, sender="console",  # pyright: ignore
                      own_name="counter", state={"words": 4}, todos=[])  # fmt: skip
    count = await counter.handler(text, context)
    assert (count.to, count.payload.words, count.payload.words_in_thread) == ("announcer", 6, 10)
    announcement = await announcer.handler(count.payload, context)
    assert announcement.payload.text == "6 words, 10 in this thread"
    assert context.state == {"words": 10}
