"""The log's values as PostgreSQL's rows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Commit, Pending
from organism.storage.postgres_connection import Statement
from organism.threads import Thread, Todo


def statements_of(commit: Commit, writes: Mapping[str, str]) -> list[Statement]:
    """All that `commit` writes, in the order of its fields: a snapshot, nothing of it is needed afterwards.

    A row is in each statement once, as it is at last: PostgreSQL does not change one twice in a statement.
    """
    return [(writes[name], tuple(map(list, zip(*rows, strict=True)))) for name, rows in _rows(commit) if rows]


def message_from(row: Iterable[Any]) -> Message:
    return Message._make(row)


def pending_from(row: Any) -> Pending:
    deaths, *message = row
    return Pending(Message._make(message), deaths)


def dead_letter_from(row: Any) -> DeadLetter:
    *message, reason, attempts, died_ms = row
    return DeadLetter(Message._make(message), reason.decode(), attempts, died_ms)


def thread_from(row: Any) -> Thread:
    id_, created_ms, last_activity_ms, status, participants, message_count, pending, error, memory, owner = row
    text = None if error is None else error.decode()
    thread = Thread(id_, created_ms, last_activity_ms, status, orjson.loads(participants), message_count, pending, text)
    if memory is not None:
        kept = orjson.loads(memory)
        thread.states = {listener: state.encode() for listener, state in kept["states"].items()}
        thread.todos = [Todo(**todo) for todo in kept["todos"]]
        thread.tokens = kept["tokens"]
    if owner is not None:
        thread.owner = owner.decode()
    return thread


def settings_from(rows: Iterable[Any]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in rows}


def _rows(commit: Commit) -> Iterator[tuple[str, list[Any]]]:
    settings = commit.settings
    yield "messages", commit.messages
    yield "queued", list(dict.fromkeys(commit.queued))
    yield "done", commit.done
    yield "dropped", [(seq,) for seq in commit.dropped]
    yield "dead", [(letter.message.seq,) for letter in commit.dead]
    yield "dead_letters", list({letter.message.seq: _dead_letter_row(letter) for letter in commit.dead}.values())
    yield "requeued", [(seq,) for seq in commit.requeued]
    yield "requeued_letters", [(seq,) for seq in commit.requeued]
    yield "deaths", list({place[:2]: place for place in commit.deaths}.values())
    yield "threads", list({thread.id: _thread_row(thread) for thread in commit.threads}.values())
    yield "settings", [(_bytes(key), _bytes(value)) for key, value in settings.items() if value is not None]
    yield "removed_settings", [(_bytes(key),) for key, value in settings.items() if value is None]


def _dead_letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    message = letter.message
    return message.seq, message.id, message.recipient, _bytes(letter.reason), letter.attempts, letter.died_ms


def _thread_row(thread: Thread) -> tuple[Any, ...]:
    return (
        thread.id,
        thread.created_ms,
        thread.last_activity_ms,
        thread.status,
        orjson.dumps(thread.participants).decode(),
        thread.message_count,
        thread.pending,
        None if thread.error is None else _bytes(thread.error),
        _memory(thread) if thread.states or thread.todos or thread.tokens else None,
        None if thread.owner is None else _bytes(thread.owner),
    )


def _memory(thread: Thread) -> bytes:
    """States as texts, not as JSON in JSON: they come back byte for byte."""
    states = {listener: state.decode() for listener, state in thread.states.items()}
    return orjson.dumps({"states": states, "todos": thread.todos, "tokens": thread.tokens})


def _bytes(text: str) -> bytes:
    """What an exception of user code says may contain lone surrogates."""
    return text.encode(errors="replace")
