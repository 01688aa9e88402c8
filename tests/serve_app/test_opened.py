from __future__ import annotations

import asyncio

import pytest

from serve_app.opened import Opened


class Door:
    def __init__(self) -> None:
        self.opened = 0
        self.locked = False

    async def open(self) -> int:
        await asyncio.sleep(0)
        if self.locked:
            raise RuntimeError("locked")
        self.opened += 1
        return self.opened


async def test_all_who_ask_get_the_one_that_was_opened():
    door = Door()
    opened = Opened(door.open)
    assert door.opened == 0
    assert await asyncio.gather(opened.get(), opened.get()) == [1, 1]
    assert await opened.get() == 1


async def test_one_that_could_not_be_opened_is_tried_again():
    door = Door()
    door.locked = True
    opened = Opened(door.open)
    with pytest.raises(RuntimeError, match="locked"):
        await opened.get()
    door.locked = False
    assert await opened.get() == 1


async def test_who_leaves_does_not_take_it_from_the_others():
    opened = Opened(Door().open)
    leaving = asyncio.create_task(opened.get())
    waiting = asyncio.create_task(opened.get())
    await asyncio.sleep(0)
    leaving.cancel()
    assert await waiting == 1
