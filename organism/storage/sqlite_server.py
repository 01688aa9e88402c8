"""The process that owns a SQLite file: it takes jobs from a socket, one thread and connection for each kind.

A program of its own, started by sqlite_client.py with the interpreter's bare standard library (0.1 s, 14 MB), so it
imports nothing of this package. A process, because in a thread beside the pump's event loop sqlite3 has to take the
GIL again after every step, and a loop that is busy gives it back late: the commit of 500 messages took 4 ms beside an
idle loop and up to 10 s beside one that was saturated with short callbacks. From here it takes the same 4 ms always.

On the socket, both ways: a header (`HEADER`: kind or status, number of the job, size of the body) and a body in
marshal's format, which only this interpreter's other end reads. The first job is the `Setup`, which is not answered.
When the socket closes, the jobs at hand are finished and the process ends.
"""

from __future__ import annotations

import marshal
import signal
import socket
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

HEADER_BYTES = 17
WRITE, READ, LIST = 0, 1, 2
"""Kinds of jobs. WRITE: `(commit_number, [(table, width, flat values), …])`, one transaction (a number of
None is not written down); None only opens the file. READ and LIST:
`[(query, parameters), …]`, answered by one text for each query; lists have a connection of their own because
they may have to count a million rows while the pump must not wait."""

DONE, UNAVAILABLE, FAILED, DAMAGED, TOO_NEW = 0, 1, 2, 3, 4
"""Statuses of answers; the body of all but DONE is a text that says why."""

PASSING_ERRORS = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip
"""Result codes of a medium that fails for now."""

MAX_ROWS = 1024
"""In one statement: 11 parameters each stay below the 32,766 that SQLite takes by default."""

Table = tuple[str, int, list[Any]]


class Setup(NamedTuple):
    """What the server has to know before its first job; the SQL and its meaning are the client's.

    uri: of the database, without a query. pragmas: of the writer and of readers. migrations: in order, the first
    makes version 1. inserts: by table, with `{rows}` where the rows of parameters belong.
    """

    uri: str
    writer_pragmas: dict[str, str | int]
    reader_pragmas: dict[str, str | int]
    migrations: list[str]
    inserts: dict[str, str]


class SchemaTooNew(Exception):
    """The file was written by a newer version of the package."""


class ConnectionThread:
    """Runs jobs one after the other on one connection in one thread.

    The connection is opened when it is first needed, and anew after an error: whatever state the failed one was left
    in is gone with it, and a transaction that was open is rolled back.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1)

    def submit(self, job: Callable[[sqlite3.Connection], Any], answer: Callable[[int, Any], None]) -> None:
        """Calls `answer(status, body)` when the job is done."""
        self._executor.submit(lambda: answer(*self._outcome(job)))

    def close(self) -> None:
        """Finishes all jobs."""
        self._executor.submit(self._discard)
        self._executor.shutdown(wait=True)

    def _outcome(self, job: Callable[[sqlite3.Connection], Any]) -> tuple[int, Any]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return DONE, job(self._connection)
        except Exception as error:  # whatever it is, the client waits for an answer
            self._discard()
            return status_of(error), f"{error or type(error).__name__}"

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Writer:
    """Writes the rows of a commit: one statement for each table, many rows at once, all in one transaction.

    Statements are prepared for 1, 2, 4, … rows and filled up with rows of zeros, so that few have to be prepared and
    a group of 500 messages takes six steps. Rows one by one (`executemany`) take 1.5 times as long.
    """

    def __init__(self, inserts: dict[str, str]) -> None:
        self._inserts = inserts
        self._texts: dict[tuple[str, int], str] = {}  # also the keys of sqlite3's cache of prepared statements

    def write(self, connection: sqlite3.Connection, job: tuple[int | None, list[Table]] | None) -> None:
        if job is None:
            return
        commit_number, tables = job
        connection.execute("BEGIN IMMEDIATE")
        for table, width, values in tables:
            for start in range(0, len(values), MAX_ROWS * width):
                self._insert(connection, table, width, values[start : start + MAX_ROWS * width])
        if commit_number is not None:
            connection.execute("UPDATE progress SET commits = ?", (commit_number,))
        connection.execute("COMMIT")

    def _insert(self, connection: sqlite3.Connection, table: str, width: int, values: list[Any]) -> None:
        size = 1 << (len(values) // width - 1).bit_length()
        values.extend([0] * (width * size - len(values)))
        connection.execute(self._text(table, width, size), values)

    def _text(self, table: str, width: int, size: int) -> str:
        text = self._texts.get((table, size))
        if text is None:
            row = f"({', '.join('?' * width)})"
            text = self._texts[table, size] = self._inserts[table].format(rows=", ".join([row] * size))
        return text


def read(connection: sqlite3.Connection, job: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """For each query, whose one column `entry` is JSON, the rows joined by commas.

    SQLite joins them: fetching row by row would take and give back this process's GIL for each.
    """
    return [_joined(connection, query, parameters) for query, parameters in job]


def _joined(connection: sqlite3.Connection, query: str, parameters: dict[str, Any]) -> str:
    try:
        (joined,) = connection.execute(f"SELECT group_concat(entry) FROM ({query})", parameters).fetchone()
    except sqlite3.DataError:  # more than SQLite's 1 GB in one value
        return ",".join(entry for (entry,) in connection.execute(query, parameters))
    return joined or ""


def connect(uri: str, pragmas: dict[str, str | int]) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun by hand."""
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=256)
    connection.text_factory = _readable
    try:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _readable(text: bytes) -> str:
    """Bytes that are no UTF-8 any more cost themselves, not all that is read with them."""
    return text.decode(errors="replace")


