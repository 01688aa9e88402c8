"""Large repositories over a real Ray: the same bytes as in one process, whatever becomes of workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from librarian import ingest
from librarian.config import EmbedderChoice, IngestLimits
from librarian.errors import EmbedderUnavailable, IngestCancelled
from librarian.packs import AnalyzedPack, Pack, Work
from librarian.ray_ingest import analyze_on_ray
from tests.librarian.libraries import data_files, everything, librarian_at
from tests.librarian.small_repository import SOURCES, commit
from tests.ray.launched import MARK

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_mark"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray Data's own, about its own settings
]

FILES: dict[str, str | bytes | None] = {
    **SOURCES,
    "broken.py": b"def \xff\xfe(:\n  ((((\n",
    **{f"pkg/m{n}.py": f"class C{n}:\n    def run(self):\n        return {n}\n" * 20 for n in range(60)},
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    commit(tmp_path / "shop", FILES)
    return tmp_path / "shop"


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LARGE_BYTES", 0)


async def test_the_index_is_the_same_byte_for_byte_as_in_one_process(tmp_path: Path, repository: Path) -> None:
    files: list[dict[str, bytes]] = []
    for name, analyze, packs in (("here", None, 8), ("ray", analyze_on_ray, 8), ("few", analyze_on_ray, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest, "LARGE_PACKS", (packs, packs))
            async with librarian_at(tmp_path / name, analyze_large=analyze) as librarian:
                made = await librarian.ingest(str(repository), None, None)
                report = (await librarian.library(made.library_id)).report
                assert report.skipped_by_reason == {"binary": 1}
        files.append(data_files(tmp_path / name, made.library_id))
    assert files[0] == files[1] == files[2]


async def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path, repository: Path, ray_mark: str) -> None:
    killed = threading.Event()

    def kill_one(packs: Sequence[Pack], work: Work) -> Generator[AnalyzedPack]:
        for pack in analyze_on_ray(packs, work):
            if not killed.is_set():
                killed.set()
                pids = workers(ray_mark)
                assert pids
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            yield pack

    async with librarian_at(tmp_path / "killed", analyze_large=kill_one) as librarian:
        made = await librarian.ingest(str(repository), None, None)
    assert killed.is_set()
    async with librarian_at(tmp_path / "here") as librarian:
        await librarian.ingest(str(repository), None, None)
    assert data_files(tmp_path / "killed", made.library_id) == data_files(tmp_path / "here", made.library_id)


async def test_a_cancel_drops_the_work_and_leaves_nothing(tmp_path: Path, repository: Path) -> None:
    begun = threading.Event()

    def until_cancelled(packs: Sequence[Pack], work: Work) -> Generator[AnalyzedPack]:
        for pack in analyze_on_ray(packs, work):
            begun.set()
            assert cancelled.wait(30)
            yield pack

    cancelled = threading.Event()
    async with librarian_at(tmp_path / "root", analyze_large=until_cancelled) as librarian:
        job = await librarian.start_ingest(str(repository), None, None)
        joined = librarian.ingest(str(repository), None, None)
        waiting = asyncio.ensure_future(joined)
        assert await asyncio.to_thread(begun.wait, 60)
        ending = asyncio.ensure_future(librarian.cancel(job.job_id))
        await asyncio.sleep(0)
        cancelled.set()
        assert (await ending).status == "cancelled"
        with pytest.raises(IngestCancelled):
            await waiting
        assert everything(tmp_path / "root") == set()


async def test_an_embedder_that_fails_on_a_worker_is_told_by_its_own_error(tmp_path: Path) -> None:
    choice = EmbedderChoice("openai", base_url="http://127.0.0.1:9/v1", model="m", api_key_env="NO_SUCH_KEY", dim=8)
    work = Work(tmp_path, choice, IngestLimits())
    with pytest.raises(EmbedderUnavailable):
        list(analyze_on_ray([Pack((("a.py", "0" * 40),))], work))


async def test_without_a_free_cpu_nothing_waits_for_one(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.available_resources", dict)
    monkeypatch.setattr("ray.data.from_items", None)
    async with librarian_at(tmp_path / "root", analyze_large=analyze_on_ray) as librarian:
        assert (await librarian.ingest(str(repository), None, None)).updated


def workers(mark: str) -> list[int]:
    """Processes of this module's Ray that analyze a pack at this moment, or did so last."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                ours = f"{MARK}={mark}".encode() in (process / "environ").read_bytes()
                if ours and (process / "cmdline").read_bytes().startswith((b"ray::MapBatches", b"ray::IDLE")):
                    found.append(int(process.name))
    return found
