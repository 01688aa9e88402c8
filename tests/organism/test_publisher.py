"""The bounded memory of events."""

from __future__ import annotations

import asyncio

import pytest

from organism import publisher as publisher_module
from organism.messages import Message
from organism.publisher import Publisher
from organism.ref import Event


def event(number: int, payload: bytes = b"{}") -> Event:
    return Event("message", number, Message(number, "id", "t", number, "a", "b", "P", payload, 0, ""))


@pytest.fixture
async def publisher() -> Publisher:
    """One that somebody follows."""
    followed = Publisher()
    followed.watch()
    return followed


def seqs(publisher: Publisher, cursor: int) -> tuple[list[int | None], bool]:
    events, missed = publisher.since(publisher.incarnation, cursor)
    return [each.seq for each in events], missed


async def test_a_follower_gets_all_events_behind_its_cursor_in_order(publisher):
    publisher.publish([event(1), event(2)])
    publisher.publish([event(3)])
    assert seqs(publisher, 0) == ([1, 2, 3], False)
    assert seqs(publisher, 1) == ([2, 3], False)
    assert seqs(publisher, 2) == ([3], False)
    assert seqs(publisher, 3) == ([], False)


async def test_nothing_is_published_by_nothing(publisher):
    publisher.publish([])
    assert publisher.cursor == 0


async def test_another_incarnation_or_a_cursor_ahead_has_missed_events(publisher):
    publisher.publish([event(1)])
    assert publisher.since("another", 0) == ([], True)
    assert publisher.since(publisher.incarnation, 2) == ([], True)


async def test_events_beyond_the_limit_are_forgotten_and_missed(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "MAX_EVENTS", 3)
    for number in range(1, 6):
        publisher.publish([event(number)])
    assert seqs(publisher, 1) == ([], True)
    assert seqs(publisher, 2) == ([3, 4, 5], False)


async def test_large_payloads_are_forgotten_earlier(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "MAX_BYTES", 100)
    for number in range(1, 4):
        publisher.publish([event(number, b"x" * 60)])
    assert seqs(publisher, 1) == ([], True)
    assert seqs(publisher, 2) == ([3], False)


async def test_a_batch_beyond_the_limit_is_missed_as_a_whole(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "MAX_EVENTS", 2)
    publisher.publish([event(1), event(2), event(3)])
    assert seqs(publisher, 0) == ([], True)
    publisher.publish([event(4)])
    assert seqs(publisher, 3) == ([4], False)


async def test_while_nobody_follows_events_are_counted_and_not_kept():
    publisher = Publisher()
    publisher.publish([event(1)])
    assert publisher.cursor == 1
    assert seqs(publisher, 0) == ([], True)
    assert seqs(publisher, 1) == ([], False)


async def test_a_poll_waits_for_the_next_event(publisher):
    waiting = asyncio.create_task(publisher.wait(0, timeout_s=10))
    await asyncio.sleep(0)
    assert not waiting.done()
    publisher.publish([event(1)])
    await waiting
    assert seqs(publisher, 0) == ([1], False)


async def test_a_poll_ends_empty_after_its_timeout(publisher):
    await publisher.wait(0, timeout_s=0.01)
    assert seqs(publisher, 0) == ([], False)


async def test_a_poll_with_a_cursor_that_is_not_ours_is_answered_at_once(publisher):
    publisher.publish([event(1)])
    async with asyncio.timeout(5):
        await publisher.wait(0, timeout_s=60)
        await publisher.wait(7, timeout_s=60)


async def test_each_incarnation_has_its_own_name():
    assert Publisher().incarnation != Publisher().incarnation
