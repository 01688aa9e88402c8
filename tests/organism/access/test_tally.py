from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from organism.access import tally as tally_module
from organism.access.tally import Tally
from organism.errors import StorageUnavailable, TokensSpent
from organism.tasks import Tasks
from tests.organism.purse import Purse

ANN, BOB = "key:ann", "user:bob"


@pytest.fixture
def purse() -> Purse:
    return Purse()


@pytest.fixture
async def tally(purse: Purse) -> AsyncIterator[Tally]:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    yield Tally(purse, tasks)
    await tasks.close()
    assert failures == []


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a condition of the test
            await asyncio.sleep(0.001)


async def test_tokens_gather_and_are_counted_together(purse, tally, monkeypatch):
    monkeypatch.setattr(tally_module, "COUNT_INTERVAL_S", 0.01)
    for _ in range(100):
        tally.add(ANN, 3)
        tally.add(BOB, 1)
    assert purse.counts == 0
    await until(lambda: purse.used == {ANN: 300, BOB: 100})
    assert purse.counts == 2
    tally.add(ANN, 1)  # after a rest
    await until(lambda: purse.used[ANN] == 301)


async def test_nobody_and_who_came_without_authentication_are_not_counted(purse, tally):
    for owner, tokens in ((None, 5), ("local", 5), (ANN, 0)):
        tally.add(owner, tokens)
    await tally.settle()
    assert purse.counts == 0


async def test_whoever_is_checked_has_his_counted_first(purse, tally):
    purse.most = 10
    tally.add(ANN, 9)
    await tally.check(ANN)
    tally.add(ANN, 1)
    with pytest.raises(TokensSpent):
        await tally.check(ANN)
    tally.add(BOB, 5)
    with pytest.raises(TokensSpent):
        await tally.check(ANN)
    assert purse.used == {ANN: 10}


async def test_what_cannot_be_counted_is_kept_and_counted_once_it_can(purse, tally, monkeypatch, caplog):
    monkeypatch.setattr(tally_module, "COUNT_INTERVAL_S", 0.01)
    purse.down = StorageUnavailable("the disk is full")
    tally.add(ANN, 5)
    await until(lambda: "cannot be counted" in caplog.text)
    tally.add(ANN, 2)
    purse.down = None
    await until(lambda: purse.used == {ANN: 7})
    assert caplog.text.count("cannot be counted") == 1


async def test_tokens_used_while_others_are_counted_are_not_lost(purse, tally):
    tally.add(ANN, 5)
    counting = asyncio.create_task(tally.settle())
    await asyncio.sleep(0)  # it has begun, and waits for the purse
    tally.add(ANN, 2)
    await counting
    assert purse.used == {ANN: 5}
    await tally.settle()
    assert purse.used == {ANN: 7}


async def test_a_close_counts_the_rest_and_gives_up_where_it_cannot(purse, tally):
    tally.add(ANN, 5)
    await tally.close()
    assert purse.used == {ANN: 5}
    tally.add(ANN, 5)
    purse.down = StorageUnavailable("the disk is full")
    await tally.close()
    assert purse.used == {ANN: 5}
