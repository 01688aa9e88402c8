"""How pump and cells live as actors: names, generations, leftovers, and options that Ray does not take."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from organism.errors import ConfigError, OrganismUnreachable
from organism.ray_actors import connect, shut_down
from tests.ray.log_checks import check_log, read_log
from tests.ray.ray_organism import HANDLERS, RELAYS, Load, OnRay, listener, until, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


def actor_names(organism: OnRay) -> set[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return {each["name"] for each in named if each["namespace"] == organism.namespace}


async def test_actors_are_named_for_what_they_are(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        await organism.up("first", "second", "last")
        names = {"pump", "agent:first", "agent:second", "agent:last"}
        assert actor_names(organism) == names
        for name in names:
            actor = ray.get_actor(name, organism.namespace)
            assert await actor.__ray_call__.remote(repr) == name
    assert actor_names(organism) == set()
    with pytest.raises(OrganismUnreachable, match=f"no pump in namespace '{organism.namespace}'"):
        connect(organism.namespace)
    await shut_down(organism.namespace)  # once more: no error


async def test_a_reload_gives_changed_code_a_fresh_process(start, tmp_path):
    steady = listener("steady", handler="more.steady", payload_class="more.Step")
    path = write_organism(tmp_path / "organism", steady)
    (path.parent / "more.py").write_text(HANDLERS.replace("async def last", "async def steady"))
    async with start(path) as organism:
        names = ["first", "second", "last", "steady"]
        await organism.up(*names)
        before = {name: (await organism.agent(name))["pid"] for name in names}
        load = Load(organism.ref)
        async with load.running():
            change(path, 'return Send(payload, to="last")', 'return Send(Step(text=payload.text), to="last")')
            assert (await organism.ref.reload()).unchanged == ["steady"]
            await load.some_more()
        await organism.idle()
        assert [name for name in names if (await organism.agent(name))["pid"] == before[name]] == ["steady"]
        left = {"pump", "agent:first@1", "agent:second@1", "agent:last@1", "agent:steady"}
        await until(lambda: actor_names(organism) == left, "the old cells are ended")
    check_log(organism.log, load.accepted, relays=RELAYS)


def change(path: Path, old: str, new: str) -> None:
    file = path.parent / "handlers.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


WAITING = """
async def waiting(payload, context):
    await asyncio.sleep(3600)
"""


async def test_a_new_pump_ends_the_cells_of_an_earlier_generation(start, tmp_path):
    path = write_organism(tmp_path / "organism", listener("waiting"), handlers=WAITING)
    async with start(path) as organism:
        await organism.up("waiting")
        sent = await organism.send("waiting")
        await until(lambda: is_processing(organism), "its handler runs")
        change(path, "await asyncio.sleep(3600)", "return None")
        await organism.ref.reload()
        assert {"agent:waiting", "agent:waiting@1"} <= actor_names(organism)
        organism.kill_pump()
        await organism.idle()
        await until(lambda: "agent:waiting" not in actor_names(organism), "the old cell is ended")
    check_log(organism.log, [sent])


async def is_processing(organism: OnRay) -> bool:
    return (await organism.agent("waiting"))["running"] == 1


async def test_a_new_pump_replaces_a_cell_that_does_not_answer(start, tmp_path):
    blocking = """
async def blocking(payload, context):
    open(payload.text + ".seen", "w").close()
    time.sleep(0 if os.path.exists(payload.text) else 3600)
"""
    path = write_organism(tmp_path / "organism", listener("blocking"), handlers=blocking)
    flag = tmp_path / "flag"
    async with start(path) as organism:
        await organism.up("blocking")
        before = (await organism.agent("blocking"))["pid"]
        sent = await organism.send("blocking", str(flag))
        await until(tmp_path.joinpath("flag.seen").exists, "its handler blocks the process")
        organism.kill_pump()
        flag.touch()
        await organism.idle()
        assert (await organism.agent("blocking"))["pid"] != before
    check_log(organism.log, [sent])


async def test_a_cell_that_cannot_report_any_more_is_replaced(start, tmp_path):
    async with start(write_organism(tmp_path / "organism")) as organism:
        await organism.up("first")
        actor = ray.get_actor("agent:first", organism.namespace)
        await actor.__ray_call__.remote(lambda cell: setattr(cell._link, "report", None))
        sent = await organism.send("first")
        await organism.idle()
        assert (await organism.agent("first"))["restarts"] == 1
    check_log(organism.log, [sent], relays=RELAYS)


ENVIRONMENTS = pytest.mark.parametrize(
    ("runtime_env", "reason"),
    [({"env_vars": {"A": 1}}, "the value 1 is of type"), ({"working_dir": "file:///nothing/here.zip"}, "No such file")],
    ids=["refused at once", "refused while it is made"],
)
ODD = "\nasync def odd(payload, context):\n    return None\n"


@ENVIRONMENTS
async def test_an_environment_that_ray_cannot_make_costs_only_its_agent(start, tmp_path, runtime_env, reason):
    odd = listener("odd", runtime_env=runtime_env)
    path = write_organism(tmp_path / "organism", odd, handlers=ODD, supervision={"max_restarts": 1})
    async with start(path) as organism:
        agent = await until(lambda: failed(organism), "it is given up")
        assert reason in agent["error"]
        accepted = await organism.send("first")
        await until(lambda: not read_log(organism.log).queued, "all is handled")
    check_log(organism.log, [accepted], relays=RELAYS)


@ENVIRONMENTS
async def test_a_reload_tells_of_an_environment_that_ray_cannot_make(start, tmp_path, runtime_env, reason):
    path = write_organism(tmp_path / "organism", handlers=ODD)
    async with start(path) as organism:
        write_organism(path.parent, listener("odd", runtime_env=runtime_env), handlers=ODD)
        with pytest.raises(ConfigError, match=reason):
            await organism.ref.reload()
        accepted = await organism.send("first")
        await organism.idle()
    check_log(organism.log, [accepted], relays=RELAYS)


async def test_a_reload_waits_for_a_cell_that_nobody_can_run_only_so_long(start, tmp_path):
    path = write_organism(tmp_path / "organism", handlers=ODD)
    async with start(path) as organism:
        odd = listener("odd", resources={"nowhere": 1})
        write_organism(path.parent, odd, handlers=ODD, supervision={"start_timeout_s": 2})
        with pytest.raises(ConfigError, match=r"agent:odd@1 has not started within 2 s.*resources"):
            await organism.ref.reload()
        assert "agent:odd@1" not in actor_names(organism)
        accepted = await organism.send("first")
        await organism.idle()
    check_log(organism.log, [accepted], relays=RELAYS)


async def failed(organism: OnRay) -> dict[str, object] | None:
    agent = await organism.agent("odd")
    return agent if agent["state"] == "error" else None
