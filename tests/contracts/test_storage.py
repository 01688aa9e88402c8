from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from organism.errors import StorageError
from organism.messages import Message, new_id
from organism.storage.base import Commit, MessageFilter, Pending, Storage, ThreadFilter, Totals
from organism.threads import Thread, Todo
from tests.storage_samples import NOW_MS, letter_of, log_of, message, queue_of, thread

Opener = Callable[[], Awaitable[Storage]]


async def all_messages(storage: Storage) -> list[Message]:
    return (await storage.messages(MessageFilter(), limit=1000))[0]


async def seqs(storage: Storage, where: MessageFilter) -> list[int]:
    """The seqs of all matching messages; checks that the cheap page agrees and that the total does."""
    found, total = await storage.messages(where, limit=1000)
    assert await storage.message_page(where, limit=1000) == found
    assert total == len(found)
    return [each.seq for each in found]


async def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert await storage.totals() == Totals(last_seq=0, queued={}, active_threads=0, settings={})
    assert await storage.messages(MessageFilter(), limit=10) == ([], 0)
    assert await storage.threads(ThreadFilter(), limit=10, offset=0) == ([], 0)
    assert await storage.dead_letters(None, limit=10, offset=0) == ([], 0)
    assert await storage.queued("greeter", after_seq=0, limit=10) == []


async def test_an_empty_commit_changes_nothing(storage: Storage) -> None:
    await storage.commit(Commit())
    assert await storage.totals() == Totals(0, {}, 0, {})


async def test_messages_come_back_as_they_were(storage: Storage) -> None:
    written = [
        message(1),
        message(2, payload='{"text":"Grüße, 東京 🐙 \\u0000 \\ud83d \\" "}'.encode()),
        message(3, sender="grüßer", recipient="東京", payload_type="pkg.Größe"),
        message(4, payload=b"[1.50, null,  true]"),
        message(5)._replace(fate="dropped"),
    ]
    await storage.commit(log_of(*written))
    assert await all_messages(storage) == written


async def test_a_big_payload_comes_back_as_it_was(storage: Storage) -> None:
    big = message(1, payload=b'{"text":"' + b'\\"' * 2_000_000 + b'"}')
    await storage.commit(queue_of(big))
    assert await storage.queued("greeter", 0, 10) == [Pending(big, 0)]


async def test_thousands_of_rows_go_in_one_commit(storage: Storage) -> None:
    """More than fit in one statement, and not a round number."""
    written = [message(seq, recipient=f"agent-{seq % 3}") for seq in range(1, 3334)]
    await storage.commit(queue_of(*written))
    assert await seqs(storage, MessageFilter(after_seq=3000)) == list(range(3001, 3334))
    assert (await storage.totals()).queued == {"agent-0": 1111, "agent-1": 1111, "agent-2": 1111}
    await storage.commit(Commit(done=[(each.recipient, each.seq) for each in written[:-1]]))
    assert (await storage.totals()).queued == {"agent-0": 1}


async def test_seq_must_continue_the_log(storage: Storage) -> None:
    await storage.commit(log_of(message(1)))
    for wrong in ([message(1)], [message(3)], [message(2), message(4)], [message(3), message(2)]):
        with pytest.raises(StorageError, match="the log goes on with"):
            await storage.commit(log_of(*wrong))
    await storage.commit(log_of(message(2), message(3)))
    assert await seqs(storage, MessageFilter()) == [1, 2, 3]


async def test_a_commit_that_fails_leaves_nothing(storage: Storage) -> None:
    await storage.commit(queue_of(message(1, "a", 0)))
    same_slot_again = message(3, "a", 0)
    failing = queue_of(message(2, "b", 0), same_slot_again)
    failing.done, failing.threads, failing.settings = [("greeter", 1)], [thread("b")], {"paused": "[]"}
    with pytest.raises(StorageError):
        await storage.commit(failing)
    assert await storage.totals() == Totals(1, {"greeter": 1}, 0, {})
    assert await storage.threads_by_id(["b"]) == {}
    await storage.commit(queue_of(message(2, "b", 0)))
    assert (await storage.totals()).queued == {"greeter": 2}


