"""Reading from SQLite: all rows of a query as one text, and the values made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Pending
from organism.threads import Thread, Todo


def read_entries(connection: sqlite3.Connection, query: str, parameters: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of `query`, whose one column `entry` is a JSON array.

    They are fetched as one text, because sqlite3 takes the GIL again after every row: 4,096 rows beside a busy event
    loop would wait for it 4,096 times.
    """
    try:
        (joined,) = connection.execute(f"SELECT group_concat(entry) FROM ({query})", parameters).fetchone()
    except sqlite3.DataError:  # more than SQLite's 1 GB in one value: slower then, but right
        return [orjson.loads(entry) for (entry,) in connection.execute(query, parameters)]
    return orjson.loads(f"[{joined}]") if joined else []


def read_number(connection: sqlite3.Connection, query: str, parameters: Mapping[str, Any]) -> int:
    """The number that is the only entry of `query`."""
    return read_entries(connection, query, parameters)[0][0]


def message_from(entry: list[Any]) -> Message:
    entry[7] = entry[7].encode()
    return Message._make(entry)


def pending_from(entry: list[Any]) -> Pending:
    return Pending(message_from(entry[1:]), deaths=entry[0])


def dead_letter_from(entry: list[Any]) -> DeadLetter:
    return DeadLetter(message_from(entry[:-3]), *entry[-3:])


def thread_from(entry: list[Any]) -> Thread:
    id_, created_ms, last_activity_ms, status, participants, message_count, pending, error, memory = entry
    thread = Thread(id_, created_ms, last_activity_ms, status, participants, message_count, pending, error)
    if memory is not None:
        thread.states = {listener: state.encode() for listener, state in memory["states"].items()}
        thread.todos = [Todo(**todo) for todo in memory["todos"]]
        thread.tokens = memory["tokens"]
    return thread
