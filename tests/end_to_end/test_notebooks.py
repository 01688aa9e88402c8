"""Every notebook runs from its first cell to its last, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import nbformat
import pytest
from nbclient import NotebookClient

from tests.ray.launched import MARK, pids_marked, wait_for

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S = 180
GONE_WITHIN_S = 20.0

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every process that the notebook starts can be found by this; those that are left are ended after the test."""
    mark = uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    yield mark
    for pid in pids_marked(mark):
        os.kill(pid, signal.SIGKILL)


@every_notebook
def test_it_is_stored_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []


@pytest.mark.ray
@pytest.mark.timeout(300)
@every_notebook
def test_it_runs(path: Path, mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
        on_cell_executed=progress(path.name, len(notebook.cells), capsys),
    )
    client.execute()
    wait_for(lambda: not pids_marked(mark), GONE_WITHIN_S, "its processes gone")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []


def progress(name: str, count: int, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Says after each cell how far the notebook is: it takes half a minute."""
    started = time.monotonic()

    def tell(*, cell_index: int, **_: object) -> None:
        with capsys.disabled():
            elapsed_s = time.monotonic() - started
            sys.stdout.write(f"\n{name}: cell {cell_index + 1} of {count} done after {elapsed_s:.1f} s")

    return tell