async def test_a_commit_holds_threads_as_they_were_when_it_was_called(storage: Storage) -> None:
    record = thread("a", participants=["console"], states={"greeter": b"{}"})
    writing = asyncio.ensure_future(storage.commit(Commit(threads=[record])))
    await asyncio.sleep(0)  # the commit has begun
    record.participants.append("greeter")
    record.states["shouter"] = b"1"
    record.message_count = 9
    await writing
    assert await storage.threads_by_id(["a"]) == {"a": thread("a", participants=["console"], states={"greeter": b"{}"})}


async def test_what_was_read_may_be_changed(storage: Storage) -> None:
    await storage.commit(Commit(threads=[thread("a", participants=["console"])]))
    (await storage.threads_by_id(["a"]))["a"].participants.append("greeter")
    (await storage.threads(ThreadFilter(), 10, 0))[0][0].participants.append("greeter")
    assert (await storage.threads_by_id(["a"]))["a"].participants == ["console"]


# Queues


async def test_a_queue_is_read_in_log_order_and_by_pages(storage: Storage) -> None:
    written = [message(seq, recipient="ab"[seq % 2]) for seq in range(1, 11)]
    await storage.commit(queue_of(*written[:6]))
    await storage.commit(queue_of(*written[6:]))
    first = await storage.queued("a", after_seq=0, limit=3)
    rest = await storage.queued("a", after_seq=first[-1].message.seq, limit=10)
    assert [pending.message for pending in first + rest] == written[1::2]
    assert await storage.queued("nobody", 0, 10) == []


async def test_what_is_done_waits_no_longer_and_stays_in_the_log(storage: Storage) -> None:
    await storage.commit(queue_of(message(1), message(2)))
    await storage.commit(Commit(done=[("greeter", 1)]))
    assert [pending.message.seq for pending in await storage.queued("greeter", 0, 10)] == [2]
    assert await seqs(storage, MessageFilter()) == [1, 2]


async def test_what_is_queued_and_done_in_one_commit_does_not_wait(storage: Storage) -> None:
    commit = queue_of(message(1))
    commit.done = [("greeter", 1)]
    await storage.commit(commit)
    assert (await storage.totals()).queued == {}


async def test_done_for_what_does_not_wait_is_no_error(storage: Storage) -> None:
    await storage.commit(queue_of(message(1)))
    await storage.commit(Commit(done=[("greeter", 7), ("nobody", 1)]))
    assert (await storage.totals()).queued == {"greeter": 1}


async def test_deaths_are_counted_while_a_message_waits(storage: Storage) -> None:
    await storage.commit(queue_of(message(1), message(2)))
    await storage.commit(Commit(deaths=[("greeter", 2, 1), ("greeter", 9, 1)]))
    await storage.commit(Commit(deaths=[("greeter", 2, 2)]))
    assert [pending.deaths for pending in await storage.queued("greeter", 0, 10)] == [0, 2]


async def test_the_waiting_messages_of_a_thread_come_in_log_order(storage: Storage) -> None:
    await storage.commit(
        queue_of(
            message(1, "a", 0, recipient="x"),
            message(2, "b", 0, recipient="x"),
            message(3, "a", 1, recipient="y"),
            message(4, "a", 2, recipient="x"),
        )
    )
    await storage.commit(Commit(done=[("y", 3)], deaths=[("x", 4, 1)]))
    found = await storage.queued_in_thread("a")
    assert [(pending.message.seq, pending.deaths) for pending in found] == [(1, 0), (4, 1)]
    assert await storage.queued_in_thread("nothing") == []


# Fates


