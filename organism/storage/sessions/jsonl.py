"""The lines of a session's file: what is written, and what is made of what is found.

A write is one or more lines: events `{"seq":1,"type":"user_message","event":{…}}`, then perhaps the session
`{"record":{…}}`. All lines of a write but its last begin `{"more":true,`, so that of a write that was cut off,
by a power cut, nothing is taken for stored. The event stands as it came, byte for byte.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from organism.sessions.events import Frame
from organism.sessions.records import SessionRecord

_MORE = b'{"more":true,'
_EVENT = re.compile(rb'\{(?:"more":true,)?"seq":([1-9]\d{0,17}),"type":("(?:[^"\\\x00-\x1f]|\\.)*"),"event":')
_RECORD = b'{"record":'


class Line(NamedTuple):
    """What a line is by its beginning; its rest is not looked at before it is needed.

    Neither event nor record: it is damaged. has_more: further lines belong to its write, or the end of this one.
    """

    seq: int | None
    is_record: bool
    has_more: bool


def write_of(frames: list[Frame], record: SessionRecord | None) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes of one write, and `(seq, position)` of each event in them."""
    lines = [_event_line(frame) for frame in frames]
    if record is not None:
        lines.append(_RECORD + record.model_dump_json().encode() + b"}\n")
    lines[:-1] = [_MORE + line[1:] for line in lines[:-1]]
    places: list[tuple[int, int]] = []
    position = 0
    for index, line in enumerate(lines):
        if index < len(frames):
            places.append((frames[index].seq or 0, position))
        position += len(line)
    return b"".join(lines), places


def look_at(line: bytes) -> Line:
    """What kind of line it is."""
    if not line.endswith(b"}\n"):
        return Line(None, is_record=False, has_more=not line.endswith(b"\n"))
    event = _EVENT.match(line)
    if event is not None:
        return Line(int(event[1]), is_record=False, has_more=line.startswith(_MORE))
    return Line(None, is_record=line.startswith(_RECORD), has_more=False)


def frame_from(session_id: str, line: bytes) -> Frame | None:
    """The event of a line; None where it is damaged, or none."""
    event = _EVENT.match(line)
    if event is None or not line.endswith(b"}\n"):
        return None
    body = line[event.end() : -2]
    if not (_is_json(event[2]) and _is_json(body)):
        return None
    return Frame(session_id, int(event[1]), json.loads(event[2]), body)


def record_from(session_id: str, line: bytes) -> SessionRecord | None:
    """The session of a line; None where it is damaged, or of another session."""
    try:
        record = SessionRecord.model_validate_json(line[len(_RECORD) : -2])
    except ValidationError:
        return None
    return record if record.id == session_id else None


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:  # it is strict: with numbers, for one
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
    return True


def _event_line(frame: Frame) -> bytes:
    return b'{"seq":%d,"type":%b,"event":%b}\n' % (frame.seq, orjson.dumps(frame.type), frame.body)
