from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from organism.errors import StorageError, StorageLocked
from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, SessionFilter, SessionRecord
from organism.storage.sessions.base import SessionCommit, SessionStorage
from tests.contracts.conftest import DURABLE_SESSION_MEDIA
from tests.contracts.session_media import SessionMedium
from tests.contracts.session_samples import NOW_MS, frame_of, frames_of, record_of, session_of

Opener = Callable[[], Awaitable[SessionStorage]]
EVERYTHING = SessionFilter()

only_durable = pytest.mark.parametrize("session_medium", DURABLE_SESSION_MEDIA, indirect=True)


async def ids(storage: SessionStorage, where: SessionFilter = EVERYTHING) -> list[str]:
    """The ids of all sessions that match; checks that the total agrees."""
    found, total = await storage.sessions(where, limit=1000, offset=0)
    assert total == len(found)
    return [record.id for record in found]


async def seqs(storage: SessionStorage, session_id: str = "session", after_seq: int = 0) -> list[int | None]:
    return [frame.seq for frame in await storage.events(session_id, after_seq, limit=10_000)]


async def test_a_new_storage_is_empty(session_storage: SessionStorage) -> None:
    assert await session_storage.sessions(EVERYTHING, limit=10, offset=0) == ([], 0)
    assert await session_storage.records(["session"]) == {}
    assert await session_storage.records([]) == {}
    assert await session_storage.events("session", 0, 10) == []
    assert await session_storage.last_events("session", 10) == []


async def test_an_empty_commit_changes_nothing(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit())
    assert await ids(session_storage) == []


# Records


async def test_records_come_back_as_they_were(session_storage: SessionStorage) -> None:
    written = [
        record_of("plain"),
        record_of(
            "full-1", name='Grüße, 東京 🐙 "\\ \n\t', tags=("a", "ö", "", 'x"y'), last_seq=2**40, is_running=True,
            model=ModelChoice(provider="local", id="qwen/3:8b"), input_tokens=2**40, output_tokens=7,
        ),
        record_of("no_tags", tags=(), name=""),
    ]  # fmt: skip
    await session_storage.commit(SessionCommit(records=written))
    assert await session_storage.records([each.id for each in written]) == {each.id: each for each in written}
    assert sorted((await session_storage.sessions(EVERYTHING, 10, 0))[0], key=lambda each: each.id) == sorted(
        written, key=lambda each: each.id
    )


async def test_a_record_is_replaced_whole(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit([record_of(name="old", tags=("old",), is_running=True)]))
    new = record_of(name="new", updated_at=NOW_MS + 1)
    await session_storage.commit(SessionCommit([new]))
    assert await session_storage.records(["session"]) == {"session": new}
    assert await ids(session_storage, SessionFilter(tag="old")) == []
    assert await ids(session_storage, SessionFilter(q="old")) == []
    assert await ids(session_storage, SessionFilter(is_running=True)) == []


async def test_the_last_of_two_records_of_one_session_counts(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit([record_of(name="first"), record_of(name="second")]))
    assert (await session_storage.records(["session"]))["session"].name == "second"
    assert await ids(session_storage) == ["session"]


async def test_only_records_that_exist_are_found(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit([record_of("a"), record_of("b")]))
    strange = ["../a", "a/../b", "", "\0", "a\n", "\udcff", "A", "ä" * 1000, "' OR 1=1 --"]
    assert list(await session_storage.records(["b", "missing", *strange])) == ["b"]
    for session_id in strange:
        assert await session_storage.events(session_id, 0, 10) == []
        assert await session_storage.last_events(session_id, 10) == []


# Lists


async def test_sessions_are_listed_newest_first_then_by_id(session_storage: SessionStorage) -> None:
    times = {"c": 5, "a": 7, "d": 5, "b": 9}
    await session_storage.commit(SessionCommit([record_of(id_, updated_at=time) for id_, time in times.items()]))
    assert await ids(session_storage) == ["b", "a", "c", "d"]
    await session_storage.commit(SessionCommit([record_of("d", updated_at=10)]))
    assert await ids(session_storage) == ["d", "b", "a", "c"]