def connect_writer(setup: Setup) -> sqlite3.Connection:
    """A connection that writes; makes the file where there is none and brings its schema up to date."""
    connection = connect(f"{setup.uri}?mode=rwc", setup.writer_pragmas)
    try:
        migrate(connection, setup.migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: list[str]) -> None:
    """Applies the migrations that the file has not seen, each in a transaction of its own.

    `PRAGMA user_version` counts those applied; it is written in the same transaction.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise SchemaTooNew(f"its schema is version {version}, this package knows {len(migrations)}")
    for number, migration in enumerate(migrations[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration}\nPRAGMA user_version = {number};\nCOMMIT;")


def status_of(error: Exception) -> int:
    """What the client should make of an error."""
    if isinstance(error, SchemaTooNew):
        return TOO_NEW
    if isinstance(error, OSError):
        return UNAVAILABLE
    if not isinstance(error, sqlite3.Error):
        traceback.print_exc()
        return FAILED
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DAMAGED
    return UNAVAILABLE if code in PASSING_ERRORS else FAILED


def frame(kind: int, number: int, body: Any) -> bytes:
    """`body` with its header: a job with its kind, or an answer with its status."""
    data = marshal.dumps(body)
    return kind.to_bytes(1, "big") + number.to_bytes(8, "big") + len(data).to_bytes(8, "big") + data


def header(data: bytes | bytearray) -> tuple[int, int, int]:
    """Kind or status, number, and the size of the body in bytes."""
    return data[0], int.from_bytes(data[1:9], "big"), int.from_bytes(data[9:17], "big")


class Server:
    """Takes jobs from the socket and answers them in the order in which they are done."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb")
        self._sending = threading.Lock()

    def run(self) -> None:
        """Returns when the client has closed its end and all jobs are done."""
        jobs = self._jobs()
        setup = Setup(*next(jobs)[2])
        writer = ConnectionThread(lambda: connect_writer(setup))
        readers = [ConnectionThread(lambda: connect(f"{setup.uri}?mode=ro", setup.reader_pragmas)) for _ in range(2)]
        threads = [writer, *readers]
        work = [Writer(setup.inserts).write, read, read]
        try:
            for kind, number, job in jobs:
                self._submit(threads[kind], work[kind], job, number)
        finally:
            for thread in reversed(threads):  # the writer last: the last connection clears the write-ahead log
                thread.close()

    def _submit(self, thread: ConnectionThread, work: Callable[..., Any], job: Any, number: int) -> None:
        thread.submit(lambda connection: work(connection, job), lambda status, body: self._answer(status, number, body))

    def _answer(self, status: int, number: int, body: Any) -> None:
        with self._sending:
            try:
                self._socket.sendall(frame(status, number, body))
            except OSError:  # the client is gone: nobody waits for it
                return

    def _jobs(self) -> Iterator[tuple[int, int, Any]]:
        while len(head := self._stream.read(HEADER_BYTES)) == HEADER_BYTES:
            kind, number, size = header(head)
            body = self._stream.read(size)
            if len(body) < size:
                return
            yield kind, number, marshal.loads(body)


def main(descriptor: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the organism, which closes the socket when it is done
    with socket.socket(fileno=int(descriptor)) as connection:
        Server(connection).run()


if __name__ == "__main__":
    main(sys.argv[1])
