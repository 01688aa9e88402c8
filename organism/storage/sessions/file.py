"""Sessions in a folder, a file of JSON lines each, which any editor shows. See jsonl.py for the lines."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from organism.errors import StorageError, StorageUnavailable
from organism.private_folder import make_private
from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.file_lock import FileLock
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.checks import check_commit, is_session_id, matches, newest_first
from organism.storage.sessions.session_log import Append, SessionLog

logger = logging.getLogger(__name__)

T = TypeVar("T")

SUFFIX = ".jsonl"
LOCK_TIMEOUT_S = 10.0
"""How long a dying holder of the lock may take."""


class FileSessionStorage:
    """Sessions in `folder` (which is made), locked by `<folder>.lock` beside it.

    What a commit holds of one session is stored whole or not at all, whatever happens. Of a commit over several
    sessions a power cut may leave some. Each session costs an fsync: this is for reading along, not for crowds.
    All work is done in one thread, one piece after the other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder)
        self._worker: ThreadPoolExecutor | None = None
        self._logs: dict[str, SessionLog] = {}  # by session id; only the worker touches it

    async def open(self) -> None:
        with self._disk_errors():
            await asyncio.to_thread(make_private, self.folder)
            await self._lock.acquire(LOCK_TIMEOUT_S)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        try:
            await self._run(self._scan)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.shutdown)
        self._lock.release()

    async def commit(self, commit: SessionCommit) -> None:
        check_commit(commit)
        records = {record.id: record for record in commit.records}
        frames: dict[str, list[Frame]] = {}
        for frame in commit.events:
            frames.setdefault(frame.session_id, []).append(frame)
        deleted = set(commit.deleted)
        await self._run(lambda: self._commit(records, frames, deleted))

    async def records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        return await self._run(lambda: self._records(session_ids))

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        return await self._run(lambda: self._sessions(where, limit, offset))

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        return await self._run(lambda: self._known(session_id).after(after_seq, limit))

    async def last_events(self, session_id: str, limit: int) -> list[Frame]:
        return await self._run(lambda: self._known(session_id).newest(limit))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise StorageError(f"{self.folder} is not open")
        with self._disk_errors():
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageUnavailable(f"{self.folder}: {error}") from error

    # In the worker

    def _scan(self) -> None:
        self._logs = {}
        for path in self.folder.glob(f"*{SUFFIX}"):
            if not is_session_id(path.stem) or not path.is_file():
                logger.warning("%s is no session's file and is left alone", path)
                continue
            log = SessionLog(path)
            try:
                log.scan()
            except PermissionError as error:
                logger.warning("%s cannot be read and is left alone: %s", path, error)
                continue
            self._logs[log.session_id] = log

    def _commit(self, records: dict[str, SessionRecord], frames: dict[str, list[Frame]], deleted: set[str]) -> None:
        touched = (records.keys() | frames.keys()) - deleted
        appends = [self._written(id_).append(frames.get(id_, []), records.get(id_)) for id_ in sorted(touched)]
        appends = [each for each in appends if not each.is_empty]
        self._write(appends, [self._logs[session_id] for session_id in deleted if session_id in self._logs])

    def _write(self, appends: list[Append], removed: list[SessionLog]) -> None:
        try:
            for append in appends:
                append.write()
            self._remove(removed)
            if removed or any(append.makes_file for append in appends):
                self._sync_folder()
        except BaseException:
            for append in appends:
                append.undo()
            raise
        for append in appends:
            self._logs[append.log.session_id] = append.log
            append.keep()

    def _remove(self, logs: list[SessionLog]) -> None:
        for log in logs:
            log.path.unlink(missing_ok=True)
            del self._logs[log.session_id]

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _known(self, session_id: str) -> SessionLog:
        """That of the session; an empty one, of no file, where it is unknown: its id may be anything."""
        return self._logs.get(session_id) or SessionLog(self.folder)

    def _written(self, session_id: str) -> SessionLog:
        """That of the session, to be written to; a new one where it is unknown. Its id was checked."""
        return self._logs.get(session_id) or SessionLog(self.folder / f"{session_id}{SUFFIX}")

    def _records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        found = ((id_, self._logs[id_].record) for id_ in session_ids if id_ in self._logs)
        return {id_: record for id_, record in found if record is not None}

    def _sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        known = (log.record for log in self._logs.values())
        matching = sorted((each for each in known if each is not None and matches(each, where)), key=newest_first)
        return matching[offset : offset + limit], len(matching)