async def test_sessions_are_listed_by_pages(session_storage: SessionStorage) -> None:
    records = [record_of(f"s{number:02}", updated_at=NOW_MS - number) for number in range(25)]
    await session_storage.commit(SessionCommit(records))
    assert await session_storage.sessions(EVERYTHING, limit=10, offset=0) == (records[:10], 25)
    assert await session_storage.sessions(EVERYTHING, limit=10, offset=20) == (records[20:], 25)
    assert await session_storage.sessions(EVERYTHING, limit=10, offset=30) == ([], 25)
    assert await session_storage.sessions(EVERYTHING, limit=0, offset=0) == ([], 25)


async def test_sessions_are_found_by_tag_name_and_state(session_storage: SessionStorage) -> None:
    records = [
        record_of("one", name="Größe der STRASSE", tags=("red", "blue"), updated_at=3),
        record_of("two", name="100% of_it", tags=("blue", "BLUE-ish"), is_running=True, updated_at=2),
        record_of("three", tags=None, updated_at=1),
    ]
    await session_storage.commit(SessionCommit(records))
    found = {
        SessionFilter(tag="blue"): ["one", "two"],
        SessionFilter(tag="BLUE"): [],
        SessionFilter(tag="blu"): [],
        SessionFilter(q="BLUE"): ["one", "two"],
        SessionFilter(q="blue-I"): ["two"],
        SessionFilter(q="grÖSSE"): ["one"],
        SessionFilter(q="straße"): ["one"],
        SessionFilter(q="THRE"): ["three"],
        SessionFilter(q="%"): ["two"],
        SessionFilter(q="f_i"): ["two"],
        SessionFilter(q="e_d"): [],
        SessionFilter(q="\\"): [],
        SessionFilter(q=""): ["one", "two", "three"],
        SessionFilter(q="'; DROP TABLE sessions"): [],
        SessionFilter(is_running=True): ["two"],
        SessionFilter(is_running=False): ["one", "three"],
        SessionFilter(tag="blue", q="one", is_running=False): ["one"],
        SessionFilter(tag="blue", q="one", is_running=True): [],
    }
    assert {where: await ids(session_storage, where) for where in found} == found


async def test_sessions_are_found_by_owner_and_id(session_storage: SessionStorage) -> None:
    owners = {"one": "key:ann", "two": "key:bob", "three": "key:ann", "four": None, "five": "user:a\0n"}
    records = [record_of(id_, owner=owner, updated_at=NOW_MS - at) for at, (id_, owner) in enumerate(owners.items())]
    await session_storage.commit(SessionCommit(records))
    strange = ("../one", "", "\0", "\udcff", "' OR 1=1 --")
    found = {
        SessionFilter(owner="key:ann"): ["one", "three"],
        SessionFilter(owner="key:Ann"): [],
        SessionFilter(owner="key:a"): [],
        SessionFilter(owner=""): [],
        SessionFilter(owner="user:an"): [],
        SessionFilter(owner="user:a\0n"): ["five"],
        SessionFilter(ids=()): [],
        SessionFilter(ids=("four", "missing", "one", "one", *strange)): ["one", "four"],
        SessionFilter(owner="key:ann", ids=("three", "two")): ["three"],
        SessionFilter(owner="key:ann", ids=("two",)): [],
        SessionFilter(owner="key:ann", q="t"): ["three"],
    }
    assert {where: await ids(session_storage, where) for where in found} == found
    assert (await session_storage.records(["one"]))["one"].owner == "key:ann"
    page, total = await session_storage.sessions(SessionFilter(owner="key:ann"), limit=1, offset=1)
    assert ([record.id for record in page], total) == (["three"], 2)


async def test_a_session_changes_hands_with_its_record(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit([record_of(owner="key:ann")]))
    await session_storage.commit(SessionCommit([record_of(owner="key:bob")]))
    assert await ids(session_storage, SessionFilter(owner="key:ann")) == []
    assert await ids(session_storage, SessionFilter(owner="key:bob")) == ["session"]


# Events


