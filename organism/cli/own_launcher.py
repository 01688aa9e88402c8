"""Launchers that this user has started: who owns the process owns the organism."""

from __future__ import annotations

import os
from pathlib import Path

_LAUNCHER = b"\0-m\0serve_app\0"  # as `organism up` calls it


def is_own_launcher(pid: int) -> bool:
    """Whether this process is a launcher of this user.

    A run file may be old, and its number be another process's by now; so what runs there is looked at.
    """
    if pid <= 1:
        return False
    process = Path(f"/proc/{pid}")
    try:
        return process.stat().st_uid == os.getuid() and _LAUNCHER in process.joinpath("cmdline").read_bytes()
    except OSError:
        return False  # gone; or a system without /proc, where a credential is needed
