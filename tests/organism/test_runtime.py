"""An organism in this process, from injects to answers: what its ref promises."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from handler_gates import gates
from organism_folder import check_log, listener, running, text_of, until, write_organism

from organism.errors import (
    AgentNotFound,
    ConfigError,
    DeadLetterNotFound,
    OrganismError,
    Stopping,
    StorageUnavailable,
    ThreadKilled,
    ThreadNotFound,
)
from organism.messages import Inject
from organism.runtime import open_runtime, start_runtime
from organism.storage.base import MessageFilter, ThreadFilter
from organism.storage.memory import MemoryStorage
from organism.storage.sqlite import SqliteStorage

HELLO = Path(__file__).parents[2] / "examples" / "hello"

CHAIN = """
async def first(payload: Ping, context: Context):
    return Send(Ping(text=payload.text + "1"), to="second")

async def second(payload: Ping, context: Context):
    gates.note(payload.text)
    await gates.at("second")
    return Reply(Pong(text=payload.text + "2"))
"""
FIRST = listener("first")
SECOND = listener("second")

FLAKY = """
async def flaky(payload: Ping, context: Context):
    gates.note(payload.text)
    if len(gates.passed) < 3:
        raise ValueError(f"failure {len(gates.passed)}")
    return Reply(Pong(text="worked"))
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """first → second, which waits at its gate and replies: first does not take that, so it is a breach."""
    return write_organism(tmp_path / "organism", CHAIN.replace("Reply(Pong", "None and Reply(Pong"), FIRST, SECOND)


async def test_the_hello_organism_answers(tmp_path):
    shutil.copytree(HELLO, tmp_path / "hello")
    async with running(tmp_path / "hello" / "organism.yaml") as it:
        [accepted] = await it.runtime.submit([Inject("console", "ConsoleInput", b'{"text": "Ada"}')])
        assert not isinstance(accepted, OrganismError)
        await it.idle()
        messages, total = await it.runtime.messages(MessageFilter(threads=(accepted.thread_id,)), 10)
        thread = await it.thread(accepted)
        await check_log(it.storage)
    assert [each.recipient for each in messages] == ["console", "greeter", "shouter", "response-handler"]
    assert total == thread.message_count == 4
    assert thread.status == "completed"
    assert b"HELLO, ADA!" in messages[-1].payload


async def test_a_reply_to_the_outside_ends_the_conversation_in_the_log(tmp_path):
    handlers = "async def echo(payload: Ping, context: Context):\n    return Reply(Pong(text=payload.text.upper()))\n"
    path = write_organism(tmp_path / "organism", handlers, listener("echo"))
    async with running(path) as it:
        accepted = await it.inject("echo", "hi")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>echo:hi", "echo>console:HI"]
        assert (await it.thread(accepted)).participants == ["console", "echo"]


async def test_a_planner_asks_its_peer_and_answers_its_caller(tmp_path):
    handlers = """
async def planner(payload: Ping | Pong, context: Context):
    if isinstance(payload, Ping):
        context.state["task"] = payload.text
        context.todo(Pong, from_listener="worker", description="the result")
        return Send(Ping(text="do " + payload.text), to="worker")
    assert context.todo_nudge
    for todo in list(context.todos):
        context.close_todo(todo.id)
    history = [each.sender for each in await context.history()]
    return Reply(Pong(text=f"{context.state['task']}: {payload.text} by {history}"))

async def worker(payload: Ping, context: Context):
    return Reply(Pong(text="done"))
"""
    path = write_organism(
        tmp_path / "organism", handlers, listener("planner", agent=True, peers=["worker"]), listener("worker")
    )
    async with running(path) as it:
        accepted = await it.inject("planner", "tea")
        await it.idle()
        texts = await it.texts(accepted.thread_id)
        assert (await it.thread(accepted)).todos == []
        await check_log(it.storage)
    assert texts[:3] == ["console>planner:tea", "planner>worker:do tea", "worker>planner:done"]
    assert texts[3] == "planner>console:tea: done by ['console', 'planner', 'worker']"


