"""Folders for what an organism keeps: messages, sessions, workspaces and logs are for its user alone."""

from __future__ import annotations

import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """Makes `folder` and what is missing above it; what is there already keeps its permissions. Raises: OSError."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)


def others_can_enter(folder: Path) -> bool:
    """Whether users who neither own it nor are in its group get at what is in `folder`: every folder on the way must
    let them through. Who is in a group was somebody's decision."""
    try:
        place = folder.resolve(strict=True)
        return all(each.stat().st_mode & stat.S_IXOTH for each in (place, *place.parents))
    except OSError:
        return False  # it is not there yet
