"""`.organism/run.json`: what a running organism tells about itself to who stands in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from organism.private_folder import make_private

RUN_FILE = Path(".organism") / "run.json"


def was_left_behind(folder: Path) -> bool:
    """Whether the last launcher in this folder was killed: its processes need some seconds to notice."""
    try:
        pid = int(orjson.loads((folder / RUN_FILE).read_bytes())["pid"])
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


@contextmanager
def run_file(folder: Path, url: str, namespace: str, dashboard: str | None) -> Iterator[None]:
    """The file stands in `folder` inside this context. Who reads it sees all of it or nothing."""
    path = folder / RUN_FILE
    make_private(path.parent)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(
        orjson.dumps({"url": url, "pid": os.getpid(), "namespace": namespace, "dashboard": dashboard})
    )
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