async def test_a_system_error_reaches_only_a_handler_that_takes_it(tmp_path):
    handlers = """
async def careful(payload: Ping | SystemError, context: Context):
    if isinstance(payload, SystemError):
        return Reply(Pong(text=payload.code))
    return Send(Ping(), to="stranger")

async def careless(payload: Ping, context: Context):
    return Send(Ping(), to="stranger")

async def stranger(payload: Ping, context: Context): ...
"""
    names = ("careful", "careless")
    listeners = [listener(name, peers=list(names)) for name in names]
    path = write_organism(tmp_path / "organism", handlers, *listeners, listener("stranger"))
    async with running(path) as it:
        careful, careless = await it.inject("careful"), await it.inject("careless")
        await it.idle()
        assert await it.texts(careful.thread_id) == [
            "console>careful:", "system>careful:routing", "careful>console:routing",
        ]  # fmt: skip
        assert await it.texts(careless.thread_id) == ["console>careless:", "system>careless:routing"]
        assert (await it.thread(careless)).status == "completed"


async def test_a_self_call_is_known_as_one(tmp_path):
    handlers = """
async def loop(payload: Ping, context: Context):
    gates.note(f"{payload.text} {context.is_self_call}")
    return None if context.is_self_call else Send(Ping(text="again"), to="loop")
"""
    path = write_organism(tmp_path / "organism", handlers, listener("loop", agent=True))
    async with running(path) as it:
        await it.inject("loop", "once")
        await it.idle()
    assert gates.passed == ["once False", "again True"]


async def test_a_broadcast_is_handled_by_all_who_listen(tmp_path):
    handlers = """
async def speaker(payload: Ping, context: Context):
    return Send(Pong(text="news"))
async def ear(payload: Pong, context: Context):
    gates.note(context.own_name)
"""
    ears = [listener(name, "ear", "Pong", broadcast=True) for name in ("left", "right")]
    path = write_organism(tmp_path / "organism", handlers, listener("speaker"), *ears)
    async with running(path) as it:
        await it.inject("speaker")
        await it.idle()
        await check_log(it.storage)
    assert sorted(gates.passed) == ["left", "right"]


async def test_messages_of_one_thread_come_one_at_a_time_and_in_order(tmp_path):
    handlers = """
async def slow(payload: Ping, context: Context):
    gates.note(f"{payload.text} begins")
    await asyncio.sleep(0)
    gates.note(f"{payload.text} ends")
"""
    path = write_organism(tmp_path / "organism", handlers, listener("slow"))
    async with running(path) as it:
        first = await it.inject("slow", "0")
        await it.inject_all("slow", [str(number) for number in range(1, 20)], first.thread_id)
        await it.idle()
    assert gates.passed == [f"{number} {what}" for number in range(20) for what in ("begins", "ends")]


# Refused injects


async def test_each_inject_is_refused_for_itself(chain):
    async with running(chain) as it:
        results = await it.runtime.submit(
            [
                Inject("first", "Ping", b"{}"),
                Inject("nobody", "Ping", b"{}"),
                Inject("first", "Ping", b"{}", "no-such-thread"),
            ]
        )
        gates.open("second")
        await it.idle()
    assert [type(each).__name__ for each in results] == ["Accepted", "AgentNotFound", "ThreadNotFound"]


async def test_things_that_are_not_there_are_named(chain):
    async with running(chain) as it:
        with pytest.raises(ThreadNotFound):
            await it.runtime.thread("no-such-thread")
        with pytest.raises(ThreadNotFound):
            await it.runtime.kill_thread("no-such-thread")
        with pytest.raises(AgentNotFound):
            await it.runtime.pause("nobody")
        with pytest.raises(AgentNotFound):
            await it.runtime.resume("nobody")
        with pytest.raises(DeadLetterNotFound):
            await it.runtime.requeue("no-such-letter")


# Pause and resume


async def test_a_paused_agent_queues_and_goes_on_when_resumed(chain):
    async with running(chain) as it:
        assert (await it.runtime.pause("second"))["paused"]
        accepted = await it.inject("first", "x")
        await until(lambda: it.agent("second")["queue_depth"] == 1)
        assert (it.agent("second")["state"], it.agent("first")["state"]) == ("waiting", "idle")
        assert gates.passed == []
        assert not (await it.runtime.resume("second"))["paused"]
        gates.open("second")
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"