async def test_dropped_messages_say_so_in_the_log(storage: Storage) -> None:
    await storage.commit(queue_of(message(1), message(2)))
    await storage.commit(Commit(done=[("greeter", 1)], dropped=[1]))
    assert [each.fate for each in await all_messages(storage)] == ["dropped", None]
    assert await seqs(storage, MessageFilter(fate="dropped")) == [1]
    assert await seqs(storage, MessageFilter(fate="dead")) == []


async def test_a_dead_letter_can_be_found_and_requeued(storage: Storage) -> None:
    entry = message(1)
    await storage.commit(queue_of(entry, message(2)))
    await storage.commit(Commit(done=[("greeter", 1)], dead=[letter_of(entry, "wörking not", 3)]))
    dead = letter_of(entry._replace(fate="dead"), "wörking not", 3)
    assert await storage.dead_letter(entry.id) == dead
    assert await storage.dead_letters(None, 10, 0) == ([dead], 1)
    assert await seqs(storage, MessageFilter(fate="dead")) == [1]

    await storage.commit(Commit(queued=[("greeter", 1)], requeued=[1]))
    assert await storage.dead_letter(entry.id) is None
    assert await storage.dead_letters(None, 10, 0) == ([], 0)
    assert (await storage.queued("greeter", 0, 10))[0] == Pending(entry, 0)

    await storage.commit(Commit(done=[("greeter", 1)], dead=[letter_of(entry, "again")]))
    assert await storage.dead_letter(entry.id) == letter_of(entry._replace(fate="dead"), "again")


async def test_a_message_can_die_in_the_commit_that_logs_it(storage: Storage) -> None:
    entry = message(1, recipient="removed")
    await storage.commit(Commit(messages=[entry], dead=[letter_of(entry)]))
    assert await storage.dead_letter(entry.id) == letter_of(entry._replace(fate="dead"))


async def test_a_requeued_message_has_no_deaths(storage: Storage) -> None:
    entry = message(1)
    await storage.commit(queue_of(entry))
    await storage.commit(Commit(deaths=[("greeter", 1, 3)]))
    await storage.commit(Commit(done=[("greeter", 1)], dead=[letter_of(entry)]))
    await storage.commit(Commit(queued=[("greeter", 1)], requeued=[1]))
    assert await storage.queued("greeter", 0, 10) == [Pending(entry, 0)]


