"""Kill -9 of what belongs to an organism, and other misfortune, with load running; then the whole log is checked."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from organism.config import StorageSection
from organism.errors import OrganismUnreachable, StorageError, StorageLocked, StorageUnavailable
from organism.ray_actors import start_pump
from tests.ray.log_checks import check_log, read_log
from tests.ray.ray_organism import CHAIN, RELAYS, Load, OnRay, listener, until, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

NAMES = [each["name"] for each in CHAIN]


def check(organism: OnRay, load: Load) -> None:
    check_log(organism.log, load.accepted, relays=RELAYS, unanswered=load.unanswered)


async def pids(organism: OnRay) -> dict[str, int]:
    """Of the cells of the chain, once all of them run."""
    await organism.up(*NAMES)
    return {name: (await organism.agent(name))["pid"] for name in NAMES}


# Processes that are killed


async def test_a_killed_cell_loses_nothing(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        load = Load(organism.ref)
        async with load.running():
            for name in NAMES:
                await load.some_more()
                await organism.kill_cell(name)
        await organism.idle()
        assert [(await organism.agent(name))["restarts"] for name in NAMES] == [1, 1, 1]
    check(organism, load)


async def test_a_killed_pump_goes_on_with_the_cells_it_had(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        before = await pids(organism)
        load = Load(organism.ref)
        async with load.running():
            for _ in range(2):
                await load.some_more()
                organism.kill_pump()
                await load.some_more()
        await organism.idle()
        assert await pids(organism) == before
    check(organism, load)


async def test_pump_and_cells_killed_together_lose_nothing(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        await organism.up(*NAMES)
        load = Load(organism.ref)
        async with load.running():
            await load.some_more()
            organism.kill_pump()
            for pid in organism.pids("ray::CellActor"):
                os.kill(pid, signal.SIGKILL)
        await organism.idle()
    check(organism, load)


async def test_a_killed_storage_process_loses_nothing(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        load = Load(organism.ref)
        async with load.running():
            for _ in range(3):
                await load.some_more()
                os.kill(storage_process(organism), signal.SIGKILL)
        await organism.idle()
    check(organism, load)


async def test_a_pump_goes_on_after_a_kill_though_nobody_calls_it(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        await organism.ref.pause("second")
        accepted = [await organism.send("first", f"{number}") for number in range(5)]
        await until(lambda: waiting(organism, "second", 5), "all wait for the paused agent")
        cell = (await pids(organism))["second"]
        os.kill(cell, signal.SIGSTOP)
        await organism.ref.resume("second")
        await until(lambda: running(organism, "second", 5), "the cell has them all")
        organism.kill_pump()
        os.kill(cell, signal.SIGKILL)
        await until(lambda: not read_log(organism.log).queued, "all is handled")
    check_log(organism.log, accepted, relays=RELAYS)


async def running(organism: OnRay, name: str, count: int) -> bool:
    return (await organism.agent(name))["running"] == count


async def test_outcomes_wait_until_a_new_pump_can_open_its_storage(start, tmp_path):
    handlers = "\nasync def slow(payload, context):\n    await asyncio.sleep(1)\n"
    path = write_organism(tmp_path / "organism", listener("slow"), handlers=handlers)
    async with start(path) as organism:
        await organism.up("slow")
        before = await organism.agent("slow")
        accepted = [await organism.send("slow") for _ in range(20)]
        with nothing_opens(organism.log.parent):
            organism.kill_pump()
            await until(lambda: not organism.pids("sqlite_server.py"), "the storage is closed")
            await until(lambda: refuses(organism), "the new pump cannot open the storage")
        await organism.idle()
        slow = await organism.agent("slow")
        assert (slow["pid"], slow["restarts"]) == (before["pid"], 0)
    check_log(organism.log, accepted)


async def refuses(organism: OnRay) -> bool:
    try:
        await organism.ref.ping()
    except StorageError:
        return True
    except OrganismUnreachable:
        return False
    return False


@contextmanager
def nothing_opens(folder: Path) -> Iterator[None]:
    """Inside this context a file stands in the place of the folder."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


