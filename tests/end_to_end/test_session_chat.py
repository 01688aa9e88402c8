"""The example of agent sessions, as a user tries it: up, chat through a pipe, a restart, going on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from organism.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "sessions"
ORGANISM = Path(sys.executable).with_name("organism")
COMMAND_TIMEOUT_S = 120

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def organism(folder: Path, *arguments: str | Path, question: str = "") -> str:
    """What the command prints, run in the organism's folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORGANISM_URL"}
    ran = subprocess.run(
        [ORGANISM, *arguments],
        cwd=folder,
        env=environment,
        input=question,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def start(folder: Path) -> str:
    """Starts the organism; answers its address."""
    organism(folder, "up", "--port", "0", "--detach")
    return json.loads((folder / ".organism" / "run.json").read_text())["url"]


def test_a_conversation_outlives_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".*"))
    start(folder)
    try:
        answer = organism(folder, "chat", question="hi")
        assert answer.startswith("Hello! I am a scripted model")
        (listed,) = json.loads(organism(folder, "sessions", "--json"))["sessions"]
    finally:
        organism(folder, "down")

    url = start(folder)
    try:
        assert answer.strip() in organism(folder, "sessions", "show", listed["id"])
        assert organism(folder, "chat", "--session", listed["id"], question="and now?").strip()
        with Client(url) as client:
            events = client.session(listed["id"]).events()
            assert [event.type for event in events] == [
                "user_message", "agent_run_start", "assistant_message", "agent_run_end",
            ] * 2  # fmt: skip
            assert [event.seq for event in events] == list(range(1, 9))
        organism(folder, "sessions", "delete", listed["id"])
        assert json.loads(organism(folder, "sessions", "--json"))["total"] == 0
    finally:
        organism(folder, "down")
