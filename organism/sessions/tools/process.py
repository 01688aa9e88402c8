"""Runs a program to its end, within limits of time and output, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "ORGANISM_COMMAND"
"""Every process that the program starts inherits this variable, also one that leaves its process group."""
PRINTED_LIMIT_FACTOR = 20
"""A program that prints this many times what is kept of its output is ended."""
LAST_OUTPUT_S = 0.2
"""How long output may still come after the program has ended."""


class Finished(NamedTuple):
    """exit_code: negative for a signal; None when it was ended for `reason`. output: of stdout and stderr, in order,
    at most what was asked for; left_out: bytes beyond that."""

    exit_code: int | None
    output: bytes
    left_out: int
    reason: str | None


class _Output:
    """What a program prints: its beginning is kept, the rest is counted."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.kept = bytearray()
        self.left_out = 0

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Returns at the end of the output, or when there is far too much of it."""
        while (chunk := await reader.read(65536)) and self.left_out < PRINTED_LIMIT_FACTOR * self._max_bytes:
            room = self._max_bytes - len(self.kept)
            self.kept += chunk[:room]
            self.left_out += max(0, len(chunk) - room)

    @property
    def is_too_much(self) -> bool:
        return self.left_out >= PRINTED_LIMIT_FACTOR * self._max_bytes


async def run_process(
    argv: list[str], *, cwd: Path, env: dict[str, str], timeout_s: float, max_output_bytes: int, stdin: bytes = b""
) -> Finished:
    """Cancelling ends the program and all that it has started.

    Raises:
        OSError, ValueError: it cannot be started.
    """
    mark = secrets.token_hex(16)
    reading_end, writing_end = os.pipe()  # not asyncio's pipe: its wait() lasts until every heir has closed it
    with os.fdopen(reading_end, "rb", 0) as source, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=cwd, env={**env, MARK: mark}, stdin=given, stdout=writing_end, stderr=writing_end,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writing_end)
        try:
            return await _watch(process, source, timeout_s, max_output_bytes)
        finally:
            await asyncio.shield(_end(process, mark))


async def _watch(process: asyncio.subprocess.Process, source, timeout_s: float, max_output_bytes: int) -> Finished:
    reader, output = asyncio.StreamReader(), _Output(max_output_bytes)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, source)
    reading = asyncio.create_task(output.read(reader))
    ending = asyncio.create_task(process.wait())
    try:
        reason = await _why_ended(reading, ending, output, timeout_s)
        exit_code = process.returncode if reason is None else None
        return Finished(exit_code, bytes(output.kept), output.left_out, reason)
    finally:
        reading.cancel()
        ending.cancel()
        await asyncio.gather(reading, ending, return_exceptions=True)
        transport.close()


async def _why_ended(
    reading: asyncio.Task[None], ending: asyncio.Task[int], output: _Output, timeout_s: float
) -> str | None:
    """Waits for the end of the program; a text when it has to be ended instead."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    done, _ = await asyncio.wait({reading, ending}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if output.is_too_much:
        return "it printed far more than can be shown"
    if ending not in done:  # it may close its output and go on
        done, _ = await asyncio.wait({ending}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
    if ending not in done:
        return f"it was not done after {timeout_s:g} s"
    await asyncio.wait({reading}, timeout=LAST_OUTPUT_S)
    return None


async def _end(process: asyncio.subprocess.Process, mark: str) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    await asyncio.to_thread(_kill_heirs, mark)


def _kill_heirs(mark: str) -> None:
    """Kills what the program has started outside of its process group, again and again until nothing is left."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(100):  # one that forks faster than we look is left to the system's limits
        heirs = [pid for pid in _process_ids() if wanted in _environment(pid)]
        if not heirs:
            return
        for pid in heirs:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _process_ids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()] if _has_proc() else []


def _has_proc() -> bool:
    return Path("/proc/self/environ").exists()


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended, or somebody else's
        return b""
