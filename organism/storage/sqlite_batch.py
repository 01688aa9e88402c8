"""A Commit as a few SQL statements with their parameters.

The statements run in the writer's thread while the pump's event loop runs in its own, and sqlite3 takes the GIL again
after every single step. Under a busy loop `executemany` therefore waits for the loop once a row (355 messages/s were
measured); so each table gets one statement for all of its rows. Beside a loop that never rests this makes 34,000
messages/s in groups of 500, and 125,000 beside an idle one; the same batch handed over as JSON makes 14,000 and 42,000.

Statements are prepared for 1, 2, 4, … rows and filled up with rows of zeros, so that few have to be prepared. Only
str and int are bound: sqlite3 looks for an adapter for every None and bytes, which takes 0.4 µs each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Commit
from organism.storage.sql_files import load_statements
from organism.threads import Thread

MAX_ROWS = 1024
"""In one statement: 11 parameters each stay below the 32,766 that SQLite takes by default."""

NULL = 0
"""Stands for None in text columns (see writes.sql)."""

Row = tuple[str | int, ...]
Statement = tuple[str, list[str | int]]


class BatchWriter:
    """Turns commits into statements; keeps their texts, which are the keys of sqlite3's statement cache."""

    def __init__(self) -> None:
        self._templates = load_statements("writes.sql")
        self._texts: dict[tuple[str, int], str] = {}

    def statements(self, commit: Commit) -> list[Statement]:
        """All that `commit` writes, in the order of its fields. Nothing of it is needed afterwards."""
        return [statement for name, rows in _tables(commit) if rows for statement in self._insert(name, rows)]

    def _insert(self, name: str, rows: list[Row]) -> Iterator[Statement]:
        width = len(rows[0])
        for start in range(0, len(rows), MAX_ROWS):
            part = rows[start : start + MAX_ROWS]
            size = 1 << (len(part) - 1).bit_length()
            parameters = list(chain.from_iterable(part))
            parameters.extend([0] * (width * (size - len(part))))
            yield self._text(name, width, size), parameters

    def _text(self, name: str, width: int, size: int) -> str:
        text = self._texts.get((name, size))
        if text is None:
            row = f"({', '.join('?' * width)})"
            text = self._templates[name].format(rows=", ".join([row] * size))
            self._texts[name, size] = text
        return text


def _tables(commit: Commit) -> Iterator[tuple[str, list[Any]]]:
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
    )


def _memory(thread: Thread) -> str:
    """States as texts, not as JSON in JSON: they come back byte for byte."""
    states = {listener: state.decode() for listener, state in thread.states.items()}
    return orjson.dumps({"states": states, "todos": thread.todos, "tokens": thread.tokens}).decode()


def _storable(text: str) -> str:
    """`text` as UTF-8 can hold it: what an exception of user code says may contain lone surrogates."""
    return text.encode(errors="replace").decode()
