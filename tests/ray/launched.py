"""An organism that the launcher runs, as a process of its own, for tests that watch it from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson

START_WITHIN_S = 90.0
POLL_S = 0.05
MARK = "ORGANISM_TEST_RUN"

ORGANISM = """
organism: {name: notes, port: 0}
listeners:
  - {name: notes, payload_class: notes.Note, handler: notes.take_note, description: Keeps notes}
"""
HANDLERS = """
from organism import Context, Payload

class Note(Payload):
    text: str

async def take_note(payload: Note, context: Context) -> None:
    print(f"noted {payload.text}", flush=True)
"""


def write_organism(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "organism.yaml").write_text(ORGANISM)
    (folder / "notes.py").write_text(HANDLERS)
    return folder


def wait_for(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(POLL_S)
    return found


class Launched:
    """A launcher, started. Every process that comes from it carries a mark in its environment."""

    command: tuple[str | Path, ...] = (sys.executable, "-P", "-m", "serve_app")

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.mark = uuid4().hex
        self._output = folder.parent / f"{self.mark}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.command, folder, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def run_file(self) -> Path:
        return self.folder / ".organism" / "run.json"

    @property
    def url(self) -> str:
        return orjson.loads(self.run_file.read_bytes())["url"]

    def wait_ready(self) -> Launched:
        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return "Ctrl-C stops it" in self.output

        wait_for(ready, START_WITHIN_S, f"ready; so far: {self.output}")
        return self

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30.0, trust_env=False)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=30.0, trust_env=False, **arguments)

    def pids(self, *words: str) -> list[int]:
        """The processes of this run whose command line holds all `words`."""
        return [pid for pid in pids_marked(self.mark) if all(w in command_of(pid) for w in words)]

    def kill(self, *words: str) -> None:
        for pid in self.pids(*words):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """For the end of a test, whatever came before."""
        self.process.kill()
        self.process.wait()
        self.kill()


def pids_marked(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment, or by one that was."""
    entry = f"{MARK}={mark}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if entry in _read(path)]


def command_of(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or is not ours
        return b""