async def test_events_come_back_byte_for_byte(session_storage: SessionStorage) -> None:
    bodies = [
        b'{"type":"user_message","content":"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x90\x99 \\" \\\\ \\n \\ud83d\\u0001"}',
        b'{ "odd" :  [1.50, 1e400, null , "\\/"], "a":1, "a":2 }',
        b'{"type":"tool_call","more":true,"event":"\\"event\\":"}',
        b'"{\\"record\\":{}}"',
        b"0",
        b"{}",
    ]
    written = [Frame("session", seq, "system", body) for seq, body in enumerate(bodies, 1)]
    written.append(Frame("session", len(bodies) + 1, 'odd "type" 東京', b"{}"))
    await session_storage.commit(SessionCommit([record_of()], written))
    assert await session_storage.events("session", 0, 100) == written
    assert await session_storage.last_events("session", 100) == written


async def test_a_big_event_comes_back_as_it_was(session_storage: SessionStorage) -> None:
    big = Frame("session", 1, "tool_result", b'{"content":"' + b'\\"' * 2_000_000 + b'"}')
    await session_storage.commit(SessionCommit([record_of()], [big]))
    assert await session_storage.events("session", 0, 10) == [big]


async def test_thousands_of_events_go_in_one_commit(session_storage: SessionStorage) -> None:
    """More than fit in one statement, and not a round number."""
    written = frames_of("session", 1, 3333)
    await session_storage.commit(SessionCommit([record_of()], written))
    assert await session_storage.events("session", 0, 5000) == written
    assert await session_storage.last_events("session", 3) == written[-3:]


async def test_events_are_read_by_pages_and_from_the_end(session_storage: SessionStorage) -> None:
    for first in (1, 4, 7):
        await session_storage.commit(SessionCommit([record_of()], frames_of("session", first, first + 2)))
    assert await seqs(session_storage) == list(range(1, 10))
    assert [each.seq for each in await session_storage.events("session", 2, limit=3)] == [3, 4, 5]
    assert await seqs(session_storage, after_seq=8) == [9]
    assert await seqs(session_storage, after_seq=9) == []
    assert await seqs(session_storage, after_seq=2**60) == []
    assert [each.seq for each in await session_storage.last_events("session", 4)] == [6, 7, 8, 9]
    assert [each.seq for each in await session_storage.last_events("session", 40)] == list(range(1, 10))
    assert await session_storage.last_events("session", 0) == []
    assert await session_storage.events("session", 0, 0) == []


async def test_sessions_do_not_see_each_other_s_events(session_storage: SessionStorage) -> None:
    both = SessionCommit([record_of("a"), record_of("b")], [*frames_of("a", 1, 3), *frames_of("b", 1, 2)])
    await session_storage.commit(both)
    mixed = [frame_of(4, "a"), frame_of(3, "b"), frame_of(5, "a"), frame_of(4, "b")]
    await session_storage.commit(SessionCommit(events=mixed))
    assert await seqs(session_storage, "a") == [1, 2, 3, 4, 5]
    assert await seqs(session_storage, "b") == [1, 2, 3, 4]


async def test_events_may_come_without_a_record(session_storage: SessionStorage) -> None:
    await session_storage.commit(SessionCommit([record_of(name="kept")]))
    await session_storage.commit(SessionCommit(events=[frame_of(1)]))
    assert await seqs(session_storage) == [1]
    assert (await session_storage.records(["session"]))["session"].name == "kept"


async def test_a_commit_can_be_repeated(session_storage: SessionStorage) -> None:
    commit = session_of("session", 3)
    await session_storage.commit(commit)
    await session_storage.commit(commit)
    assert await session_storage.events("session", 0, 10) == commit.events
    longer = SessionCommit(commit.records, [*commit.events, frame_of(4)])
    await session_storage.commit(longer)
    assert await session_storage.events("session", 0, 10) == longer.events
    assert await ids(session_storage) == ["session"]


async def test_an_event_that_is_stored_stays_as_it_is(session_storage: SessionStorage) -> None:
    first = frame_of(1, text="first")
    await session_storage.commit(SessionCommit([record_of()], [first]))
    await session_storage.commit(SessionCommit(events=[frame_of(1, text="other")]))
    assert await session_storage.events("session", 0, 10) == [first]


# Deletion