async def test_dead_letters_come_newest_first_by_pages_and_by_agent(storage: Storage) -> None:
    written = [message(seq, recipient="ab"[seq % 2]) for seq in range(1, 7)]
    letters = [letter_of(each, died_ms=NOW_MS + each.seq // 3) for each in written]
    await storage.commit(Commit(messages=written, dead=letters))
    page, total = await storage.dead_letters(None, limit=4, offset=1)
    assert ([letter.message.seq for letter in page], total) == ([5, 4, 3, 2], 6)
    page, total = await storage.dead_letters("a", limit=2, offset=0)
    assert ([letter.message.seq for letter in page], total) == ([6, 4], 3)


async def test_the_reason_of_a_dead_letter_may_be_any_text(storage: Storage) -> None:
    """What user code raises may hold what UTF-8 cannot; it must not stop the log."""
    entry = message(1)
    await storage.commit(Commit(messages=[entry], dead=[letter_of(entry, "file \udcff\x00 lost")]))
    found = await storage.dead_letter(entry.id)
    assert found is not None
    assert found.reason.startswith("file ")
    assert found.reason.endswith(" lost")


# Threads


async def test_threads_come_back_whole(storage: Storage) -> None:
    written = Thread(
        id="a",
        created_ms=NOW_MS,
        last_activity_ms=NOW_MS + 5,
        status="error",
        participants=["console", "grüßer"],
        message_count=7,
        pending=2,
        error="it raised: 'é'",
        states={"greeter": b'{"seen": [1,2],\n "name":"\xc3\xa9"}', "shouter": b"null"},
        todos=[
            Todo("t1", "greeter", "Answer", None, "wait for it"),
            Todo("t2", "greeter", "Answer", "shouter", "", raised=True),
        ],
        tokens={"greeter": 123_456_789_012},
        owner="user:grüßer@example.org",
    )
    await storage.commit(Commit(threads=[written, thread("b")]))
    assert await storage.threads_by_id(["b", "a", "missing"]) == {"a": written, "b": thread("b")}
    assert await storage.threads_by_id([]) == {}


async def test_a_thread_is_replaced_whole(storage: Storage) -> None:
    await storage.commit(
        Commit(threads=[thread("a", states={"greeter": b"1"}, error="bad", status="error", owner="key:ci")])
    )
    await storage.commit(Commit(threads=[thread("a", message_count=3)]))
    assert await storage.threads_by_id(["a"]) == {"a": thread("a", message_count=3)}
    assert (await storage.totals()).active_threads == 1


async def test_threads_come_newest_first_by_pages(storage: Storage) -> None:
    ids = [new_id() for _ in range(7)]
    await storage.commit(Commit(threads=[thread(id_) for id_ in ids[:4]]))
    await storage.commit(Commit(threads=[thread(id_) for id_ in ids[4:]]))
    page, total = await storage.threads(ThreadFilter(), limit=3, offset=2)
    assert ([each.id for each in page], total) == (sorted(ids, reverse=True)[2:5], 7)
    assert await storage.threads(ThreadFilter(), limit=3, offset=7) == ([], 7)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ThreadFilter(), ["c", "b", "a"]),
        (ThreadFilter(status="active"), ["c", "a"]),
        (ThreadFilter(status="killed"), []),
        (ThreadFilter(agent="greeter"), ["b", "a"]),
        (ThreadFilter(agent="greet"), []),
        (ThreadFilter(agents=("greet", "greeter")), ["b", "a"]),
        (ThreadFilter(agents=("nobody",)), []),
        (ThreadFilter(since_ms=NOW_MS + 10), ["c", "b"]),
        (ThreadFilter(status="active", agent="greeter", since_ms=NOW_MS), ["a"]),
    ],
)
async def test_threads_can_be_filtered(storage: Storage, where: ThreadFilter, expected: list[str]) -> None:
    await storage.commit(
        Commit(
            threads=[
                thread("a", participants=["console", "greeter"]),
                thread("b", participants=["greeter"], status="completed", last_activity_ms=NOW_MS + 10),
                thread("c", participants=["shouter"], last_activity_ms=NOW_MS + 20),
            ]
        )
    )
    page, total = await storage.threads(where, limit=10, offset=0)
    assert ([each.id for each in page], total) == (expected, len(expected))


# Reading the log


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (MessageFilter(), [1, 2, 3, 4, 5, 6]),
        (MessageFilter(agents=("greeter",)), [1, 2, 4]),
        (MessageFilter(agents=("console", "sink")), [1, 3, 4]),
        (MessageFilter(agents=("nobody",)), []),
        (MessageFilter(threads=("a",)), [1, 2, 3]),
        (MessageFilter(threads=("a", "c")), [1, 2, 3, 6]),
        (MessageFilter(payload_types=("Shout",)), [2, 5]),
        (MessageFilter(after_seq=4), [5, 6]),
        (MessageFilter(until_seq=2), [1, 2]),
        (MessageFilter(until_seq=0), []),
        (MessageFilter(since_ms=NOW_MS + 5), [5, 6]),
        (MessageFilter(since_ms=0), [1, 2, 3, 4, 5, 6]),
        (MessageFilter(fate="dropped"), [3, 5]),
        (MessageFilter(threads=("a", "b"), payload_types=("Shout", "Noise"), after_seq=2, until_seq=5), [3, 5]),
        (MessageFilter(agents=("greeter",), threads=("a",), fate="dropped"), []),
    ],
)
async def test_messages_can_be_filtered(storage: Storage, where: MessageFilter, expected: list[int]) -> None:
    await storage.commit(
        log_of(
            message(1, "a", 0, sender="console", recipient="greeter"),
            message(2, "a", 1, sender="greeter", recipient="shouter", payload_type="Shout"),
            message(3, "a", 2, sender="shouter", recipient="sink", payload_type="Noise"),
            message(4, "b", 0, sender="console", recipient="greeter"),
            message(5, "b", 1, sender="other", recipient="shouter", payload_type="Shout"),
            message(6, "c", 0, sender="other", recipient="other"),
        )
    )
    await storage.commit(Commit(dropped=[3, 5]))
    assert await seqs(storage, where) == expected


