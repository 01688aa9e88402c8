"""The end of a launcher: nothing that it has started goes on without it, also where Ray does not end it in time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

RUN_MARK = "ORGANISM_RUN"
"""An environment variable that all processes of a run have, as they inherit it: its value is the run's folder."""

PR_SET_CHILD_SUBREAPER = 36

LEAVE_WITHIN_S = 60.0
"""How long Ray may take to end everything: some seconds as a rule, and many times as long on a busy machine."""

PATIENCE_S = 1.0
"""How long processes may take to end by themselves after Ray has: its agents, when it was busy, would take minutes."""

KILLED_WITHIN_S = 5.0
"""How long those that were killed may take."""

POLL_S = 0.05


class Departure:
    """Watches, in a thread, that the end of a run comes: calls of Ray block the event loop when nobody answers them.

    run_dir: of a Ray of our own, which is ended without its help in the end; None where we have joined one.
    status: of the process, should it come to that.
    """

    def __init__(
        self,
        run_dir: Path | None,
        dead_process: Callable[[], str | None],
        status: int,
        within_s: float = LEAVE_WITHIN_S,
    ) -> None:
        self._run_dir = run_dir
        self._dead_process = dead_process
        self._status = status
        self._within_s = within_s
        self._is_ending_ray = threading.Event()

    def begin(self) -> None:
        adopt_orphans()
        threading.Thread(target=self._watch, daemon=True).start()  # forgotten when the process ends in time

    def end_ray(self) -> None:
        """Tells that from now on processes of Ray may end."""
        self._is_ending_ray.set()

    def _watch(self) -> None:
        deadline_s = time.monotonic() + self._within_s
        while time.monotonic() < deadline_s:
            if self._is_ending_ray.wait(POLL_S):
                time.sleep(POLL_S)
            elif dead := self._dead_process():
                self._leave(f"Ray ended (its {dead}) before it was told to")
        self._leave(f"Ray has not ended everything within {self._within_s:g} s")

    def _leave(self, what: str) -> NoReturn:
        if self._run_dir is None:
            _say(f"{what}; what this organism has started in that cluster may still run there")
        else:
            _say(f"{what}; the processes that are left are killed")
        leave_at_once(self._run_dir, self._status)


def leave_at_once(run_dir: Path | None, status: int) -> NoReturn:
    """Ends this process, and all that it has started, without asking Ray. run_dir: as of Departure."""
    if run_dir is not None:
        _silence()
        adopt_orphans()
        end_what_is_left(run_dir, 0.0)
        shutil.rmtree(run_dir, ignore_errors=True)
    os._exit(status)


def end_what_is_left(run_dir: Path, patience_s: float = PATIENCE_S) -> bool:
    """Waits until the processes of this run have ended, then kills those that have not; whether all have ended."""
    if _are_gone(run_dir, patience_s):
        return True
    for pid in processes_of(run_dir):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)
    return _are_gone(run_dir, KILLED_WITHIN_S)


def adopt_orphans() -> None:
    """Processes whose parent ends count as this one's children from now on, and so are found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def processes_of(run_dir: Path) -> set[int]:
    """All but this one, as far as the system shows them (Linux does): those with the mark, and the descendants of this
    one and of them, as some of Ray's write their titles over their environment."""
    mark = f"{RUN_MARK}={run_dir}".encode()
    parents = dict(_living())
    found = {os.getpid(), *(pid for pid in parents if mark in _read(pid, "environ").split(b"\0"))}
    while children := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= children
    return found - {os.getpid()}


def _living() -> Iterator[tuple[int, int]]:
    """All processes, each with its parent; without those that have ended and are not yet collected."""
    for path in Path("/proc").glob("[0-9]*"):
        state, parent, *_ = _read(int(path.name), "stat").rpartition(b")")[2].split() or (b"Z", b"0")
        if state != b"Z":
            yield int(path.name), int(parent)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""


def _are_gone(run_dir: Path, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while processes_of(run_dir):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _say(text: str) -> None:
    print(f"organism: {text}", file=sys.stderr, flush=True)  # noqa: T201 (the launcher is a command)


def _silence() -> None:
    """What Ray's part of this process would say of the end of the rest."""
    sys.stdout.flush()
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
