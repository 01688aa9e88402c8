"""Memory of an organism's processes, read from /proc (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

OWN = re.compile(
    rb"ray::(?:PumpActor|CellActor|SessionCellActor|pump|agent:|cell:|session|Serve.*Api|.*:Api)|sqlite_server"
)
"""Command lines of pump, cells, storage and API replicas."""


def tree_mb(root_pid: int) -> dict[str, float]:
    """Proportional set sizes of all descendants of a process, in MB: `rss_mb` of our own parts, `rss_all_mb` of all."""
    own = everything = 0.0
    for pid in descendants(root_pid):
        try:
            size_mb = pss_mb(pid)
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended meanwhile
            continue
        everything += size_mb
        own += size_mb if OWN.search(command) else 0.0
    return {"rss_mb": round(own, 1), "rss_all_mb": round(everything, 1)}


def pids_below(root_pid: int, *words: str) -> list[int]:
    """Descendants of a process whose command line holds all `words`."""
    return [pid for pid in descendants(root_pid) if all(word in _command(pid) for word in words)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:  # it has ended meanwhile
        return ""


def descendants(root_pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root_pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def pss_mb(pid: int) -> float:
    """Proportional set size. Raises: OSError, where the process has ended."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
