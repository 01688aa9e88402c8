"""The near end of sqlite_server.py: starts the process, sends it jobs, and says what its errors mean."""

from __future__ import annotations

import asyncio
import marshal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from organism.errors import StorageError, StorageUnavailable, StorageVersionError
from organism.storage import sqlite_server
from organism.storage.sqlite_server import HEADER_BYTES, Setup

SOCKET_BUFFER_BYTES = 4_194_304  # asked for; a group of messages should go over in one piece


class ProcessEnded(StorageUnavailable):
    """The process ended before it answered: what it was to write may be written or not."""


class ServerProcess(asyncio.Protocol):
    """One process and the jobs it has not answered yet. `ended` is done when it has closed its socket.

    A Protocol and not streams: an answer reaches its caller one turn of the event loop earlier.
    """

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answers: dict[int, asyncio.Future[tuple[int, Any]]] = {}
        self._jobs_sent = 0

    async def call(self, kind: int, job: Any) -> tuple[int, Any]:
        """Status and body of the answer; raises ProcessEnded where there will be none."""
        if self.ended.done():
            raise self._no_answer()
        self._jobs_sent = number = self._jobs_sent + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self.send(kind, number, job)
            return await answer
        finally:
            del self._answers[number]

    def send(self, kind: int, number: int, body: Any) -> None:
        assert self._transport is not None, "not connected yet"
        self._transport.write(sqlite_server.frame(kind, number, body))

    def finish(self) -> None:
        """No more jobs: the process ends when it has done those at hand."""
        if self._transport is not None and not self.ended.done():
            self._transport.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= HEADER_BYTES:
            status, number, size = sqlite_server.header(received)
            end = HEADER_BYTES + size
            if len(received) < end:
                return
            with memoryview(received) as view:
                body = marshal.loads(view[HEADER_BYTES:end])
            del received[:end]
            self._answer(number, (status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._no_answer())

    def _no_answer(self) -> ProcessEnded:
        return ProcessEnded(f"{self._path}: its process (pid {self.process.pid}) ended")

    def _answer(self, number: int, outcome: tuple[int, Any]) -> None:
        answer = self._answers.get(number)
        if answer is not None and not answer.done():  # its caller may have been cancelled
            answer.set_result(outcome)


class SqliteClient:
    """A process that owns the file `path`, started by the first job and again after it died.

    It inherits `lock_descriptor`, so that the lock lasts until it has written its last transaction, even where this
    process is killed before. To be used from one event loop.
    """

    def __init__(self, path: Path, setup: Setup, lock_descriptor: int) -> None:
        self._path = path
        self._setup = setup
        self._lock_descriptor = lock_descriptor
        self._server: ServerProcess | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process, where it runs."""
        return None if self._server is None else self._server.process.pid

    async def call(self, kind: int, job: Any) -> Any:
        """The answer to a job of sqlite_server.

        Raises:
            StorageUnavailable: the medium fails for now (ProcessEnded: the process did).
            StorageVersionError: the file was written by a newer version.
            StorageError: it failed otherwise.
        """
        server = self._server
        if server is None or server.ended.done():
            server = await self._start()
        status, body = await server.call(kind, job)
        if status != sqlite_server.DONE:
            raise self._error(status, body)
        return body

    async def close(self) -> None:
        """Lets the process finish its jobs and end."""
        server, self._server = self._server, None
        if server is not None:
            server.finish()
            await server.ended
            await asyncio.to_thread(server.process.wait)

    async def _start(self) -> ServerProcess:
        async with self._starting:
            if self._server is not None and not self._server.ended.done():
                return self._server
            if self._server is not None:
                await asyncio.to_thread(self._server.process.wait)
            near, far = socket.socketpair()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            with far:
                process = self._spawn(far, near)
            server = ServerProcess(process, self._path)
            await asyncio.get_running_loop().create_connection(lambda: server, sock=near)
            server.send(0, 0, tuple(self._setup))
            self._server = server
            return server

    def _spawn(self, far: socket.socket, near: socket.socket) -> subprocess.Popen[bytes]:
        named_for_ps = str(self._path)
        command = [sys.executable, "-I", "-S", sqlite_server.__file__, str(far.fileno()), named_for_ps]
        try:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(far.fileno(), self._lock_descriptor))
        except OSError as error:
            near.close()
            raise StorageUnavailable(f"{self._path}: its process cannot be started: {error}") from error

    def _error(self, status: int, reason: str) -> StorageError:
        if status == sqlite_server.TOO_NEW:
            return StorageVersionError(f"{self._path}: {reason}")
        if status == sqlite_server.UNAVAILABLE:
            return StorageUnavailable(f"{self._path}: {reason}")
        if status == sqlite_server.DAMAGED:
            return StorageError(f"{self._path} is damaged ({reason}); restore it from a backup or move it away")
        return StorageError(f"{self._path}: {reason}")
