"""Keys and limits over a real Ray: asked from outside the pump, and after its death."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import NewKey
from organism.access.principal import Bounds, Role
from organism.access.ref import ReplicaReport, Used
from organism.errors import KeyExists, KeyNotFound, TokensSpent
from organism.messages import Accepted
from organism.ray_actors import connect_access
from tests.ray.ray_organism import inject, listener, until, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

ASKS = """
async def asks(payload: Step, context: Context) -> None:
    context.count_tokens(5)
"""


async def test_access_control_is_asked_over_ray_and_survives_the_pump(start: Any, tmp_path: Path) -> None:
    auth = {"limits": {"tokens_per_day": 5}}
    async with start(write_organism(tmp_path / "organism", auth=auth)) as organism:
        access = connect_access(organism.namespace)
        _, key = await access.add_key(NewKey("ci", Role.OPERATOR, Bounds(frozenset({"first"}))))
        with pytest.raises(KeyExists):
            await access.add_key(NewKey("ci", Role.ADMIN))
        with pytest.raises(KeyNotFound):
            await access.revoke_key("nobody")
        await access.audit([AuditRecord(1, "key:ci", "pause", "first", "::1", "ok")])
        await access.count_tokens("key:ci", 5)
        with pytest.raises(TokensSpent):
            await access.check_tokens("key:ci")
        await access.sync(ReplicaReport("a", -1, {"key:ci": Used(3, 2, 1)}, {}))
        news = await access.sync(ReplicaReport("b", -1, {}, {}))
        assert (news.keys, news.others) == ([key], {"key:ci": Used(streams=1)})

        organism.kill_pump()
        again = await organism.patiently(access.sync, ReplicaReport("b", news.version, {}, {}))
        assert again.keys == [key]
        assert [each.action for each in await access.audit_page(AuditFilter(), 10)] == ["pause"]
        with pytest.raises(TokensSpent):
            await access.check_tokens("key:ci")


async def test_who_injects_pays_for_what_agents_use_in_other_processes(start: Any, tmp_path: Path) -> None:
    auth = {"limits": {"tokens_per_day": 5}}
    path = write_organism(tmp_path / "organism", listener("asks"), handlers=ASKS, auth=auth)
    async with start(path) as organism:
        access = connect_access(organism.namespace)

        async def is_spent() -> bool:
            try:
                await access.check_tokens("key:ann")
            except TokensSpent:
                return True
            return False

        assert not await is_spent()
        [accepted] = await organism.ref.submit([inject("asks")._replace(owner="key:ann")])
        assert isinstance(accepted, Accepted)
        await until(is_spent, "the tokens of the handler are counted")
        organism.kill_pump()
        thread = await organism.patiently(organism.ref.thread, accepted.thread_id)
        assert (thread.owner, thread.tokens) == ("key:ann", {"asks": 5})
        await access.check_tokens("key:bob")
