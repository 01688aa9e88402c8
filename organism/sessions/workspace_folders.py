"""Removes the isolated working directory of a deleted session."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from organism.sessions.records import SessionRecord

logger = logging.getLogger(__name__)


def remove_workspace(root: Path, record: SessionRecord) -> None:
    """Blocking. Nothing but a directory of the session's own, right below `root`, is ever removed; links in it are
    not followed."""
    name = record.working_directory
    folder = root / name
    if name != record.id or folder.parent != root or folder.is_symlink() or not folder.is_dir():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        logger.warning("the workspace of deleted session %s is left behind: %s", record.id, error)