async def test_a_deleted_session_goes_with_all_its_events(session_storage: SessionStorage) -> None:
    for session_id in ("a", "b", "c"):
        await session_storage.commit(session_of(session_id, 5))
    await session_storage.commit(SessionCommit(deleted=["a", "c", "missing"]))
    assert await ids(session_storage) == ["b"]
    assert await session_storage.records(["a", "c"]) == {}
    assert [await seqs(session_storage, each) for each in "abc"] == [[], [1, 2, 3, 4, 5], []]
    await session_storage.commit(SessionCommit(deleted=["a"]))


async def test_a_session_written_and_deleted_in_one_commit_is_gone(session_storage: SessionStorage) -> None:
    await session_storage.commit(session_of("a", 1))
    commit = session_of("a", 2)
    commit.deleted = ["a", "a"]
    await session_storage.commit(commit)
    assert await ids(session_storage) == []
    assert await seqs(session_storage, "a") == []


async def test_an_id_can_be_used_again(session_storage: SessionStorage) -> None:
    await session_storage.commit(session_of("a", 5))
    await session_storage.commit(SessionCommit(deleted=["a"]))
    again = session_of("a", 2, name="again")
    await session_storage.commit(again)
    assert await session_storage.events("a", 0, 10) == again.events
    assert await session_storage.records(["a"]) == {"a": again.records[0]}


# What is refused


@pytest.mark.parametrize(
    "events",
    [
        [frame_of(2)._replace(seq=None)],
        [frame_of(3), frame_of(2)],
        [frame_of(2), frame_of(2)],
        [frame_of(0)],
        [frame_of(2)._replace(body=b'{"a":\n1}')],
        [frame_of(2, "../session")],
        [frame_of(2, "")],
    ],
    ids=["a delta", "backwards", "twice", "no seq 0", "two lines", "a path", "no id"],
)
async def test_a_commit_that_is_refused_leaves_nothing(session_storage: SessionStorage, events: list[Frame]) -> None:
    await session_storage.commit(session_of("session", 1))
    await session_storage.commit(session_of("kept", 1))
    failing = session_of("other", 1)
    failing.events += events
    failing.records.append(record_of(name="changed"))
    failing.deleted = ["kept"]
    with pytest.raises(StorageError):
        await session_storage.commit(failing)
    assert sorted(await ids(session_storage)) == ["kept", "session"]
    assert await seqs(session_storage, "other") == []
    assert await seqs(session_storage) == await seqs(session_storage, "kept") == [1]
    assert (await session_storage.records(["session"]))["session"].name is None
    await session_storage.commit(session_of("other", 2))
    assert await seqs(session_storage, "other") == [1, 2]


@pytest.mark.parametrize("session_id", ["..", "a/b", "/etc/passwd", "a\\b", "", "a" * 101, "ä", "a\n", "a b", "."])
async def test_an_id_that_could_be_a_path_is_refused(session_storage: SessionStorage, session_id: str) -> None:
    for commit in (SessionCommit([record_of(session_id)]), SessionCommit(deleted=[session_id])):
        with pytest.raises(StorageError, match="cannot have the id"):
            await session_storage.commit(commit)


# Several things at once


async def test_it_can_be_read_while_it_commits(session_storage: SessionStorage) -> None:
    """A reader sees what was committed before it asked, and never a gap."""
    committed = 0

    async def commit() -> None:
        nonlocal committed
        for first in range(1, 150, 3):
            record = record_of(last_seq=first + 2, updated_at=NOW_MS + first)
            await session_storage.commit(SessionCommit([record], frames_of("session", first, first + 2)))
            committed = first + 2

    async def read() -> None:
        while committed < 150:
            before = committed
            found = await seqs(session_storage)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= before
            last = await session_storage.last_events("session", 2)
            assert len(last) == min(2, len(last))
            known = await session_storage.records(["session"])
            assert before == 0 or known["session"].last_seq >= before
            await asyncio.sleep(0)

    await asyncio.gather(commit(), read(), read())


async def test_a_cancelled_commit_does_not_confuse_the_next(session_storage: SessionStorage) -> None:
    commit = session_of("session", 3)
    committing = asyncio.create_task(session_storage.commit(commit))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.wait([committing])
    await session_storage.commit(SessionCommit(commit.records, [*commit.events, frame_of(4)]))
    assert await seqs(session_storage) == [1, 2, 3, 4]


# Closing and opening


