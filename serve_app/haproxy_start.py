"""Starts HAProxy for Ray Serve: `python -IS haproxy_start.py BINARY ARGUMENTS`. It stands alone, for a fast start.

Serve starts it anew with each change of its configuration, which is written by Serve and closed up here.
"""

import ctypes
import os
import re
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
SIGKILL = 9

_CHANGES = (
    # Clients' addresses, for the audit log. What a proxy in front of this one on this machine has said stays the last.
    (r"^defaults\n    mode http\n", "\\g<0>    option forwardfor except 127.0.0.0/8\n"),
    (r"^(frontend prometheus\n +bind) :(\d+)$", r"\1 127.0.0.1:\2"),
    (r"^(listen stats\n +bind) \*:(\d+)$", r"\1 127.0.0.1:\2"),
)


def closed_up(config: str) -> str:
    """Statistics and metrics on loopback only, and X-Forwarded-For; text that is not as expected stays as it is."""
    for pattern, replacement in _CHANGES:
        config = re.sub(pattern, replacement, config, count=1, flags=re.MULTILINE)
    return config


def _close_up(path: Path) -> None:
    config = path.read_text()
    changed = closed_up(config)
    if changed != config and "option forwardfor" not in config:
        path.write_text(changed)


def main(command: list[str]) -> None:
    """Becomes HAProxy, which is the child of an actor and would outlive it, and hold the port, when that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)  # Linux alone has this
    if "-f" in command:
        _close_up(Path(command[command.index("-f") + 1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
