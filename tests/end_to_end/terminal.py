"""The second terminal of the README's first tour: its commands, typed as they stand there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
TOUR = README.read_text().partition("\n## A first tour\n")[2].partition("\n## ")[0]
COMMAND_TIMEOUT_S = 60
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_THREAD = re.compile(r'thread(?: |_id": ?")([0-9a-f-]{36})')


def text_of(step: str) -> str:
    """What the tour says below `**Step.**`."""
    _, found, rest = TOUR.partition(f"\n**{step}.**")
    assert found, f"the tour has no step {step}"
    return rest.partition("\n**")[0]


def commands_of(step: str) -> list[str]:
    """The commands below `**Step.**`, without comments."""
    lines = [line for block in _BLOCK.findall(text_of(step)) for line in block.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines]


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended; `output` is stdout, `errors` is stderr."""

    exit_code: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


class Terminal:
    """A shell in the clone. THREAD_ID stands for the thread that was last started from it.

    The organism listens on a free port, not on the default one: this is the only thing that is typed otherwise.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.thread_id = ""
        self._environment = {**os.environ, "ORGANISM_URL": url, "no_proxy": "*"}
        self._address = url.removeprefix("http://")

    def run(self, command: str) -> Ran:
        """Types the command and waits for its end."""
        ended = subprocess.run(
            self._shell(command),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if started := _THREAD.findall(ended.stdout):
            self.thread_id = started[-1]
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    @contextmanager
    def running(self, command: str) -> Iterator[Path]:
        """The command runs inside this context, and Ctrl-C ends it; gives the file that holds what it says."""
        said = self.folder / "said.txt"
        with said.open("wb") as output:
            process = subprocess.Popen(
                self._shell(command),
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield said
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(COMMAND_TIMEOUT_S)

    def _shell(self, command: str) -> list[str]:
        typed = command.replace("localhost:8000", self._address).replace("THREAD_ID", self.thread_id)
        return ["bash", "-c", f"source .venv/bin/activate\n{typed}"]
