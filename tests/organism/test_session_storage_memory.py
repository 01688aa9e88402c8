from __future__ import annotations

import pytest

from organism.errors import StorageUnavailable
from organism.sessions.records import SessionFilter
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.memory import MemorySessionStorage
from tests.contracts.session_samples import session_of


async def test_a_failing_medium_fails_every_call_until_it_is_healed() -> None:
    storage = MemorySessionStorage()
    storage.failing = "disk full"
    for call in (
        storage.open,
        lambda: storage.commit(SessionCommit()),
        lambda: storage.records(["a"]),
        lambda: storage.sessions(SessionFilter(), 1, 0),
        lambda: storage.events("a", 0, 1),
        lambda: storage.last_events("a", 1),
    ):
        with pytest.raises(StorageUnavailable, match="disk full"):
            await call()
    storage.failing = None
    commit = session_of("a", 2)
    await storage.commit(commit)
    assert storage.commits == 1
    assert storage.record_by_id == {"a": commit.records[0]}
    assert storage.frames == {"a": {1: commit.events[0], 2: commit.events[1]}}
