"""Who pays for the tokens that agents use in threads, in an organism that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from handler_gates import gates
from organism_folder import Running, listener, running, until, write_organism

from organism import pump as pump_module
from organism.errors import OrganismError
from organism.messages import Accepted, Inject
from organism.storage.memory import MemoryStorage
from organism.storage.sqlite import SqliteStorage
from tests.organism.purse import Purse, purse_of_organisms

ANN, BOB = "key:ann", "user:bob"

HANDLERS = """
async def asks(payload: Ping, context: Context):
    context.count_tokens(5)
    await gates.at("asks")

async def passes_on(payload: Ping, context: Context):
    context.count_tokens(3)
    return Send(Ping(), to="asks")

async def fails(payload: Ping, context: Context):
    context.count_tokens(2)
    if not payload.text:
        raise ValueError("after the answer")

async def quiet(payload: Ping, context: Context):
    pass
"""


@pytest.fixture
def purse(monkeypatch: pytest.MonkeyPatch) -> Purse:
    monkeypatch.setattr(pump_module, "STORAGE_RETRY_S", 0.02)
    return purse_of_organisms(monkeypatch)


def organism(folder: Path) -> Path:
    retry = {"attempts": 3, "delay_s": 0.001}
    listeners = [listener(name) for name in ("asks", "passes-on", "quiet")]
    return write_organism(folder / "organism", HANDLERS, *listeners, listener("fails", retry=retry))


async def inject(it: Running, agent: str, owner: str | None, thread_id: str | None = None) -> Accepted:
    [accepted] = await it.runtime.submit([Inject(agent, "Ping", b"{}", thread_id, owner)])
    assert not isinstance(accepted, OrganismError)
    return accepted


async def test_tokens_are_paid_by_who_injected_also_what_agents_send_on_and_what_fails(tmp_path, purse):
    async with running(organism(tmp_path)) as it:
        gates.open("asks")
        await inject(it, "passes-on", ANN)
        await inject(it, "fails", BOB)
        await inject(it, "asks", None)
        await inject(it, "quiet", "key:other")
        await it.idle()
        assert purse.used == {}  # they gather first
    assert purse.used == {ANN: 8, BOB: 6}
    assert purse.counts == 2


async def test_a_thread_is_paid_for_by_who_injected_into_it_last(tmp_path, purse):
    async with running(organism(tmp_path)) as it:
        gates.open("asks")
        first = await inject(it, "asks", ANN)
        await it.idle()
        await inject(it, "asks", BOB, first.thread_id)
        await it.idle()
        thread = await it.thread(first)
        assert thread.owner == BOB
        assert "owner" not in thread.to_api()
    assert purse.used == {ANN: 5, BOB: 5}


async def test_who_requeues_a_dead_letter_pays_for_it(tmp_path, purse):
    async with running(organism(tmp_path)) as it:
        first = await inject(it, "fails", ANN)
        await it.idle()
        await it.runtime.requeue(first.message_id, BOB)
        await it.idle()
        assert (await it.thread(first)).owner == BOB
    assert purse.used == {ANN: 6, BOB: 6}


async def test_a_commit_that_fails_counts_nothing_and_counts_once_when_it_succeeds(tmp_path, purse):
    storage = MemoryStorage()
    async with running(organism(tmp_path), storage) as it:
        await inject(it, "asks", ANN)
        await until(lambda: gates.running["asks"])
        commits = storage.commits
        storage.failing = "disk full"
        gates.open("asks")
        await until(lambda: not gates.running["asks"])
        [refused] = await it.runtime.submit([Inject("quiet", "Ping", b"{}", None, BOB)])
        assert isinstance(refused, OrganismError)
        await it.runtime.pump.tally.settle()
        assert (storage.commits, purse.used) == (commits, {})
        storage.failing = None
        await it.idle()
    assert purse.used == {ANN: 5}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_who_pays_is_known_after_a_restart(tmp_path, purse, kind):
    storage: Any = MemoryStorage() if kind == "memory" else SqliteStorage(tmp_path / "log.db")
    path = organism(tmp_path)
    async with running(path, storage) as it:
        first = await inject(it, "asks", ANN)
        await until(lambda: gates.running["asks"])
    assert purse.used == {}
    async with running(path, storage) as it:
        gates.open("asks")
        await it.idle()
        assert (await it.thread(first)).owner == ANN
    assert purse.used == {ANN: 5}
