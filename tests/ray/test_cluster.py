"""Several nodes, on this machine: where agents are placed, what the loss of a node costs, and who meets whom."""

from __future__ import annotations

import asyncio

import pytest
import ray

from tests.ray.log_checks import check_log
from tests.ray.ray_organism import RELAYS, Load, OnRay, listener, on_ray, until, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

LOST_WITHIN_S = 60.0
"""Ray counts the health checks that a node fails to answer."""

EAST = """
async def east(payload, context):
    await asyncio.sleep(0.2)
    return Reply(payload)
"""


async def test_agents_of_a_lost_node_go_on_when_one_like_it_comes(cluster, tmp_path):
    node = cluster.add_node(num_cpus=1, resources={"east": 1})
    east = listener("east", resources={"east": 1}, max_concurrent=2)
    path = write_organism(tmp_path / "organism", east, handlers=EAST, chain={"resources": {"west": 1}})
    async with on_ray(path) as organism:
        await organism.up("east")
        assert await node_of(organism, "east") == node.node_id
        assert await node_of(organism, "first") == cluster.head_node.node_id
        load = Load(organism.ref)
        async with load.running():
            sent = [await organism.send("east", f"{number}") for number in range(30)]
            cluster.remove_node(node, allow_graceful=False)
            await until(lambda: is_lost(organism, "east"), "the loss is noticed", LOST_WITHIN_S)
            await load.some_more()
            assert (await organism.agent("east"))["queue_depth"] > 0
            another = cluster.add_node(num_cpus=1, resources={"east": 1})
            await organism.up("east")
        await organism.idle()
        assert await node_of(organism, "east") == another.node_id
    check_log(organism.log, [*load.accepted, *sent], relays=(*RELAYS, "east"))


async def node_of(organism: OnRay, agent: str) -> str:
    actor = ray.get_actor((await organism.agent(agent))["cell"], organism.namespace)
    return await actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())


async def is_lost(organism: OnRay, agent: str) -> bool:
    return (await organism.agent(agent))["pid"] is None


async def test_organisms_of_one_cluster_do_not_meet(cluster, tmp_path):
    async with on_ray(write_organism(tmp_path / "one")) as one:
        async with on_ray(write_organism(tmp_path / "another")) as another:
            loads = [Load(each.ref) for each in (one, another)]
            async with loads[0].running(), loads[1].running():
                await one.kill_cell("first")
                await asyncio.gather(*(load.some_more() for load in loads))
            await asyncio.gather(one.idle(), another.idle())
            assert [(await each.agent("first"))["restarts"] for each in (one, another)] == [1, 0]
        last = await one.send("first")
        await one.idle()
    for organism, accepted in ((one, [*loads[0].accepted, last]), (another, loads[1].accepted)):
        check_log(organism.log, accepted, relays=RELAYS)
