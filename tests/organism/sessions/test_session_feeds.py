"""Who follows sessions of a cell gets everything once, in order, or is told that it did not."""

from __future__ import annotations

import asyncio

import pytest

from organism.sessions import feeds as feeds_module
from organism.sessions.events import Frame
from organism.sessions.feeds import Feeds
from organism.sessions.wire import SessionStatus


def frame(number: int, session_id: str = "s") -> Frame:
    return Frame(session_id, number, "system", b"{}")


@pytest.fixture
def feeds() -> Feeds:
    return Feeds()


async def test_a_poll_brings_all_that_has_gathered(feeds):
    feeds.follow("me", "s")
    feeds.publish("s", [frame(1)])
    feeds.publish("s", [frame(2)])
    feeds.publish("other", [frame(1, "other")])
    feeds.publish_status("s", SessionStatus(True, "executing"))
    feeds.publish_status("s", SessionStatus(False, "idle"))
    batch = await feeds.poll("me", 0, 1)
    assert [each.seq for each in batch.frames] == [1, 2]
    assert batch.statuses == [("s", SessionStatus(False, "idle"))]


async def test_a_waiting_poll_wakes_at_once(feeds):
    feeds.follow("me", "s")
    poll = asyncio.create_task(feeds.poll("me", 0, 60))
    await asyncio.sleep(0)
    feeds.publish("s", [frame(1)])
    assert (await asyncio.wait_for(poll, 1)).frames == [frame(1)]


async def test_a_batch_is_kept_until_it_is_acknowledged(feeds):
    feeds.follow("me", "s")
    feeds.publish("s", [frame(1)])
    batch = await feeds.poll("me", 0, 1)
    feeds.publish("s", [frame(2)])
    assert await feeds.poll("me", 0, 1) == batch
    assert (await feeds.poll("me", batch.cursor, 1)).frames == [frame(2)]


async def test_two_polls_of_one_follower_get_the_same_batch(feeds):
    feeds.follow("me", "s")
    polls = [asyncio.create_task(feeds.poll("me", 0, 60)) for _ in range(2)]
    await asyncio.sleep(0)
    feeds.publish("s", [frame(1)])
    first, second = await asyncio.wait_for(asyncio.gather(*polls), 1)
    assert first == second
    assert first.frames == [frame(1)]


async def test_a_poll_without_news_is_empty_after_its_time(feeds):
    feeds.follow("me", "s")
    assert await feeds.poll("me", 0, 0.01) == (0, [], [], [])


async def test_a_follower_that_is_too_slow_loses_its_sessions_and_may_follow_again(feeds, monkeypatch):
    monkeypatch.setattr(feeds_module, "MAX_FRAMES", 10)
    feeds.follow("me", "s")
    feeds.publish("s", [frame(number) for number in range(11)])
    batch = await feeds.poll("me", 0, 1)
    assert (batch.frames, batch.lost) == ([], ["s"])
    assert not feeds.is_followed("s")
    feeds.follow("me", "s")
    feeds.publish("s", [frame(12)])
    assert (await feeds.poll("me", batch.cursor, 1)).frames == [frame(12)]


async def test_a_session_that_leaves_is_lost_to_those_who_follow_it(feeds):
    feeds.follow("me", "s")
    feeds.publish("s", [frame(1)])
    feeds.lose("s")
    batch = await feeds.poll("me", 0, 1)
    assert (batch.frames, batch.lost) == ([frame(1)], ["s"])


async def test_a_follower_that_is_silent_for_long_is_forgotten(feeds, monkeypatch):
    feeds.follow("me", "s")
    monkeypatch.setattr(feeds_module, "FORGOTTEN_AFTER_S", -1.0)
    feeds.forget_silent()
    assert not feeds.is_followed("s")
    assert (await feeds.poll("me", 7, 1)).cursor == 0
