"""Runs a script of tests/js and reads what it says."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parents[1] / "js"


async def lines_of(script: str, *arguments: str, timeout_s: float = 60.0) -> AsyncIterator[tuple[str, Any]]:
    """`(name, value)` of each line, as it is said; fails where the script does."""
    node = shutil.which("node")
    assert node, "Node.js 20 or newer is needed for the tests of JavaScript clients; install it"
    assert (FOLDER / "node_modules").is_dir(), (
        "the npm packages of tests/js are not installed; `make test` does that, or `npm ci` there"
    )
    process = await asyncio.create_subprocess_exec(
        node, str(FOLDER / script), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            while line := await process.stdout.readline():
                said = orjson.loads(line)
                yield said["name"], said["value"]
            errors = await process.stderr.read()
            assert await process.wait() == 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