async def test_a_pause_lets_running_handlers_finish(chain):
    async with running(chain) as it:
        await it.inject("first", "x")
        await until(lambda: gates.running["second"] == 1)
        await it.runtime.pause("second")
        gates.open("second")
        await it.idle()
        assert it.agent("second")["handled"] == 1


async def test_a_pause_survives_a_restart(chain, tmp_path):
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(chain, storage) as it:
        await it.runtime.pause("first")
        accepted = await it.inject("first", "x")
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(chain, storage) as it:
        gates.open("second")
        assert it.agent("first")["paused"]
        assert it.agent("first")["queue_depth"] == 1
        await it.runtime.resume("first")
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"
        await check_log(storage)
    async with running(chain, SqliteStorage(tmp_path / "organism.db")) as it:
        assert not it.agent("first")["paused"]


# Killing a thread


async def test_a_killed_thread_ends_its_handlers_and_takes_nothing_more(tmp_path):
    handlers = """
async def slow(payload: Ping, context: Context):
    gates.note(f"{payload.text} begins")
    try:
        await gates.at(payload.text)
        gates.note(f"{payload.text} ends")
    except asyncio.CancelledError:
        gates.note(f"{payload.text} cancelled")
        raise
"""
    path = write_organism(tmp_path / "organism", handlers, listener("slow"))
    async with running(path) as it:
        it.watch()
        killed = await it.inject("slow", "running")
        await it.inject("slow", "waiting", killed.thread_id)
        other = await it.inject("slow", "other")
        await until(lambda: gates.running["running"] and gates.running["other"])
        thread = await it.runtime.kill_thread(killed.thread_id)
        assert thread.status == "killed"
        await until(lambda: "running cancelled" in gates.passed)
        with pytest.raises(ThreadKilled):
            await it.inject("slow", "late", killed.thread_id)
        gates.open("other")
        await it.idle()
        history, _ = await it.runtime.messages(MessageFilter(threads=(killed.thread_id,)), 10)
        assert [(text_of(each), each.fate) for each in history] == [("running", "dropped"), ("waiting", "dropped")]
        assert (await it.thread(other)).status == "completed"
        assert (it.agent("slow")["queue_depth"], it.agent("slow")["running"]) == (0, 0)
        updated = [each.value.status for each in it.events() if each.kind == "thread_updated"]
        assert updated == ["killed", "completed"]
        await check_log(it.storage)
    assert "waiting begins" not in gates.passed


async def test_a_message_on_its_way_to_the_cell_does_not_begin_when_its_thread_is_killed(chain):
    async with running(chain) as it:
        keeper = it.runtime.pump.agents["second"].keeper
        accepted = await it.inject("first", "x")
        await until(lambda: gates.running["second"])
        waiting = it.runtime.pump.agents["second"].window
        [entry] = waiting.in_flight.values()
        keeper.hand_over(entry.message, 0)  # the moment between the pump's decision and the call to the cell
        keeper.cancel(entry.message.seq)
        keeper.settled(entry.message.seq)
        await it.runtime.kill_thread(accepted.thread_id)
        await it.idle()
    assert gates.passed == ["x1"]


async def test_killing_twice_and_killing_what_is_done_are_no_errors(chain):
    async with running(chain) as it:
        gates.open("second")
        accepted = await it.inject("first")
        await it.idle()
        assert (await it.runtime.kill_thread(accepted.thread_id)).status == "killed"
        assert (await it.runtime.kill_thread(accepted.thread_id)).status == "killed"
        assert it.runtime.pump.ledger.active_threads == 0


async def test_a_killed_thread_of_many_messages_frees_their_place(tmp_path):
    path = write_organism(
        tmp_path / "organism",
        "async def slow(payload: Ping, context: Context):\n    await gates.at('x')\n",
        listener("slow"),
        limits={"window": 4},
    )
    async with running(path) as it:
        killed = await it.inject("slow", "0")
        await it.inject_all("slow", ["1"] * 20, killed.thread_id)
        other = await it.inject("slow", "other")
        await it.runtime.kill_thread(killed.thread_id)
        gates.open("x")
        await it.idle()
        assert (await it.thread(other)).status == "completed"
        assert it.agent("slow")["queue_depth"] == 0