@pytest.mark.parametrize(
    "where", [MessageFilter(), MessageFilter(threads=("thread",)), MessageFilter(agents=("greeter",))]
)
async def test_messages_come_by_pages_in_both_orders(storage: Storage, where: MessageFilter) -> None:
    await storage.commit(log_of(*(message(seq, slot_index=100 - seq) for seq in range(1, 11))))
    page, total = await storage.messages(where, limit=3, offset=2)
    assert ([each.seq for each in page], total) == ([3, 4, 5], 10)
    page, total = await storage.messages(where, limit=3, offset=8, newest_first=True)
    assert ([each.seq for each in page], total) == ([2, 1], 10)
    assert [each.seq for each in await storage.message_page(where._replace(after_seq=4), limit=2)] == [5, 6]
    assert await storage.messages(where, limit=0) == ([], 10)


async def test_names_that_look_like_sql_or_json_do_no_harm(storage: Storage) -> None:
    name = """x' OR 1=1 -- "],{"]"""
    await storage.commit(queue_of(message(1, name, 0, recipient=name), message(2, "b", 0)))
    assert await seqs(storage, MessageFilter(agents=(name,))) == [1]
    assert await seqs(storage, MessageFilter(threads=(name,))) == [1]
    assert [pending.message.recipient for pending in await storage.queued(name, 0, 10)] == [name]


# Settings, reopening, concurrency


async def test_settings_are_set_and_removed(storage: Storage) -> None:
    await storage.commit(Commit(settings={"paused": '["greeter"]', "0": "zero", "gone": None}))
    await storage.commit(Commit(settings={"paused": "[]", "name": "hellö"}))
    assert (await storage.totals()).settings == {"paused": "[]", "name": "hellö", "0": "zero"}
    await storage.commit(Commit(settings={"paused": None, "name": None}))
    assert (await storage.totals()).settings == {"0": "zero"}


async def test_everything_is_there_when_it_is_opened_again(open_storage: Opener) -> None:
    storage = await open_storage()
    entry = message(1, "a", 0)
    await storage.commit(Commit(messages=[entry, message(2, "a", 1)], queued=[("greeter", 2)], dead=[letter_of(entry)]))
    await storage.commit(Commit(threads=[thread("a")], settings={"paused": "[]"}, deaths=[("greeter", 2, 1)]))
    before = await storage.totals(), await all_messages(storage), await storage.queued("greeter", 0, 10)

    storage = await open_storage()
    assert before == (await storage.totals(), await all_messages(storage), await storage.queued("greeter", 0, 10))
    assert before[0] == Totals(2, {"greeter": 1}, 1, {"paused": "[]"})
    await storage.commit(log_of(message(3, "a", 2)))


async def test_open_returns_the_totals_and_close_may_come_twice(storage: Storage) -> None:
    await storage.commit(queue_of(message(1)))
    await storage.close()
    await storage.close()
    assert await storage.open() == Totals(1, {"greeter": 1}, 0, {})


async def test_reads_see_whole_commits_while_it_writes(storage: Storage) -> None:
    async def write() -> None:
        for seq in range(1, 201, 2):
            await storage.commit(queue_of(message(seq), message(seq + 1)))

    async def read() -> None:
        seen = 0
        while seen < 200:
            found, total = await storage.messages(MessageFilter(), limit=1000)
            assert len(found) >= seen
            assert len(found) % 2 == 0
            assert total >= len(found)
            seen = len(found)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for _ in range(3):
            tasks.create_task(read())
