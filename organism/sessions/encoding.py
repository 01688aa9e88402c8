"""Batches of sessions' events as bytes, for the way between processes, as in organism/encoding.py."""

from __future__ import annotations

import marshal
import pickle

from organism.errors import OrganismError
from organism.sessions.events import Frame
from organism.sessions.records import SessionRecord
from organism.sessions.wire import Append, FeedBatch, Loaded, SessionStatus

# Between cells and the pump


def encode_appends(appends: list[Append]) -> bytes:
    return marshal.dumps(
        [
            (_record_json(each.record), each.lease, [tuple(frame) for frame in each.frames], each.begins_run)
            for each in appends
        ]
    )


def decode_appends(data: bytes) -> list[Append]:
    return [
        Append(SessionRecord.model_validate_json(record), lease, [Frame._make(row) for row in rows], begins_run)
        for record, lease, rows, begins_run in marshal.loads(data)
    ]


def encode_refusals(answers: list[OrganismError | None]) -> bytes:
    return marshal.dumps([None if each is None else pickle.dumps(each) for each in answers])


def decode_refusals(data: bytes) -> list[OrganismError | None]:
    return [None if each is None else pickle.loads(each) for each in marshal.loads(data)]


def encode_loaded(loaded: Loaded) -> bytes:
    recent = [tuple(frame) for frame in loaded.recent]
    return marshal.dumps((_record_json(loaded.record), loaded.lease, recent, loaded.is_limited))


def decode_loaded(data: bytes) -> Loaded:
    record, lease, rows, is_limited = marshal.loads(data)
    return Loaded(SessionRecord.model_validate_json(record), lease, [Frame._make(row) for row in rows], is_limited)


# Between the API and the others


def encode_frames(frames: list[Frame]) -> bytes:
    return marshal.dumps([tuple(frame) for frame in frames])


def decode_frames(data: bytes) -> list[Frame]:
    return [Frame._make(row) for row in marshal.loads(data)]


def encode_feed(batch: FeedBatch) -> bytes:
    statuses = [(session_id, tuple(status)) for session_id, status in batch.statuses]
    return marshal.dumps((batch.cursor, [tuple(frame) for frame in batch.frames], batch.lost, statuses))


def decode_feed(data: bytes) -> FeedBatch:
    cursor, rows, lost, statuses = marshal.loads(data)
    shown = [(session_id, SessionStatus._make(status)) for session_id, status in statuses]
    return FeedBatch(cursor, [Frame._make(row) for row in rows], lost, shown)


def _record_json(record: SessionRecord) -> bytes:
    return record.__pydantic_serializer__.to_json(record)
