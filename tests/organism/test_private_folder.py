"""Nobody else reads what an organism keeps: its folders are made for its user alone."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from organism.private_folder import make_private, others_can_enter
from organism.sessions.workspace import Workspace
from organism.storage.access.sqlite import SqliteAccessStorage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from organism.storage.sqlite import SqliteStorage


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that everybody can read; pytest's are below one that is not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_is_missing_is_made_for_this_user_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_what_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o750)
    make_private(tmp_path / "a")
    make_private(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o750, 0o700]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OSError, match=r"exists|Not a directory"):
            make_private(folder)


def test_others_enter_what_all_folders_on_the_way_let_them_into(reachable: Path) -> None:
    kept = reachable / "around" / ".organism"
    kept.mkdir(parents=True)
    kept.chmod(0o755)
    assert others_can_enter(kept)
    kept.chmod(0o750)
    assert not others_can_enter(kept)
    kept.chmod(0o755)
    kept.parent.chmod(0o700)
    assert not others_can_enter(kept)
    link = reachable / "link"
    link.symlink_to(kept)
    assert not others_can_enter(link)


def test_nobody_enters_what_is_not_there(reachable: Path) -> None:
    assert not others_can_enter(reachable / "none")


@pytest.mark.parametrize(
    "kind",
    [
        lambda folder: SqliteStorage(folder / "organism.db"),
        lambda folder: SqliteSessionStorage(folder / "sessions.db"),
        lambda folder: FileSessionStorage(folder),
        lambda folder: SqliteAccessStorage(folder / "access.db"),
    ],
    ids=["log", "sessions", "session files", "access"],
)
async def test_storage_makes_its_folder_so(tmp_path: Path, kind) -> None:
    storage = kind(tmp_path / "data" / "kept")
    await storage.open()
    await storage.close()
    assert [mode(tmp_path / "data"), mode(tmp_path / "data" / "kept")] == [0o700, 0o700]


def test_a_workspace_makes_its_folder_so(tmp_path: Path) -> None:
    root = tmp_path / "workspace" / "session"
    Workspace(root).write_text("notes/a.txt", "secret")
    assert [mode(root.parent), mode(root)] == [0o700, 0o700]
