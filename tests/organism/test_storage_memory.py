from __future__ import annotations

import pytest

from organism.errors import StorageUnavailable
from organism.storage.base import Commit
from organism.storage.memory import MemoryStorage
from tests.storage_samples import letter_of, message, queue_of, thread


async def test_a_failing_medium_fails_every_call_until_it_is_healed() -> None:
    storage = MemoryStorage()
    storage.failing = "disk full"
    for call in (storage.open, storage.totals, lambda: storage.commit(Commit()), lambda: storage.queued("a", 0, 1)):
        with pytest.raises(StorageUnavailable, match="disk full"):
            await call()
    storage.failing = None
    await storage.commit(queue_of(message(1)))
    assert storage.commits == 1


async def test_what_it_holds_can_be_looked_at() -> None:
    storage = MemoryStorage()
    entry = message(1)
    commit = queue_of(entry, message(2))
    commit.threads, commit.settings, commit.deaths = [thread()], {"paused": "[]"}, [("greeter", 2, 1)]
    commit.done, commit.dead = [("greeter", 1)], [letter_of(entry)]
    await storage.commit(commit)
    assert [each.fate for each in storage.log] == ["dead", None]
    assert storage.waiting == {"greeter": {2: 1}}
    assert storage.thread_records == {"thread": thread()}
    assert list(storage.letters) == [1]
    assert storage.settings == {"paused": "[]"}
