"""Messages, threads and commits for tests of the storage seam."""

from __future__ import annotations

from organism.messages import DeadLetter, Message, new_id
from organism.storage.base import Commit
from organism.threads import Thread

NOW_MS = 1_763_689_052_123
PAYLOAD = b'{"name":"Ada","text":"hello"}'


def message(
    seq: int,
    thread_id: str = "thread",
    slot_index: int | None = None,
    *,
    sender: str = "console",
    recipient: str = "greeter",
    payload_type: str = "Greeting",
    payload: bytes = PAYLOAD,
    timestamp_ms: int | None = None,
) -> Message:
    """An entry of the log. Without `slot_index` the slot is `seq`, so that all of them may share a thread."""
    slot = seq if slot_index is None else slot_index
    time_ms = NOW_MS + seq if timestamp_ms is None else timestamp_ms
    return Message(seq, new_id(), thread_id, slot, sender, recipient, payload_type, payload, time_ms, "console")


def thread(thread_id: str = "thread", **fields: object) -> Thread:
    record = Thread(thread_id, created_ms=NOW_MS, last_activity_ms=NOW_MS)
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def log_of(*messages: Message) -> Commit:
    """A commit of messages that are not queued."""
    return Commit(messages=list(messages))


def queue_of(*messages: Message) -> Commit:
    """A commit of messages that all wait for their recipients."""
    return Commit(messages=list(messages), queued=[(each.recipient, each.seq) for each in messages])


def letter_of(entry: Message, reason: str = "it raised", attempts: int = 1, died_ms: int = NOW_MS) -> DeadLetter:
    return DeadLetter(entry, reason, attempts, died_ms)