# Dead letters


async def test_a_handler_that_raises_makes_a_dead_letter(tmp_path):
    path = write_organism(tmp_path / "organism", FLAKY, listener("flaky"))
    async with running(path) as it:
        it.watch()
        accepted = await it.inject("flaky", "x")
        await it.idle()
        [letter] = await it.dead_letters()
        assert (letter.message.id, letter.attempts) == (accepted.message_id, 1)
        assert letter.reason.startswith("ValueError: failure 1 (handlers.py:")
        thread = await it.thread(accepted)
        assert (thread.status, thread.error) == ("error", f"flaky: {letter.reason}")
        [error] = [each.value for each in it.events() if each.kind == "error"]
        assert (error["thread_id"], error["agent"]) == (accepted.thread_id, "flaky")
        assert it.agent("flaky")["failed"] == 1
        await check_log(it.storage)


async def test_a_requeued_dead_letter_is_handled_again(tmp_path):
    path = write_organism(tmp_path / "organism", FLAKY, listener("flaky"))
    async with running(path) as it:
        accepted = await it.inject("flaky", "x")
        await it.idle()
        for _ in range(2):
            message = await it.runtime.requeue(accepted.message_id)
            assert (message.id, message.fate) == (accepted.message_id, None)
            await it.idle()
        assert await it.dead_letters() == []
        thread = await it.thread(accepted)
        assert (thread.status, thread.error) == ("completed", None)
        assert await it.texts(accepted.thread_id) == ["console>flaky:x", "flaky>console:worked"]
        with pytest.raises(DeadLetterNotFound):
            await it.runtime.requeue(accepted.message_id)
        await check_log(it.storage)


async def test_a_dead_letter_of_a_killed_thread_stays_dead(tmp_path):
    path = write_organism(tmp_path / "organism", FLAKY, listener("flaky"))
    async with running(path) as it:
        accepted = await it.inject("flaky", "x")
        await it.idle()
        await it.runtime.kill_thread(accepted.thread_id)
        with pytest.raises(ThreadKilled):
            await it.runtime.requeue(accepted.message_id)


async def test_retries_happen_before_a_message_is_dead(tmp_path):
    path = write_organism(tmp_path / "organism", FLAKY, listener("flaky", retry={"attempts": 3, "delay_s": 0.01}))
    async with running(path) as it:
        accepted = await it.inject("flaky", "x")
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"
    assert gates.passed == ["x", "x", "x"]


async def test_an_inject_of_a_type_that_the_handler_does_not_take_is_a_dead_letter(chain):
    async with running(chain) as it:
        await it.inject("first", payload_type="Pong")
        await it.idle()
        [letter] = await it.dead_letters()
    assert "not a type this handler takes" in letter.reason


# Stopping


async def test_a_graceful_stop_lets_handlers_finish_and_keeps_the_rest(chain, tmp_path):
    async with running(chain, SqliteStorage(tmp_path / "organism.db")) as it:
        done = await it.inject("first", "a")
        await until(lambda: gates.running["second"])
        await it.runtime.pause("first")
        kept = await it.inject("first", "b")
        await it.runtime.stop()
        with pytest.raises(Stopping):
            await it.inject("first", "c")
        with pytest.raises(Stopping):
            await it.runtime.reload()
        assert (await it.runtime.snapshot()).organism["status"] == "stopping"
        gates.open("second")
        await it.runtime.wait_stopped()
        assert (await it.thread(done)).status == "completed"
        assert (await it.thread(kept)).status == "active"
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(chain, storage) as it:
        gates.open("second")
        await it.runtime.resume("first")
        await it.idle()
        assert (await it.thread(kept)).status == "completed"
        await check_log(storage)


async def test_a_stop_does_not_wait_longer_than_its_deadline(tmp_path):
    path = write_organism(tmp_path / "organism", CHAIN, FIRST, listener("second"), supervision={"drain_timeout_s": 0.1})
    storage = MemoryStorage()
    async with running(path, storage) as it:
        accepted = await it.inject("first", "a")
        await until(lambda: gates.running["second"])
        await it.runtime.stop()
        await it.runtime.stop()
        await it.runtime.wait_stopped()
    async with running(path, storage) as it:
        gates.open("second")
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"
        await check_log(storage)
    assert gates.passed == ["a1"]


