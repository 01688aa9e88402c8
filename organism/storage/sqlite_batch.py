"""A Commit as tables of rows for sqlite_server.py.

Only str and int go over: sqlite3 looks for an adapter for every None and bytes that it binds, 0.4 µs each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Commit
from organism.storage.sqlite_server import Table
from organism.threads import Thread

NULL = 0
"""Stands for None in text columns (see writes.sql)."""

Row = tuple[str | int, ...]


def tables_of(commit: Commit) -> list[Table]:
    """All that `commit` writes, in the order of its fields: a snapshot, nothing of it is needed afterwards."""
    return [(table, len(rows[0]), list(chain.from_iterable(rows))) for table, rows in _rows(commit) if rows]


def _rows(commit: Commit) -> Iterator[tuple[str, list[Any]]]:
    yield "messages", [_message_row(message) for message in commit.messages]
    yield "queued", commit.queued
    yield "done", commit.done
    yield "dropped", [(seq,) for seq in commit.dropped]
    yield "dead", [(letter.message.seq,) for letter in commit.dead]
    yield "dead_letters", [_dead_letter_row(letter) for letter in commit.dead]
    yield "requeued", [(seq,) for seq in commit.requeued]
    yield "requeued_letters", [(seq,) for seq in commit.requeued]
    yield "deaths", commit.deaths
    yield "threads", [_thread_row(thread) for thread in commit.threads]
    yield "settings", [(key, value) for key, value in commit.settings.items() if value is not None]
    yield "removed_settings", [(key,) for key, value in commit.settings.items() if value is None]


def _message_row(message: Message) -> Row:
    seq, id_, thread_id, slot, sender, recipient, payload_type, payload, timestamp_ms, callers, fate = message
    text = payload.decode()
    return (
        seq, id_, thread_id, slot, sender, recipient, payload_type, text, timestamp_ms, callers,
        NULL if fate is None else fate,
    )  # fmt: skip


def _dead_letter_row(letter: DeadLetter) -> Row:
    message = letter.message
    return message.seq, message.id, message.recipient, _storable(letter.reason), letter.attempts, letter.died_ms


def _thread_row(thread: Thread) -> Row:
    return (
        thread.id,
        thread.created_ms,
        thread.last_activity_ms,
        thread.status,
        orjson.dumps(thread.participants).decode(),
        thread.message_count,
        thread.pending,
        NULL if thread.error is None else _storable(thread.error),
        _memory(thread) if thread.states or thread.todos or thread.tokens else NULL,
        NULL if thread.owner is None else _storable(thread.owner),
    )


def _memory(thread: Thread) -> str:
    """States as texts, not as JSON in JSON: they come back byte for byte."""
    states = {listener: state.decode() for listener, state in thread.states.items()}
    return orjson.dumps({"states": states, "todos": thread.todos, "tokens": thread.tokens}).decode()


def _storable(text: str) -> str:
    """`text` as UTF-8 can hold it: what an exception of user code says may contain lone surrogates."""
    return text.encode(errors="replace").decode()
