"""A real PostgreSQL for tests, and a database for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import asyncpg
import pytest

PASSWORD = "s3cret-of-the-tests"
START_TIMEOUT_S = 30.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "posix",
    "fsync": "on",
    "logging_collector": "off",
    "autovacuum": "off",
}


class PostgresServer:
    """A cluster in `folder`, which is to belong to nobody else. Not started yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._data = folder / "data"
        self._log = folder / "log"
        self._as_user = _as_user(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)

    def create(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        options = ["-D", str(self._data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        command = [str(_program("initdb")), *options, "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
        made = subprocess.run([*self._as_user, *command], capture_output=True, text=True, cwd=self.folder)
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        """Returns when it answers."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = [*self._as_user, str(_program("postgres")), "-D", str(self._data), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, and in order; does nothing where it does not run."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        self._end(signal.SIGKILL)

    def url(self, database: str = "postgres", *, password: str = PASSWORD, scheme: str = "postgresql") -> str:
        return f"{scheme}://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database; returns its URL."""
        name = f"test_{next(self._databases)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def execute(self, statement: str, url: str | None = None) -> str:
        """One statement as the superuser, whether or not an event loop runs; returns its status."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _execute(statement, url or self.url())).result()

    def _answers(self) -> bool:
        ready = [str(_program("pg_isready")), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, capture_output=True).returncode == 0

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pid in self._pids() if number == signal.SIGKILL else self._pids()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        process.wait(START_TIMEOUT_S)

    def _pids(self) -> list[int]:
        """The postmaster, then its children."""
        with contextlib.suppress(FileNotFoundError):
            postmaster = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
            return [postmaster, *map(int, children.split())]
        return []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    with started_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a new, empty database."""
    return postgres_server.new_database()


@contextlib.contextmanager
def started_server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="organism-pg-") as folder:
        server = PostgresServer(Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


async def _execute(statement: str, url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return await connection.execute(statement)
    finally:
        await connection.close()


def _program(name: str) -> Path:
    """Of the newest PostgreSQL that is installed. Fails, and does not skip: the tests are worth nothing without it."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = installed[-1] if installed else shutil.which(name)
    if not found:
        pytest.fail(
            f"PostgreSQL's {name} is not installed: run .ci/postgres as root, or install the package postgresql"
        )
    return Path(found)


def _as_user(folder: Path) -> list[str]:
    """What runs a command as a user other than root, whom PostgreSQL refuses; gives that user the folder."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
