"""Values made of what sqlite_server.py reads: JSON arrays, joined by commas."""

from __future__ import annotations

from typing import Any

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Pending
from organism.threads import Thread, Todo


def entries_of(joined: str) -> list[Any]:
    """The rows of one query: a list of their values each."""
    return orjson.loads(f"[{joined}]")


def message_from(entry: list[Any]) -> Message:
    entry[7] = entry[7].encode()
    return Message._make(entry)


def pending_from(entry: list[Any]) -> Pending:
    return Pending(message_from(entry[1:]), deaths=entry[0])


def dead_letter_from(entry: list[Any]) -> DeadLetter:
    return DeadLetter(message_from(entry[:-3]), *entry[-3:])


def thread_from(entry: list[Any]) -> Thread:
    id_, created_ms, last_activity_ms, status, participants, message_count, pending, error, memory, owner = entry
    thread = Thread(id_, created_ms, last_activity_ms, status, participants, message_count, pending, error, owner=owner)
    if memory is not None:
        thread.states = {listener: state.encode() for listener, state in memory["states"].items()}
        thread.todos = [Todo(**todo) for todo in memory["todos"]]
        thread.tokens = memory["tokens"]
    return thread
