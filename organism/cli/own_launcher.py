"""The launcher whose run file lies in the current folder: who owns the folder and the process owns the organism."""

from __future__ import annotations

import os
from pathlib import Path

from organism.cli.client import read_run_file

_LAUNCHER = b"\0-m\0serve_app\0"  # as `organism up` calls it


def own_launcher(url: str) -> int | None:
    """The process id of the launcher of the organism at `url`; None where it is not known, or another user's."""
    run_file = read_run_file(Path.cwd())
    if run_file is None or run_file.url != url or not _is_own_launcher(run_file.pid):
        return None
    return run_file.pid


def _is_own_launcher(pid: int) -> bool:
    """A run file may be old, and its number be another process's by now; so what runs there is looked at."""
    if pid <= 1:
        return False
    process = Path(f"/proc/{pid}")
    try:
        return process.stat().st_uid == os.getuid() and _LAUNCHER in process.joinpath("cmdline").read_bytes()
    except OSError:
        return False  # gone; or a system without /proc, where a credential is needed