async def test_a_paused_agent_is_paused_after_a_restart_of_the_pump(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        await organism.up(*NAMES)
        await organism.ref.pause("second")
        accepted = [await organism.send("first", f"{number}") for number in range(5)]
        organism.kill_pump()
        second = await until(lambda: waiting(organism, "second", 5), "all wait for the paused agent")
        assert second["paused"]
        await organism.patiently(organism.ref.resume, "second")
        await organism.idle()
    check_log(organism.log, accepted, relays=RELAYS)


async def waiting(organism: OnRay, name: str, count: int) -> dict[str, object] | None:
    agent = await organism.agent(name)
    return agent if agent["queue_depth"] == count else None


# Handlers that misbehave

DEADLY = """
async def deadly(payload, context):
    if payload.text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_message_that_kills_its_cell_three_times_is_a_dead_letter(start, tmp_path):
    path = write_organism(tmp_path / "organism", listener("deadly"), handlers=DEADLY)
    async with start(path) as organism:
        load = Load(organism.ref)
        async with load.running():
            harmless = [await organism.send("deadly", "live") for _ in range(20)]
            fatal = await organism.send("deadly", "die")
            harmless += [await organism.send("deadly", "live", fatal.thread_id) for _ in range(20)]
            [letter] = await until(organism.dead_letters, "a dead letter")
        await organism.idle()
        assert (await organism.agent("deadly"))["restarts"] == 3
    assert (letter.message.id, letter.attempts) == (fatal.message_id, 3)
    assert letter.reason == "its cell died with it, 3 times by now, at last: its process was killed or crashed"
    log = check_log(organism.log, [*load.accepted, *harmless, fatal], relays=RELAYS)
    assert log.texts(fatal.thread_id) == ["live"] * 20


HANGING = """
async def hanging(payload, context):
    if payload.text == "hang":
        await asyncio.Event().wait()
"""


async def test_a_handler_that_hangs_is_ended_by_its_timeout(start, tmp_path):
    path = write_organism(tmp_path / "organism", listener("hanging", timeout_s=1), handlers=HANGING)
    async with start(path) as organism:
        load = Load(organism.ref)
        async with load.running():
            hangs = await organism.send("hanging", "hang")
            others = [await organism.send("hanging", "go on", hangs.thread_id) for _ in range(5)]
            [letter] = await until(organism.dead_letters, "a dead letter")
        await organism.idle()
        assert (await organism.agent("hanging"))["restarts"] == 0
    assert (letter.message.id, letter.reason) == (hangs.message_id, "handler timed out after 1 s")
    log = check_log(organism.log, [*load.accepted, hangs, *others], relays=RELAYS)
    assert log.texts(hangs.thread_id) == ["go on"] * 5


BLOCKING = """
async def blocking(payload, context):
    if payload.text == "block":
        time.sleep(3600)
"""


async def test_a_handler_that_blocks_its_process_costs_it_that_process(start, tmp_path):
    blocking = listener("blocking", timeout_s=1)
    path = write_organism(tmp_path / "organism", blocking, handlers=BLOCKING, supervision={"max_deaths": 1})
    async with start(path) as organism:
        load = Load(organism.ref)
        async with load.running():
            blocks = await organism.send("blocking", "block")
            [letter] = await until(organism.dead_letters, "a dead letter")
            after = await organism.send("blocking", "go on", blocks.thread_id)
        await organism.idle()
    assert letter.message.id == blocks.message_id
    log = check_log(organism.log, [*load.accepted, blocks, after], relays=RELAYS)
    assert log.texts(blocks.thread_id) == ["go on"]


NOTING = """
async def noting(payload, context):
    with open(payload.text, "a") as file:
        file.write("began ")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        with open(payload.text, "a") as file:
            file.write("cancelled")
        raise
"""


async def test_killing_a_thread_cancels_its_handlers_in_other_processes(start, tmp_path):
    path = write_organism(tmp_path / "organism", listener("noting"), handlers=NOTING)
    notes = tmp_path / "notes"
    async with start(path) as organism:
        load = Load(organism.ref)
        async with load.running():
            sent = await organism.send("noting", str(notes))
            await organism.send("noting", "never begins", sent.thread_id)
            await until(lambda: notes.exists() and notes.read_text() == "began ", "it began")
            thread = await organism.ref.kill_thread(sent.thread_id)
            assert thread.status == "killed"
            await until(lambda: notes.read_text() == "began cancelled", "it is cancelled")
        await organism.idle()
    log = read_log(organism.log)
    assert [each["fate"] for each in log.thread(sent.thread_id)] == ["dropped", "dropped"]


# A storage in need


async def test_a_full_disk_refuses_clearly_and_is_recovered_from(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        load = Load(organism.ref)
        async with load.running():
            await load.some_more()
            storage = storage_process(organism)
            with nothing_written(storage):
                await until(lambda: load.refused > 0, "injects are refused")
                with pytest.raises(StorageUnavailable, match="send again later"):
                    await organism.send("first")
                assert (await organism.ref.snapshot()).organism["status"] == "running"
            await load.some_more()
        await organism.idle()
        assert [(await organism.agent(name))["restarts"] for name in NAMES] == [0, 0, 0]
    check(organism, load)


@contextmanager
def nothing_written(pid: int) -> Iterator[None]:
    """Inside this context each write of the process to a file fails."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def storage_process(organism: OnRay) -> int:
    """The process that owns the file of the log; the one of the sessions has another."""
    [pid] = organism.pids("sqlite_server.py", organism.log.name)
    return pid


async def test_a_storage_takes_one_pump(start, tmp_path):
    path = write_organism(tmp_path / "organism")
    async with start(path) as organism:
        load = Load(organism.ref)
        async with load.running():
            with pytest.raises(StorageLocked, match="in use by another organism"):
                await start_pump(path, "another", StorageSection())
            with pytest.raises(OrganismUnreachable, match="already"):
                await start_pump(path, organism.namespace, StorageSection())
        await organism.idle()
    check(organism, load)