async def test_what_was_running_when_all_of_it_ended_is_done_after_the_next_start(chain, tmp_path):
    async with running(chain, SqliteStorage(tmp_path / "organism.db")) as it:
        accepted = await it.inject_all("first", [str(number) for number in range(50)])
        await until(lambda: gates.running["second"] == 50)
    storage = SqliteStorage(tmp_path / "organism.db")
    async with running(chain, storage) as it:
        gates.open("second")
        await it.idle()
        log = await check_log(storage)
    assert len(accepted) == 50
    assert len(log) == 100


async def test_closing_answers_those_who_still_wait(chain):
    storage = MemoryStorage()
    async with running(chain, storage) as it:
        storage.failing = "disk full"
        gates.open("second")
        waiting = asyncio.gather(*(it.inject("first", str(number)) for number in range(3)), return_exceptions=True)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        results = await waiting
    assert all(isinstance(each, Stopping | StorageUnavailable) for each in results)


async def test_who_asks_after_the_end_is_told(chain):
    async with running(chain) as it:
        pass
    async with asyncio.timeout(5):
        with pytest.raises(Stopping):
            await it.inject("first", "late")
        with pytest.raises(Stopping):
            await it.runtime.snapshot()
        with pytest.raises(Stopping):
            await it.runtime.reload()


# Starting


async def test_a_broken_file_does_not_start(tmp_path):
    path = write_organism(tmp_path / "organism", CHAIN, listener("first", peers=["nobody"]))
    with pytest.raises(ConfigError, match="no listener is named 'nobody'"):
        await start_runtime(path, storage=MemoryStorage())


async def test_a_handler_that_cannot_be_loaded_puts_its_agent_into_error_and_leaves_the_others(tmp_path):
    handlers = CHAIN + "\nasync def broken(payload): ...\n"
    path = write_organism(
        tmp_path / "organism", handlers, FIRST, SECOND, listener("broken"), supervision={"max_restarts": 0}
    )
    async with running(path) as it:
        await until(lambda: it.agent("broken")["state"] == "error")
        assert "must take (payload, context)" in it.agent("broken")["error"]
        gates.open("second")
        accepted = await it.inject("first", "x")
        await it.idle()
        assert (await it.thread(accepted)).status == "completed"


async def test_a_storage_that_fails_at_the_start_leaves_nothing_running(chain):
    storage = MemoryStorage()
    before = asyncio.all_tasks()
    storage.failing = "disk full"
    with pytest.raises(StorageUnavailable):
        await start_runtime(chain, storage=storage)
    storage.failing = None
    commit, storage.commit = storage.commit, _failing_commit  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable):
        await start_runtime(chain, storage=storage)
    await until(lambda: asyncio.all_tasks() <= before)
    storage.commit = commit  # type: ignore[method-assign]
    async with open_runtime(chain, storage=storage):
        pass


async def _failing_commit(_: object) -> None:
    raise StorageUnavailable("disk full")


async def test_what_waits_for_a_listener_that_is_gone_at_the_start_is_a_dead_letter(tmp_path):
    storage = MemoryStorage()
    path = write_organism(tmp_path / "organism", CHAIN, FIRST, SECOND)
    async with running(path, storage) as it:
        await it.runtime.pause("second")
        accepted = await it.inject("first", "x")
        await until(lambda: it.agent("second")["queue_depth"] == 1)
    path = write_organism(tmp_path / "organism", CHAIN, FIRST)
    async with running(path, storage) as it:
        [letter] = await it.dead_letters()
        assert (letter.message.thread_id, letter.reason) == (accepted.thread_id, "its listener was removed")
        await check_log(storage)


async def test_a_restarted_pump_goes_on_with_what_was_active_whatever_the_files_say(chain):
    storage = MemoryStorage()
    async with running(path := chain, storage) as it:
        await it.inject("first", "a")
        await until(lambda: gates.running["second"])
    (path.parent / "handlers.py").write_text("this is no python")
    path.write_text("nor: is this an organism\n")
    async with running(path, storage, resume=True) as it:
        gates.open("second")
        await it.idle()
        assert [each.recipient for each in await check_log(storage)] == ["first", "second"]
        with pytest.raises(ConfigError):
            await it.runtime.reload()


