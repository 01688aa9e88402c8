"""The message: a payload and its envelope, one value on the wire, in the log and in the API."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import uuid_utils

CONSOLE = "console"
"""The sender of what comes in through the API; also where a Reply to it goes."""


class Message(NamedTuple):
    """One entry of the log. A named tuple, because a million of them are made, pickled and inserted as rows.

    `seq` counts 1, 2, 3… over the whole log; `slot_index` counts 0, 1, 2… within the thread.
    `callers` is the recipient's call chain, names joined by `/`: a Reply goes to the last; only the pump reads it.
    `fate` is None, or why the message will not be handled: `dropped` (its thread was killed) or `dead`.
    """

    seq: int
    id: str
    thread_id: str
    slot_index: int
    sender: str
    recipient: str
    payload_type: str
    payload: bytes  # JSON, UTF-8
    timestamp_ms: int
    callers: str
    fate: str | None = None

    def to_api(self) -> dict[str, Any]:
        """The message as the API shows it; for `orjson.dumps`, which takes the payload as it is."""
        shown: dict[str, Any] = {
            "id": self.id,
            "thread_id": self.thread_id,
            "from": self.sender,
            "to": self.recipient,
            "payload_type": self.payload_type,
            "payload": orjson.Fragment(self.payload),
            "timestamp": iso_timestamp(self.timestamp_ms),
            "slot_index": self.slot_index,
            "seq": self.seq,
        }
        if self.fate is not None:
            shown["fate"] = self.fate
        return shown


class Inject(NamedTuple):
    """A message from outside, its payload already validated against the listener's class.

    owner: the principal that pays for the tokens which agents use because of it; None without authentication.
    """

    recipient: str
    payload_type: str
    payload: bytes  # JSON, UTF-8
    thread_id: str | None = None
    owner: str | None = None


class Accepted(NamedTuple):
    """The answer to an inject: the message is in the log."""

    thread_id: str
    message_id: str
    seq: int


class DeadLetter(NamedTuple):
    """A message that nobody could handle, why, and after how many attempts."""

    message: Message
    reason: str
    attempts: int
    died_ms: int

    def to_api(self) -> dict[str, Any]:
        return {
            "id": self.message.id,
            "reason": self.reason,
            "attempts": self.attempts,
            "died_at": iso_timestamp(self.died_ms),
            "message": self.message.to_api(),
        }


def new_id() -> str:
    """A UUIDv7: ids made later sort later, so that an index on them grows at one end."""
    return str(uuid_utils.uuid7())


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def iso_timestamp(milliseconds: int) -> str:
    """Milliseconds since the epoch as `2024-01-15T10:30:01.123Z`."""
    return f"{_iso_seconds(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=256)  # a busy second is formatted once, not once a message
def _iso_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