async def test_everything_is_there_when_it_is_opened_again(open_session_storage: Opener) -> None:
    storage = await open_session_storage()
    await storage.commit(session_of("gone", 3))
    commits = [session_of(f"s{number}", number, name=f"name {number}", tags=("t",)) for number in range(5)]
    for commit in commits:
        await storage.commit(commit)
    await storage.commit(SessionCommit(deleted=["gone"]))
    await storage.commit(SessionCommit([record_of("s3", last_seq=5, updated_at=NOW_MS + 9)], frames_of("s3", 4, 5)))
    before = await pictured(storage)
    storage = await open_session_storage()
    assert await pictured(storage) == before
    await storage.commit(SessionCommit(events=[frame_of(6, "s3")]))
    assert await seqs(storage, "s3") == [1, 2, 3, 4, 5, 6]
    assert await ids(storage) == ["s3", "s0", "s1", "s2", "s4"]


async def pictured(storage: SessionStorage) -> tuple[list[SessionRecord], list[list[Frame]]]:
    found, _ = await storage.sessions(EVERYTHING, 100, 0)
    return found, [await storage.events(record.id, 0, 100) for record in found]


async def test_closing_twice_is_no_error(session_storage: SessionStorage) -> None:
    await session_storage.close()
    await session_storage.close()


@only_durable
async def test_close_finishes_what_is_being_written(open_session_storage: Opener) -> None:
    storage = await open_session_storage()
    committing = asyncio.create_task(storage.commit(session_of("session", 1000)))
    await asyncio.sleep(0)
    storage = await open_session_storage()
    await committing
    assert len(await seqs(storage)) == 1000


@only_durable
async def test_a_storage_that_is_open_cannot_be_opened_again(
    session_storage: SessionStorage, session_medium: SessionMedium
) -> None:
    second = session_medium.storage()
    with pytest.raises(StorageLocked):
        await second.open()
    await second.close()
    await session_storage.commit(session_of("session", 1))  # the first one is not disturbed


@only_durable
async def test_a_closed_storage_says_so(session_storage: SessionStorage) -> None:
    await session_storage.close()
    with pytest.raises(StorageError, match="is not open"):
        await session_storage.commit(session_of("session", 1))


# Damage


@only_durable
@pytest.mark.parametrize("damaged", [1, 3, 5])
async def test_a_damaged_event_costs_just_itself(
    open_session_storage: Opener, session_medium: SessionMedium, caplog: pytest.LogCaptureFixture, damaged: int
) -> None:
    storage = await open_session_storage()
    await storage.commit(session_of("session", 5))
    await storage.commit(session_of("other", 2))
    await storage.close()
    session_medium.damage_event("session", damaged)
    with caplog.at_level(logging.WARNING):
        storage = await open_session_storage()
        readable = [seq for seq in range(1, 6) if seq != damaged]
        assert await seqs(storage) == readable
    assert "cannot be read" in caplog.text
    page = await storage.events("session", 0, limit=4)
    assert [each.seq for each in page] == readable  # a short page would mean that there are no more
    assert {each.seq for each in await storage.last_events("session", 5)} >= set(readable)
    assert await seqs(storage, "other") == [1, 2]
    await storage.commit(SessionCommit([record_of(last_seq=6)], [frame_of(6)]))
    assert await seqs(storage) == [*readable, 6]


@only_durable
async def test_a_damaged_record_costs_just_itself(
    open_session_storage: Opener, session_medium: SessionMedium, caplog: pytest.LogCaptureFixture
) -> None:
    storage = await open_session_storage()
    for session_id in ("a", "b", "c"):
        await storage.commit(session_of(session_id, 1, tags=("tag",), name="name"))
    await storage.close()
    session_medium.damage_record("b")
    with caplog.at_level(logging.WARNING):
        storage = await open_session_storage()
        for where in (EVERYTHING, SessionFilter(tag="tag"), SessionFilter(q="name")):
            assert [each.id for each in (await storage.sessions(where, 10, 0))[0]] == ["a", "c"]
        assert list(await storage.records(["b", "c"])) == ["c"]
    assert "cannot be read" in caplog.text
    await storage.commit(SessionCommit([record_of("b", name="mended")]))
    assert (await storage.records(["b"]))["b"].name == "mended"
