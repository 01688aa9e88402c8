"""All providers are the same thing: whatever is committed, sqlite and postgres read as memory does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from organism.errors import StorageError
from organism.messages import Message
from organism.storage.base import Commit, MessageFilter, Storage, ThreadFilter
from organism.storage.memory import MemoryStorage
from organism.storage.postgres import PostgresStorage
from organism.storage.sqlite import SqliteStorage
from organism.threads import THREAD_STATUSES, Thread, Todo
from tests.postgres_server import PostgresServer
from tests.storage_samples import NOW_MS, PAYLOAD, letter_of

AGENTS = st.sampled_from(["greeter", "shouter", "sïnk"])
THREADS = st.sampled_from(["a", "b", "c"])
SEQS = st.integers(1, 12)
TIMES = st.integers(NOW_MS, NOW_MS + 5)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
JSONS = st.sampled_from([b"{}", b'{"a": [1, null]}', b'"\xc3\xa9\\u0000"'])

entries = st.tuples(THREADS, AGENTS, AGENTS, st.sampled_from(["Greeting", "Shout"]), TIMES)
places = st.tuples(AGENTS, SEQS)
todos = st.builds(Todo, TEXTS, AGENTS, TEXTS, st.none() | AGENTS, TEXTS, st.booleans())
threads = st.builds(
    Thread, THREADS, TIMES, TIMES, st.sampled_from(THREAD_STATUSES), st.lists(AGENTS, unique=True),
    st.integers(0, 2**40), st.integers(0, 9), st.none() | TEXTS, st.dictionaries(AGENTS, JSONS),
    st.lists(todos, max_size=2), st.dictionaries(AGENTS, st.integers(0, 2**40)), st.none() | TEXTS,
)  # fmt: skip
recipes = st.fixed_dictionaries({
    "entries": st.lists(entries, max_size=5),
    "slot_error": st.integers(0, 9).map(lambda number: number == 0),
    "queued": st.lists(places, max_size=3, unique=True),
    "done": st.lists(places, max_size=3),
    "dropped": st.lists(SEQS, max_size=2),
    "dead": st.lists(st.tuples(SEQS, TEXTS, st.integers(1, 5), TIMES), max_size=2, unique_by=lambda item: item[0]),
    "requeued": st.lists(SEQS, max_size=2),
    "deaths": st.lists(st.tuples(AGENTS, SEQS, st.integers(0, 3)), max_size=2),
    "threads": st.lists(threads, max_size=3, unique_by=lambda thread: thread.id),
    "settings": st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3),
})  # fmt: skip


class Log:
    """Makes commits that fit the log, and now and then one that does not."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def commit(self, recipe: dict[str, Any]) -> Commit:
        new = self._entries(recipe["entries"])
        if recipe["slot_error"] and new:
            new[-1] = new[-1]._replace(slot_index=0, thread_id=new[0].thread_id)
        known = {message.seq: message for message in self.messages + new}
        return Commit(
            messages=new,
            queued=[(agent, seq) for agent, seq in recipe["queued"] if seq in known and known[seq].recipient == agent],
            done=recipe["done"],
            dropped=[seq for seq in recipe["dropped"] if seq in known],
            dead=[letter_of(known[seq], *how) for seq, *how in recipe["dead"] if seq in known],
            requeued=[seq for seq in recipe["requeued"] if seq in known],
            deaths=recipe["deaths"],
            threads=recipe["threads"],
            settings=recipe["settings"],
        )

    def _entries(self, entries: list[tuple[str, str, str, str, int]]) -> list[Message]:
        new: list[Message] = []
        for seq, (thread_id, sender, recipient, payload_type, time_ms) in enumerate(entries, len(self.messages) + 1):
            slot = sum(message.thread_id == thread_id for message in self.messages + new)
            ids = f"id-{seq}", thread_id, slot
            new.append(Message(seq, *ids, sender, recipient, payload_type, PAYLOAD, time_ms, f"console/{sender}"))
        return new


FILTERS = [
    MessageFilter(),
    MessageFilter(agents=("greeter",)),
    MessageFilter(threads=("a", "c"), after_seq=2),
    MessageFilter(payload_types=("Shout",), since_ms=NOW_MS + 2),
    MessageFilter(fate="dead"),
    MessageFilter(fate="dropped", until_seq=6),
]
THREAD_FILTERS = [ThreadFilter(), ThreadFilter("active"), ThreadFilter(agent="sïnk"), ThreadFilter(since_ms=NOW_MS + 3)]


async def picture(storage: Storage) -> dict[str, Any]:
    """All that can be read."""
    return {
        "totals": await storage.totals(),
        "queued": [await storage.queued(agent, 1, 5) for agent in ("greeter", "shouter", "sïnk")],
        "in threads": [await storage.queued_in_thread(thread_id) for thread_id in "abc"],
        "threads by id": await storage.threads_by_id(["a", "b", "c", "d"]),
        "threads": [await storage.threads(where, 2, 0) for where in THREAD_FILTERS],
        "messages": [await storage.messages(where, 3, 1, newest_first=True) for where in FILTERS],
        "message pages": [await storage.message_page(where, 5) for where in FILTERS],
        "dead letters": [await storage.dead_letters(agent, 2, 1) for agent in (None, "greeter")],
        "dead letter": [await storage.dead_letter(f"id-{seq}") for seq in range(1, 13)],
    }


async def committed(storage: Storage, commit: Commit) -> bool:
    try:
        await storage.commit(commit)
    except StorageError:
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(st.lists(recipes, min_size=1, max_size=6))
async def test_sqlite_reads_as_memory_does_whatever_is_committed(made: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await check(SqliteStorage(Path(folder) / "organism.db", pragmas={"synchronous": "off"}), made)


@settings(max_examples=25, deadline=None)
@given(made=st.lists(recipes, min_size=1, max_size=6))
async def test_postgres_reads_as_memory_does_whatever_is_committed(
    postgres_server: PostgresServer, made: list[dict[str, Any]]
) -> None:
    await check(PostgresStorage(postgres_server.new_database()), made)


async def check(storage: Storage, made: list[dict[str, Any]]) -> None:
    memory, log = MemoryStorage(), Log()
    await storage.open()
    try:
        for recipe in made:
            commit = log.commit(recipe)
            accepted = await committed(memory, commit)
            assert accepted == await committed(storage, commit)
            if accepted:
                log.messages += commit.messages
            assert await picture(storage) == await picture(memory)
    finally:
        await storage.close()
