"""All providers are the same thing: whatever is committed, all read as memory does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, SessionFilter, SessionRecord
from organism.storage.sessions.base import SessionCommit, SessionStorage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.storage.sessions.postgres import PostgresSessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from tests.postgres_server import PostgresServer

SESSIONS = ["a", "b", "C-1"]
IDS = st.sampled_from(SESSIONS)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
WORDS = st.sampled_from(["Red", "red", "straße", "STRASSE", "İ", 'q"\\', "%", "a\nb"])


def record_from(**fields: Any) -> SessionRecord:
    """For st.builds, which would add what the signature of the class asks for, the aliases, by itself."""
    return SessionRecord(**fields)


records = st.builds(
    record_from,
    id=IDS, created_at=st.just(1), updated_at=st.integers(0, 4), agent=WORDS, working_directory=TEXTS,
    name=st.none() | TEXTS | WORDS, tags=st.none() | st.lists(TEXTS | WORDS, max_size=2).map(tuple),
    model=st.none() | TEXTS.map(lambda text: ModelChoice(id=text)), last_seq=st.integers(0, 2**50),
    is_running=st.booleans(), owner=st.none() | TEXTS | WORDS,
)  # fmt: skip
events = st.tuples(IDS, st.sampled_from(["system", "user_message"]), TEXTS, st.booleans())
recipes = st.fixed_dictionaries({
    "records": st.lists(records, max_size=3),
    "events": st.lists(events, max_size=6),
    "deleted": st.lists(IDS, max_size=1),
})  # fmt: skip


class Numbers:
    """Gives events their seq: the next of the session, or now and then one that is stored already."""

    def __init__(self) -> None:
        self._last = dict.fromkeys(SESSIONS, 0)

    def commit(self, recipe: dict[str, Any]) -> SessionCommit:
        first = dict.fromkeys(SESSIONS, True)
        frames: list[Frame] = []
        for session_id, type_, text, repeats in recipe["events"]:
            if not (repeats and first[session_id] and self._last[session_id]):  # else its last event once more
                self._last[session_id] += 1
            first[session_id] = False
            frames.append(Frame(session_id, self._last[session_id], type_, b'{"text":%d}' % len(text)))
        self._last.update(dict.fromkeys(recipe["deleted"], 0))
        return SessionCommit(recipe["records"], frames, recipe["deleted"])


FILTERS = [
    SessionFilter(),
    SessionFilter(tag="red"),
    SessionFilter(q="RED"),
    SessionFilter(q="strasse"),
    SessionFilter(q="c-1"),
    SessionFilter(q="i"),
    SessionFilter(tag="%", q="%"),
    SessionFilter(is_running=True),
    SessionFilter(owner="red"),
    SessionFilter(owner="red", ids=("b", "a", "unknown")),
    SessionFilter(ids=("b",)),
]


async def picture(storage: SessionStorage) -> dict[str, Any]:
    """All that can be read."""
    return {
        "records": await storage.records([*SESSIONS, "unknown"]),
        "lists": [await storage.sessions(where, 2, 0) for where in FILTERS],
        "second page": await storage.sessions(SessionFilter(), 2, 2),
        "events": [await storage.events(session_id, 0, 100) for session_id in SESSIONS],
        "some events": [await storage.events(session_id, 2, 2) for session_id in SESSIONS],
        "last events": [await storage.last_events(session_id, 3) for session_id in SESSIONS],
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: FileSessionStorage(folder / "sessions"),
        lambda folder: SqliteSessionStorage(folder / "sessions.db", pragmas={"synchronous": "off"}),
    ],
    ids=["file", "sqlite"],
)
@settings(max_examples=25, deadline=None)
@given(made=st.lists(recipes, min_size=1, max_size=6))
async def test_it_reads_as_memory_does_whatever_is_committed(
    make: Callable[[Path], SessionStorage], made: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await check(make(Path(folder)), made)


@settings(max_examples=25, deadline=None)
@given(made=st.lists(recipes, min_size=1, max_size=6))
async def test_postgres_reads_as_memory_does_whatever_is_committed(
    postgres_server: PostgresServer, made: list[dict[str, Any]]
) -> None:
    await check(PostgresSessionStorage(postgres_server.new_database()), made)


async def check(storage: SessionStorage, made: list[dict[str, Any]]) -> None:
    memory, numbers = MemorySessionStorage(), Numbers()
    await storage.open()
    try:
        for recipe in made:
            commit = numbers.commit(recipe)
            await memory.commit(commit)
            await storage.commit(commit)
            assert await picture(storage) == await picture(memory)
        await storage.close()
        await storage.open()
        assert await picture(storage) == await picture(memory)
    finally:
        await storage.close()
