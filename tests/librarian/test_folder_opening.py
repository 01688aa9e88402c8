from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from librarian.errors import LibraryStorageError
from librarian.folder.opening import open_folder

REMOTE = "mock:///libraries"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is taken for /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_copies_of_remote_libraries_are_for_this_user_alone(temporary: Path) -> None:
    open_folder(REMOTE)
    [copies] = temporary.iterdir()
    copies.chmod(0o755)
    assert open_folder(REMOTE).scratch.parent == copies
    assert stat.S_IMODE(copies.stat().st_mode) == 0o700


def test_a_folder_that_somebody_else_has_put_there_is_refused(temporary: Path) -> None:
    open_folder(REMOTE)
    [copies] = temporary.iterdir()
    copies.rename(temporary / "elsewhere")
    copies.symlink_to(temporary / "elsewhere")
    with pytest.raises(LibraryStorageError, match="belongs to somebody else"):
        open_folder(REMOTE)


def test_a_folder_for_copies_that_cannot_be_made_is_told(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "file"))
    with pytest.raises(LibraryStorageError, match="Not a directory"):
        open_folder(REMOTE)


def test_local_folders_are_not_made_before_they_are_used(temporary: Path) -> None:
    open_folder(str(temporary / "root"))
    open_folder(f"file://{temporary / 'root'}")
    assert list(temporary.iterdir()) == []