async def test_a_start_without_anything_to_resume_reads_the_file(chain):
    async with running(chain, resume=True) as it:
        gates.open("second")
        await it.inject("first")
        await it.idle()


# What the API asks


async def test_a_snapshot_is_the_picture_of_one_moment(chain):
    async with running(chain) as it:
        gates.open("second")
        accepted = await it.inject("first", "x")
        await it.idle()
        snapshot = await it.runtime.snapshot()
        batch = await it.runtime.events(snapshot.incarnation, snapshot.cursor, 0)
    assert (batch.events, batch.missed) == ([], False)
    assert snapshot.seq == 2
    assert snapshot.organism["agent_count"] == 2
    assert (snapshot.organism["total_messages"], snapshot.organism["active_threads"]) == (2, 0)
    assert [each["name"] for each in snapshot.agents] == ["first", "second"]
    assert [each["id"] for each in snapshot.threads] == [accepted.thread_id]
    assert snapshot.config["organism"] == {"name": "test"}


async def test_events_follow_each_other_as_they_were_committed(chain):
    async with running(chain) as it:
        gates.open("second")
        snapshot = await it.runtime.snapshot()
        accepted = await it.inject("first", "x")
        await it.idle()
        batch = await it.runtime.events(snapshot.incarnation, snapshot.cursor, 5)
    of_threads = [(each.kind, each.seq) for each in batch.events if each.kind != "agent_state"]
    assert of_threads == [("thread_created", 1), ("message", 1), ("message", 2), ("thread_updated", 2)]
    [created] = [each.value for each in batch.events if each.kind == "thread_created"]
    assert created.id == accepted.thread_id
    assert (batch.cursor, batch.last_seq, batch.active_threads) == (snapshot.cursor + len(batch.events), 2, 0)
    assert not batch.missed


async def test_events_of_another_incarnation_are_missed_at_once(chain):
    async with running(chain) as it, asyncio.timeout(5):
        batch = await it.runtime.events("an earlier pump", 12, 60)
    assert (batch.missed, batch.events) == (True, [])


async def test_an_agent_that_works_is_shown_at_once_and_idle_at_last(tmp_path):
    path = write_organism(tmp_path / "organism", CHAIN, FIRST, SECOND, limits={"agent_state_interval_s": 0})
    async with running(path) as it:
        it.watch()
        await it.inject("first", "x")
        await until(lambda: gates.running["second"])
        gates.open("second")
        await it.idle()

        def states() -> list[str]:
            changes = [each.value for each in it.events() if each.kind == "agent_state"]
            return [each["state"] for each in changes if each["name"] == "second"]

        await until(lambda: states()[-1:] == ["idle"])
        assert "processing" in states()


async def test_threads_and_messages_are_read_from_the_log(chain):
    async with running(chain) as it:
        gates.open("second")
        accepted = [await it.inject("first", str(number)) for number in range(3)]
        await it.idle()
        threads, total = await it.runtime.threads(ThreadFilter(agent="second"), 2, 0)
        page = await it.runtime.message_page(MessageFilter(after_seq=1), 2)
        await it.runtime.ping()
    assert total == 3
    assert [each.id for each in threads] == [each.thread_id for each in reversed(accepted)][:2]
    assert [each.seq for each in page] == [2, 3]


async def test_the_history_of_a_thread_ends_with_the_message_that_asks(chain):
    async with running(chain) as it:
        gates.open("second")
        first = await it.inject("first", "0")
        await it.inject_all("first", ["1", "2", "3"], first.thread_id)
        await it.idle()
        desk = it.runtime.desk
        slots = [each.slot_index for each in await desk.history(first.thread_id, 5, 3)]
        assert slots == [3, 4, 5]
        assert [each.slot_index for each in await desk.history(first.thread_id, 1, 100)] == [0, 1]
        assert await desk.history(first.thread_id, 5, 0) == []
        assert await desk.history(first.thread_id, 5, -1) == []
