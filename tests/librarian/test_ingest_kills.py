"""A process that ingests is killed at any moment: the library is there as before or as after, and nothing else is."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.librarian.libraries import everything, librarian_at, names_found
from tests.librarian.small_repository import SOURCES, commit

INGEST_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.librarian.libraries import librarian_at
from tests.librarian.small_repository import commit

async def main(root, repository):
    async with librarian_at(root) as librarian:
        print("open", flush=True)
        number = 0
        while True:
            number += 1
            commit(Path(repository), {"changing.py": f"def changing():\\n    return {number}\\n" * 50})
            await librarian.ingest(repository, None, None)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_ingest_leaves_the_library_intact_and_no_rubbish(tmp_path: Path, seed: int) -> None:
    root, repository = tmp_path / "root", tmp_path / "shop"
    commit(repository, SOURCES)
    async with librarian_at(root) as librarian:
        made = await librarian.ingest(str(repository), None, None)
        count = len(everything(root))
    command = [sys.executable, "-c", INGEST_FOR_EVER, str(root), str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - nothing else runs
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(random.Random(seed).random() * 0.4)  # noqa: ASYNC251 - any moment is the point
        process.kill()
    async with librarian_at(root) as librarian:
        assert [each.damage for each in await librarian.libraries()] == [None]
        assert "Cart" in await names_found(librarian, (made.library_id,), "Cart")
        assert len(everything(root)) == count
        assert {each.status for each in await librarian.jobs()} <= {"succeeded", "failed"}
        assert (repository / ".git" / "index.lock").unlink(missing_ok=True) is None
        commit(repository, {"last.py": "def last_one():\n    pass\n"})
        await librarian.ingest(str(repository), None, None)
        assert "last_one" in await names_found(librarian, (made.library_id,), "last_one")
