"""Hot reload: all of a changed organism is taken over, or nothing, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from handler_gates import gates
from organism_folder import Running, check_log, running, text_of, until, write_organism

from organism.errors import AgentNotFound, ConfigError, HandlerNotLoaded, OrganismError, Stopping, StorageUnavailable
from organism.ref import Reloaded
from organism.storage.memory import MemoryStorage

CODE = """
async def {name}(payload: Ping, context: Context):
    gates.note(f"{version} {{payload.text}}")
    await gates.at("{version}")
    return Reply(Pong(text="{version}"))
"""

NAMES = "from handlers import Context, Ping, Pong, Reply, Send, gates\n"


def code(**versions: str) -> str:
    """Handlers by name, each noting and waiting at the gate of its version."""
    return "".join(CODE.format(name=name, version=version) for name, version in versions.items())


class Organism:
    """A folder that is changed while it runs: each listener has a module of its own, so that code can be told apart."""

    def __init__(self, tmp_path: Path, **versions: str) -> None:
        self.folder = tmp_path / "organism"
        self.config: dict[str, Any] = {}
        self.listeners: dict[str, dict[str, Any]] = {}
        self.path = write_organism(self.folder, "")
        for name, version in versions.items():
            self.write(name, version)

    def write(self, name: str, version: str, **fields: Any) -> None:
        self.folder.joinpath(f"code_{name}.py").write_text(NAMES + code(**{name: version}))
        self.listeners[name] = {
            "name": name, "payload_class": "handlers.Ping", "handler": f"code_{name}.{name}", **fields,
        }  # fmt: skip
        self.save()

    def remove(self, name: str) -> None:
        del self.listeners[name]
        self.save()

    def save(self, **config: Any) -> None:
        self.config |= config
        self.path = write_organism(self.folder, "", *self.listeners.values(), **self.config)


@pytest.fixture
def organism(tmp_path: Path) -> Organism:
    return Organism(tmp_path, a="a1", b="b1")


def opened(*names: str) -> None:
    for name in names:
        gates.open(name)


async def test_a_reload_of_nothing_changes_nothing(organism):
    async with running(organism.path) as it:
        await until(lambda: it.runtime.pump.agents["a"].keeper.is_up)
        cell = it.cell("a")
        assert await it.runtime.reload() == Reloaded([], [], [], ["a", "b"])
        assert it.cell("a") is cell
        assert not cell.is_dead


async def test_a_reload_tells_what_it_added_changed_and_removed(organism):
    async with running(organism.path) as it:
        it.watch()
        organism.write("a", "a1", description="another one")
        organism.write("c", "c1")
        organism.remove("b")
        report = await it.runtime.reload()
        assert report == Reloaded(["c"], ["a"], ["b"], [])
        [event] = [each.value for each in it.events() if each.kind == "reloaded"]
        assert event == {"added": ["c"], "changed": ["a"], "removed": ["b"]}
        assert [each["name"] for each in (await it.runtime.snapshot()).agents] == ["a", "c"]
        opened("c1")
        accepted = await it.inject("c", "new")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>c:new", "c>console:c1"]
        with pytest.raises(AgentNotFound):
            await it.inject("b")


async def test_changed_code_is_noticed_by_its_source_alone(organism):
    async with running(organism.path) as it:
        opened("a2", "b1")
        await until(lambda: it.runtime.pump.agents["b"].keeper.is_up)
        b_cell = it.cell("b")
        organism.write("a", "a2")
        assert await it.runtime.reload() == Reloaded([], ["a"], [], ["b"])
        first, second = await it.inject("a", "x"), await it.inject("b", "x")
        await it.idle()
        assert await it.texts(first.thread_id) == ["console>a:x", "a>console:a2"]
        assert await it.texts(second.thread_id) == ["console>b:x", "b>console:b1"]
        assert it.cell("b") is b_cell


async def test_running_handlers_finish_under_the_old_definition(organism):
    async with running(organism.path) as it:
        old = await it.inject("a", "old")
        await until(lambda: gates.running["a1"])
        old_cell = it.cell("a")
        waiting = await it.inject("a", "waiting", old.thread_id)
        organism.write("a", "a2")
        await it.runtime.reload()
        opened("a2")
        new = await it.inject("a", "new")
        await until(lambda: "a2 new" in gates.passed)
        assert not old_cell.is_dead
        assert gates.running["a1"] == 1
        opened("a1")
        await it.idle()
        await until(lambda: old_cell.is_dead)
        assert await it.texts(new.thread_id) == ["console>a:new", "a>console:a2"]
        assert await it.texts(waiting.thread_id) == [
            "console>a:old", "console>a:waiting", "a>console:a1", "a>console:a2",
        ]  # fmt: skip
        await check_log(it.storage)


async def test_what_an_old_cell_ran_when_it_died_is_done_by_the_new_one(organism):
    async with running(organism.path) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["a1"])
        old_cell = it.cell("a")
        organism.write("a", "a2")
        await it.runtime.reload()
        opened("a2")
        await old_cell.die("kill -9")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>a:x", "a>console:a2"]
        await check_log(it.storage)


async def test_a_removed_listener_finishes_and_what_it_leaves_is_dead(organism):
    async with running(organism.path) as it:
        running_one = await it.inject("a", "running")
        follower = await it.inject("a", "follower", running_one.thread_id)
        await until(lambda: gates.running["a1"])
        await it.runtime.pause("a")
        waiting = await it.inject("a", "waiting")
        organism.remove("a")
        await it.runtime.reload()
        letters = await until(lambda: _letters(it, 2))
        assert {each.message.id for each in letters} == {follower.message_id, waiting.message_id}
        assert {each.reason for each in letters} == {"its listener was removed"}
        opened("a1")
        await it.idle()
        assert "a>console:a1" in await it.texts(running_one.thread_id)
        await until(lambda: not it.runtime.pump.retired)
        await check_log(it.storage)
        with pytest.raises(AgentNotFound):
            await it.runtime.requeue(waiting.message_id)


async def _letters(it: Running, count: int) -> Any:
    letters = await it.dead_letters()
    return letters if len(letters) == count else None


async def test_of_a_removed_listener_no_state_is_told_any_more(organism):
    organism.save(limits={"agent_state_interval_s": 0})
    async with running(organism.path) as it:
        await it.inject("a", "x")
        await until(lambda: gates.running["a1"])
        organism.remove("a")
        await it.runtime.reload()
        snapshot = await it.runtime.snapshot()
        opened("a1")
        await it.idle()
        await until(lambda: not it.runtime.pump.retired)
        it.runtime.pump.states.flush()
        batch = await it.runtime.events(snapshot.incarnation, snapshot.cursor, 0)
    assert [each for each in batch.events if each.kind == "agent_state"] == []


async def test_what_a_removed_listener_ran_when_its_cell_died_is_dead(organism):
    async with running(organism.path) as it:
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["a1"])
        cell = it.cell("a")
        organism.remove("a")
        await it.runtime.reload()
        await cell.die("kill -9")
        [letter] = await until(lambda: _letters(it, 1))
        assert letter.message.id == accepted.message_id
        await until(lambda: not it.runtime.pump.retired)
        await check_log(it.storage)


async def test_a_removed_listener_stays_bound_to_its_peers(organism):
    sends = NAMES + "async def a(payload, context):\n    await gates.at('a1')\n"
    organism.write("a", "a1", peers=["a"])
    organism.folder.joinpath("code_a.py").write_text(sends + "    return Send(Ping(), to='b')\n")
    async with running(organism.path) as it:
        it.watch()
        accepted = await it.inject("a", "x")
        await until(lambda: gates.running["a1"])
        organism.remove("a")
        await it.runtime.reload()
        opened("a1")
        await it.idle()
        [error] = [each.value["error"] for each in it.events() if each.kind == "error"]
        assert "not among its peers" in error
        assert await it.texts(accepted.thread_id) == ["console>a:x", "system>a:routing"]


async def test_a_listener_that_comes_back_while_it_still_drains_goes_on(organism):
    async with running(organism.path) as it:
        old = await it.inject("a", "old")
        await until(lambda: gates.running["a1"])
        first_section = organism.listeners["a"]
        organism.remove("a")
        await it.runtime.reload()
        organism.write("a", "a2", description=first_section["name"])
        assert (await it.runtime.reload()).added == ["a"]
        opened("a2")
        new = await it.inject("a", "new")
        await until(lambda: "a2 new" in gates.passed)
        opened("a1")
        await it.idle()
        assert await it.texts(old.thread_id) == ["console>a:old", "a>console:a1"]
        assert await it.texts(new.thread_id) == ["console>a:new", "a>console:a2"]
        await until(lambda: it.agent("a")["handled"] == 2)
        await check_log(it.storage)


async def test_a_listener_comes_back_before_what_waited_for_it_was_buried(organism, monkeypatch):
    """The storage fails between the two reloads: what is in the log is delivered after all."""
    storage = MemoryStorage()
    async with running(organism.path, storage) as it:
        await it.runtime.pause("b")
        await it.inject("a", "running")
        await until(lambda: gates.running["a1"])
        accepted = await it.inject_all("a", [str(number) for number in range(5)])
        await until(lambda: gates.running["a1"] == 6)
        waiting = await it.inject("a", "follower", accepted[0].thread_id)

        async def failing(*_: object) -> Any:
            raise StorageUnavailable("disk full")

        monkeypatch.setattr(it.runtime._roster, "_bury_orphans", failing)
        organism.remove("a")
        await it.runtime.reload()
        organism.write("a", "a2")
        await it.runtime.reload()
        opened("a1", "a2")
        await until(lambda: "a2 follower" in gates.passed)
        monkeypatch.undo()
        await it.idle()
        assert (await it.thread(waiting)).status == "completed"
        assert it.agent("a")["queue_depth"] == 0
        assert await it.dead_letters() == []
        await check_log(storage)


WRONG = {
    "yaml": ("organism.yaml", "listeners: [\n", ConfigError),
    "unknown key": ("organism.yaml", "organism: {name: test}\nlistenrs: []\n", ConfigError),
    "gone": ("organism.yaml", None, ConfigError),
    "not text": ("organism.yaml", b"\xff\xfe\xff", ConfigError),
    "syntax": ("code_a.py", "async def a(:\n", HandlerNotLoaded),
    "import": ("code_a.py", "import no_such_module\n", HandlerNotLoaded),
    "name": ("code_a.py", "async def other(payload, context): ...\n", HandlerNotLoaded),
    "form": ("code_a.py", "def a(payload, context): ...\n", HandlerNotLoaded),
    "env": (".env", "no assignment here", ConfigError),
}


@pytest.mark.parametrize(("file", "content", "error"), WRONG.values(), ids=[*WRONG])
async def test_a_broken_reload_changes_nothing_and_says_why(organism, file, content, error):
    async with running(organism.path) as it:
        await until(lambda: all(agent.keeper.is_up for agent in it.runtime.pump.agents.values()))
        cells = dict(it.cells.cells)
        organism.write("c", "c1")
        if content is None:
            organism.path.unlink()
        else:
            data = content if isinstance(content, bytes) else content.encode()
            organism.folder.joinpath(file).write_bytes(data)
        with pytest.raises(error):
            await it.runtime.reload()
        assert sorted(it.runtime.pump.agents) == ["a", "b"]
        assert [name for name, cell in it.cells.cells.items() if not cell.is_dead] == [*cells]
        opened("a1")
        accepted = await it.inject("a", "x")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>a:x", "a>console:a1"]


async def test_a_cell_that_dies_during_a_broken_reload_comes_back_as_it_was(organism, monkeypatch):
    async with running(organism.path) as it:
        await until(lambda: it.runtime.pump.agents["b"].keeper.is_up)
        start = it.cells.start

        async def start_and_kill_b(spec: Any) -> Any:
            if spec.name == "agent:a@1":
                monkeypatch.setattr(it.cells, "start", start)
                await it.cell("b").die("kill -9")
                await until(lambda: it.runtime.pump.agents["b"].keeper.restarts == 1)
                await until(lambda: it.runtime.pump.agents["b"].keeper.is_up)
            return await start(spec)

        monkeypatch.setattr(it.cells, "start", start_and_kill_b)
        organism.write("b", "b2")
        organism.write("a", "a2")
        organism.folder.joinpath("code_a.py").write_text("import no_such_module\n")
        with pytest.raises(HandlerNotLoaded):
            await it.runtime.reload()
        opened("b1", "b2")
        accepted = await it.inject("b", "x")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>b:x", "b>console:b1"]


async def test_a_reload_that_cannot_be_stored_changes_nothing(organism):
    storage = MemoryStorage()
    async with running(organism.path, storage) as it:
        await until(lambda: all(agent.keeper.is_up for agent in it.runtime.pump.agents.values()))
        organism.write("a", "a2")
        organism.remove("b")
        storage.failing = "disk full"
        with pytest.raises(StorageUnavailable):
            await it.runtime.reload()
        storage.failing = None
        assert sorted(name for name, cell in it.cells.cells.items() if not cell.is_dead) == ["agent:a", "agent:b"]
        opened("a1", "b1")
        await it.inject("a", "x")
        await it.inject("b", "x")
        await it.idle()
        assert sorted(gates.passed) == ["a1 x", "b1 x"]
        assert (await it.runtime.reload()).removed == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        {"organism": {"name": "other"}},
        {"storage": {"path": "x.db"}},
        {"api": {"replicas": 2}},
        {"librarian": {"replicas": 2}},
    ],
)
async def test_what_cannot_change_while_it_runs_is_refused(organism, change):
    async with running(organism.path) as it:
        organism.save(**change)
        with pytest.raises(ConfigError, match="cannot change while the organism runs"):
            await it.runtime.reload()


async def test_changed_limits_hold_at_once_for_agents_that_did_not_change(organism):
    organism.save(max_concurrent_per_agent=1)
    async with running(organism.path) as it:
        for number in range(4):
            await it.inject("a", str(number))
        await until(lambda: gates.running["a1"] == 1)
        organism.save(max_concurrent_per_agent=3, limits={"max_queue": 4})
        assert (await it.runtime.reload()).unchanged == ["a", "b"]
        await until(lambda: gates.running["a1"] == 3)
        with pytest.raises(OrganismError, match="4 messages wait"):
            await it.inject("a")
        opened("a1")
        await it.idle()


async def test_a_changed_timeout_of_all_handlers_starts_their_cells_anew(organism):
    async with running(organism.path) as it:
        organism.save(supervision={"handler_timeout_s": 0.05})
        assert (await it.runtime.reload()).changed == ["a", "b"]
        await it.inject("a", "x")
        [letter] = await until(it.dead_letters)
        assert "timed out after 0.05 s" in letter.reason


async def test_a_changed_policy_of_restarts_holds_for_cells_that_run(organism):
    async with running(organism.path) as it:
        await until(lambda: it.runtime.pump.agents["a"].keeper.is_up)
        organism.save(supervision={"max_restarts": 0})
        assert (await it.runtime.reload()).unchanged == ["a", "b"]
        await it.cell("a").die("kill -9")
        await until(lambda: it.agent("a")["state"] == "error")


async def test_a_changed_scheduling_holds_for_what_waits_already(organism):
    organism.save(max_concurrent_handlers=1)
    async with running(organism.path) as it:
        await it.runtime.pause("a")
        old = await it.inject("b", "0")
        await until(lambda: gates.running["b1"])
        for number in range(1, 3):
            await it.inject("a", str(number))
        await it.inject("a", "old thread", old.thread_id)
        organism.save(thread_scheduling="depth-first")
        await it.runtime.reload()
        await it.runtime.resume("a")
        opened("a1", "b1")
        await it.idle()
    assert gates.passed == ["b1 0", "a1 old thread", "a1 1", "a1 2"]


async def test_two_reloads_at_once_happen_one_after_the_other(organism):
    async with running(organism.path) as it:
        organism.write("a", "a2")
        first, second = await asyncio.gather(it.runtime.reload(), it.runtime.reload())
        assert (first.changed, second.changed) == (["a"], [])
        opened("a2")
        await it.inject("a", "x")
        await it.idle()
    assert gates.passed == ["a2 x"]


async def test_a_stop_during_a_reload_leaves_no_cell_behind(organism, monkeypatch):
    async with running(organism.path) as it:
        await until(lambda: it.runtime.pump.agents["a"].keeper.is_up)
        organism.write("a", "a2")
        start = it.cells.start

        async def stop_first(spec: Any) -> Any:
            await it.runtime.stop()
            return await start(spec)

        monkeypatch.setattr(it.cells, "start", stop_first)
        with pytest.raises(Stopping):
            await it.runtime.reload()
        await it.runtime.wait_stopped()
        assert [cell.name for cell in it.cells.cells.values() if not cell.is_dead] == []


async def test_reloads_under_load_lose_nothing(organism):
    async with running(organism.path) as it:
        opened("a1", "b1", "a2", "a3", "b2", "b3")
        accepted = []

        async def load() -> None:
            for number in range(150):
                accepted.append(await it.inject("ab"[number % 2], str(number)))
                await asyncio.sleep(0)

        loading = asyncio.create_task(load())
        for version in (2, 3):
            organism.write("a", f"a{version}")
            await it.runtime.reload()
            organism.write("b", f"b{version}")
            await it.runtime.reload()
        await loading
        await it.idle()
        log = await check_log(it.storage)
    assert len(log) == 300
    assert sum(text_of(each) in ("a1", "a2", "a3", "b1", "b2", "b3") for each in log) == 150
    assert not [each for each in log if each.fate]


async def test_shared_cells_are_replaced_for_changed_listeners_only(organism):
    organism.save(isolation="shared", shared_cells=1)
    async with running(organism.path) as it:
        await until(lambda: it.runtime.pump.agents["a"].keeper.is_up)
        organism.write("a", "a2")
        await it.runtime.reload()
        opened("a2", "b1")
        await it.inject("a", "x")
        await it.inject("b", "x")
        await it.idle()
        assert sorted(gates.passed) == ["a2 x", "b1 x"]
        assert [name for name, cell in it.cells.cells.items() if not cell.is_dead] == [
            "cell:shared-1", "cell:shared-1@1",
        ]  # fmt: skip
        await it.cells.cells["cell:shared-1"].die("kill -9")  # comes back with what is left of it
        await until(lambda: it.agent("b")["restarts"] == 1)
        await it.inject("b", "y")
        await it.inject("a", "y")
        await it.idle()
        assert sorted(gates.passed)[-2:] == ["b1 x", "b1 y"]


async def test_a_restarted_pump_goes_on_with_what_the_last_reload_left(organism):
    storage = MemoryStorage()
    async with running(organism.path, storage) as it:
        organism.write("a", "a2")
        organism.remove("b")
        await it.runtime.reload()
    organism.write("a", "a3")
    async with running(organism.path, storage, resume=True) as it:
        opened("a2")
        await it.inject("a", "x")
        await it.idle()
        assert gates.passed == ["a2 x"]
        assert sorted(it.runtime.pump.agents) == ["a"]
        assert (await it.runtime.reload()).changed == ["a"]
