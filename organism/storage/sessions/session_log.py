"""One session's file, and what is known of it in memory: its record, and where each event begins.

Plain blocking functions; they raise OSError.
"""

from __future__ import annotations

import logging
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from organism.sessions.events import Frame
from organism.sessions.records import SessionRecord
from organism.storage.sessions import jsonl

logger = logging.getLogger(__name__)


class SessionLog:
    """The file `path`, which may not exist yet. Nothing behind `size` bytes counts: it is what a failed write left.

    seqs and positions (bytes) of events, in order, with gaps where lines were damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session_id = path.stem
        self.size = 0
        self.record: SessionRecord | None = None
        self.seqs = array("q")
        self.positions = array("q")

    @property
    def last_seq(self) -> int:
        return self.seqs[-1] if self.seqs else 0

    def scan(self) -> None:
        """Learns what the file holds; a torn write at its end is cut off, damaged lines are left alone."""
        records: list[bytes] = []
        position, whole = 0, 0  # bytes; up to `whole` each write has its last line
        with self.path.open("rb") as file:
            for line in file:
                found = jsonl.look_at(line)
                self._note(found, position)
                if found.is_record:
                    records.append(line)
                position += len(line)
                whole = whole if found.has_more else position
        self.size = whole
        self.record = self._newest(records)
        if whole < position:
            self._cut()

    def append(self, frames: list[Frame], record: SessionRecord | None) -> Append:
        """The write of events that are not stored yet, and of the record; nothing is written yet."""
        return Append(self, [frame for frame in frames if (frame.seq or 0) > self.last_seq], record)

    def after(self, seq: int, limit: int) -> list[Frame]:
        """The first `limit` readable events behind `seq`."""
        frames: list[Frame] = []
        start = bisect_right(self.seqs, seq)
        while start < len(self.seqs) and len(frames) < limit:
            stop = min(len(self.seqs), start + limit - len(frames))
            frames += self._frames(start, stop)
            start = stop
        return frames

    def newest(self, limit: int) -> list[Frame]:
        """The readable ones of the last `limit` events."""
        return list(self._frames(max(0, len(self.seqs) - limit), len(self.seqs)))

    def repair(self, descriptor: int) -> None:
        """Makes the file end where it should."""
        if os.fstat(descriptor).st_size != self.size:
            os.ftruncate(descriptor, self.size)

    def _note(self, found: jsonl.Line, position: int) -> None:
        if found.seq is not None and found.seq > self.last_seq:
            self.seqs.append(found.seq)
            self.positions.append(position)
        elif not found.is_record and not found.has_more:
            logger.warning("%s: the line at byte %d cannot be read", self.path, position)

    def _newest(self, lines: list[bytes]) -> SessionRecord | None:
        for line in reversed(lines):
            record = jsonl.record_from(self.session_id, line)
            if record is not None:
                return record
            logger.warning("%s: a record of the session cannot be read; an older one may be taken", self.path)
        return None

    def _cut(self) -> None:
        logger.warning("%s: the last write was cut off and does not count", self.path)
        while self.positions and self.positions[-1] >= self.size:
            del self.seqs[-1], self.positions[-1]
        with self.path.open("r+b") as file:
            self.repair(file.fileno())
            os.fsync(file.fileno())

    def _frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Readable events by their index."""
        if start >= stop:
            return
        first = self.positions[start]
        end = self.positions[stop] if stop < len(self.positions) else self.size
        with self.path.open("rb") as file:
            file.seek(first)
            content = file.read(end - first)
        for index in range(start, stop):
            begin = self.positions[index] - first
            line = content[begin : content.find(b"\n", begin) + 1]
            frame = jsonl.frame_from(self.session_id, line)
            if frame is None or frame.seq != self.seqs[index]:
                logger.warning(
                    "%s: event %d of session %s cannot be read", self.path, self.seqs[index], self.session_id
                )
            else:
                yield frame


class Append:
    """What goes to the end of one file, all of it or nothing: write it, then `keep` it or `undo` it."""

    def __init__(self, log: SessionLog, frames: list[Frame], record: SessionRecord | None) -> None:
        self.log = log
        self._frames = frames
        self._record = record
        self._content, self._places = jsonl.write_of(frames, record)

    @property
    def is_empty(self) -> bool:
        return not self._content

    @property
    def makes_file(self) -> bool:
        return self.log.size == 0

    def write(self) -> None:
        """Durable on return, but for the name of a new file in its folder."""
        descriptor = os.open(self.log.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self.log.repair(descriptor)  # of a write that could not be undone
            rest = memoryview(self._content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def undo(self) -> None:
        """As if it had not been written. Where the disk refuses that too, the next write or the next open does it."""
        try:
            if self.makes_file:
                self.log.path.unlink(missing_ok=True)
            else:
                os.truncate(self.log.path, self.log.size)
        except OSError as error:
            logger.warning("%s: a failed write could not be undone yet: %s", self.log.path, error)

    def keep(self) -> None:
        """From now on it is read."""
        log = self.log
        for seq, position in self._places:
            log.seqs.append(seq)
            log.positions.append(log.size + position)
        log.size += len(self._content)
        log.record = self._record or log.record
