"""How the process of a single session's cell is shown once it knows its session.

Ray fixes an actor's name when it is created. A new session gets the id that a warm cell is named for; one that is
brought back takes a warm cell with another name, so the process says whose it is in its title and in its log.
"""

from __future__ import annotations

import sys
from typing import Any

import ray._raylet

_raylet: Any = ray._raylet  # Ray sets its own titles with it; its type hints do not tell


def show_session(session_id: str) -> None:
    """In `ps`, `top` and the dashboard's list of processes, and before each line that the process logs from now on."""
    name = f"session:{session_id}"
    _raylet.setproctitle(f"ray::{name}")
    for stream in (sys.stdout, sys.stderr):
        print(f":actor_name:{name}", file=stream, flush=True)  # a line that Ray's log readers take as the prefix
