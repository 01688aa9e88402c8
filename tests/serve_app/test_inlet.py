import asyncio

import pytest
from conftest import until
from fake_organism import FakeOrganism

from organism.errors import OrganismUnreachable
from organism.messages import Inject
from serve_app.errors import ReplicaBusy, ReplicaClosing
from serve_app.inlet import MAX_BATCH, Inlet

DAN = Inject("greeter", "Greeting", b'{"name":"Dan"}')


async def test_injects_that_arrive_during_a_call_go_with_the_next(organism):
    organism.gate.clear()
    async with Inlet(organism) as inlet:
        first = inlet.submit(DAN)
        await until(lambda: organism.submitted)
        rest = [inlet.submit(DAN) for _ in range(10)]
        organism.gate.set()
        assert [answer.seq for answer in await asyncio.gather(first, *rest)] == list(range(1, 12))
    assert [len(batch) for batch in organism.submitted] == [1, 10]


async def test_after_a_shared_call_the_next_one_waits_for_company(organism):
    async with Inlet(organism) as inlet:
        await asyncio.gather(inlet.submit(DAN), inlet.submit(DAN))
        first = inlet.submit(DAN)
        await asyncio.sleep(0)
        await asyncio.gather(first, inlet.submit(DAN))
        await inlet.submit(DAN)
        await inlet.submit(DAN)
    assert [len(batch) for batch in organism.submitted] == [2, 2, 1, 1]


async def test_a_batch_is_bounded(organism):
    async with Inlet(organism) as inlet:
        await asyncio.gather(*(inlet.submit(DAN) for _ in range(MAX_BATCH + 1)))
    assert [len(batch) for batch in organism.submitted] == [MAX_BATCH, 1]


async def test_more_than_can_wait_are_refused(organism):
    organism.gate.clear()
    async with Inlet(organism, max_waiting=1) as inlet:
        first = inlet.submit(DAN)
        with pytest.raises(ReplicaBusy):
            inlet.submit(DAN)
        organism.gate.set()
        await first


async def test_a_cancelled_inject_that_was_not_sent_is_withdrawn(organism):
    organism.gate.clear()
    async with Inlet(organism) as inlet:
        first = inlet.submit(DAN)
        await until(lambda: organism.submitted)
        second, third = inlet.submit(DAN), inlet.submit(DAN)
        second.cancel()
        first.cancel()  # under way: it is stored, and nobody hears of it
        organism.gate.set()
        assert (await third).seq == 2


async def test_every_waiting_request_gets_the_failure_of_the_call(organism):
    organism.down = True
    async with Inlet(organism) as inlet:
        answers = await asyncio.gather(inlet.submit(DAN), inlet.submit(DAN), return_exceptions=True)
        assert [type(answer) for answer in answers] == [OrganismUnreachable] * 2
        organism.down = False
        assert (await inlet.submit(DAN)).seq == 1


async def test_a_call_that_is_not_answered_is_given_up(organism):
    organism.gate.clear()
    async with Inlet(organism, timeout_s=0.01) as inlet:
        with pytest.raises(OrganismUnreachable):
            await inlet.submit(DAN)


async def test_what_waits_when_the_inlet_closes_is_answered():
    organism = FakeOrganism()
    organism.gate.clear()
    async with Inlet(organism) as inlet:
        first = inlet.submit(DAN)
        await until(lambda: organism.submitted)
        second = inlet.submit(DAN)
    for future in (first, second):
        with pytest.raises(ReplicaClosing):
            await future
