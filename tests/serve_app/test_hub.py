import asyncio

from conftest import until

from serve_app.frames import Frame, agent_frame
from serve_app.hub import Hub, places_of_unknown


class Listener:
    """A subscriber that keeps what it is offered."""

    def __init__(self) -> None:
        self.heard: list[Frame] = []
        self.ticks = 0

    def offer(self, frames: list[Frame], seq: int) -> None:
        self.heard += frames

    def start_over(self, connected: Frame) -> None:
        self.heard = [connected]

    def tick(self, now_s: float) -> None:
        self.ticks += 1


def states(*values: str) -> list[Frame]:
    return [agent_frame({"name": "greeter", "state": value}) for value in values]


async def test_states_are_published_at_most_once_per_interval_and_the_last_one_always():
    listener = Listener()
    async with Hub() as hub:
        hub.add(listener)
        for number in range(100):
            hub.publish_states(states(f"{number}"), 0.05)
            if number % 10 == 0:
                await asyncio.sleep(0.005)
        await until(lambda: '"99"' in listener.heard[-1].text)
    assert '"0"' in listener.heard[0].text
    assert len(listener.heard) < 20


async def test_without_an_interval_every_batch_is_published():
    listener = Listener()
    async with Hub() as hub:
        hub.add(listener)
        for value in ("idle", "processing", "idle"):
            hub.publish_states(states(value), 0)
    assert len(listener.heard) == 3


async def test_a_client_that_left_hears_nothing():
    listener = Listener()
    async with Hub() as hub:
        hub.add(listener)
        hub.remove(listener)
        hub.publish(states("idle"))
    assert listener.heard == []


async def test_clients_are_ticked(monkeypatch):
    monkeypatch.setattr("serve_app.hub.TICK_S", 0.001)
    listener = Listener()
    async with Hub() as hub:
        hub.add(listener)
        await until(lambda: listener.ticks > 2)


def test_a_quarter_of_the_places_and_no_more_than_a_thousand_are_for_the_unknown():
    assert [places_of_unknown(most) for most in (1, 8, 4000, 40_000)] == [1, 2, 1000, 1000]
