from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.desk import FORGET_S, LOOK_S, USES_S, AccessDesk
from organism.access.keys import NewKey, issue, parse_key
from organism.access.principal import Role
from organism.access.ref import AccessNews, ReplicaReport, Used
from organism.config import PrincipalLimits
from organism.errors import KeyExists, KeyNotFound, StorageUnavailable, TokensSpent
from organism.storage.access.memory import MemoryAccessStorage

NEW = NewKey("ci", Role.OPERATOR)


class BrokenStorage(MemoryAccessStorage):
    """Fails as long as `is_broken`; counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.asked = 0

    def _answer(self) -> None:
        self.asked += 1
        if self.is_broken:
            raise StorageUnavailable("the disk is full")

    async def version(self) -> int:
        self._answer()
        return await super().version()

    async def note_uses(self, uses: dict[str, int]) -> None:
        self._answer()
        await super().note_uses(uses)

    async def tokens(self, principal: str, day: str) -> int:
        self._answer()
        return await super().tokens(principal, day)


class Setting:
    """A desk with a clock and a calendar that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.day = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
        self.limits = PrincipalLimits()
        self.storage = BrokenStorage()
        self.desk = AccessDesk(self.storage, lambda: self.limits, clock_s=lambda: self.now_s, today=lambda: self.day)

    async def sync(
        self, replica: str = "a", version: int = -1, uses: dict[str, int] | None = None, **used: Used
    ) -> AccessNews:
        return await self.desk.sync(ReplicaReport(replica, version, used, uses or {}))


@pytest.fixture
def setting() -> Setting:
    return Setting()


# Keys


async def test_an_issued_key_is_stored_as_a_hash_only(setting: Setting) -> None:
    text, key = await setting.desk.add_key(NEW)
    key_id, secret = parse_key(text) or ("", "")
    assert key_id == key.id
    assert key.fits(secret)
    assert secret not in repr(setting.storage.key_rows)
    with pytest.raises(KeyExists):
        await setting.desk.add_key(NEW)


async def test_replicas_get_the_keys_when_they_have_changed(setting: Setting) -> None:
    first = await setting.sync()
    assert first.keys == []
    assert (await setting.sync(version=first.version)).keys is None
    _, key = await setting.desk.add_key(NEW)
    second = await setting.sync(version=first.version)
    assert second.keys == [key]
    revoked = await setting.desk.revoke_key("ci")
    third = await setting.sync(version=second.version)
    assert third.keys == [revoked]
    assert revoked.revoked_at is not None
    assert (await setting.sync("new")).keys == [revoked]


async def test_keys_of_other_processes_are_seen_within_a_second(setting: Setting) -> None:
    news = await setting.sync()
    await setting.storage.add_key(issue(NEW, 1).key)
    setting.now_s += 2 * LOOK_S
    assert [key.name for key in (await setting.sync(version=news.version)).keys or []] == ["ci"]


async def test_many_replicas_read_the_storage_no_more_often_than_one(setting: Setting) -> None:
    for replica in "abcdef":
        await setting.sync(replica)
    assert setting.storage.asked == 1


async def test_a_key_is_revoked_by_name_or_id_once(setting: Setting) -> None:
    for name in ("name", "id"):
        _, key = await setting.desk.add_key(NEW)
        by = {"name": key.name, "id": key.id}[name]
        assert (await setting.desk.revoke_key(by)).id == key.id
        with pytest.raises(KeyNotFound):
            await setting.desk.revoke_key(by)


async def test_known_keys_count_while_the_storage_is_away(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.storage.is_broken = True
    with pytest.raises(StorageUnavailable):
        await setting.sync()
    setting.storage.is_broken = False
    _, key = await setting.desk.add_key(NEW)
    setting.storage.is_broken = True
    for _ in range(3):
        setting.now_s += 2 * LOOK_S
        assert (await setting.sync()).keys == [key]
    assert caplog.text.count("not seen for now") == 1


async def test_a_key_that_was_stored_is_told_also_when_the_storage_fails_then(setting: Setting) -> None:
    setting.storage.is_broken = True
    text, _ = await setting.desk.add_key(NEW)
    setting.storage.is_broken = False
    assert parse_key(text)
    assert len((await setting.sync()).keys or []) == 1


# Uses of keys


async def test_uses_are_stored_now_and_then_and_at_the_end(setting: Setting) -> None:
    _, key = await setting.desk.add_key(NEW)
    await setting.sync(uses={key.id: 50})
    await setting.sync("b", uses={key.id: 40})
    assert setting.storage.key_rows[key.id].last_used_at is None
    assert [each.last_used_at for each in await setting.desk.keys()] == [50]
    setting.now_s += USES_S
    await setting.sync()
    assert setting.storage.key_rows[key.id].last_used_at == 50
    await setting.sync(uses={key.id: 60})
    await setting.desk.close()
    assert setting.storage.key_rows[key.id].last_used_at == 60


async def test_uses_that_cannot_be_stored_fail_no_sync_and_are_kept(setting: Setting) -> None:
    _, key = await setting.desk.add_key(NEW)
    setting.storage.is_broken = True
    setting.now_s += USES_S
    await setting.sync(uses={key.id: 50})
    setting.storage.is_broken = False
    await setting.desk.close()
    assert setting.storage.key_rows[key.id].last_used_at == 50


# What replicas tell each other


async def test_a_replica_learns_once_what_others_used(setting: Setting) -> None:
    await setting.sync("a")
    await setting.sync("b", p=Used(3, 1))
    await setting.sync("c", p=Used(2, 2), q=Used(5))
    assert (await setting.sync("a")).others == {"p": Used(5, 3), "q": Used(5)}
    assert (await setting.sync("a", p=Used(9))).others == {}
    assert (await setting.sync("b")).others == {"p": Used(11, 2), "q": Used(5)}


async def test_open_streams_elsewhere_are_told_each_time(setting: Setting) -> None:
    await setting.sync("a", p=Used(streams=7))
    await setting.sync("b", p=Used(streams=2))
    await setting.sync("c", p=Used(streams=1))
    assert (await setting.sync("a", p=Used(streams=7))).others == {"p": Used(streams=3)}
    await setting.sync("b")
    assert (await setting.sync("a")).others == {"p": Used(streams=1)}


async def test_a_replica_that_is_gone_has_no_streams(setting: Setting) -> None:
    await setting.sync("a")
    await setting.sync("gone", p=Used(streams=2))
    assert (await setting.sync("a")).others == {"p": Used(streams=2)}
    setting.now_s += FORGET_S
    assert (await setting.sync("a")).others == {}


# Tokens


async def test_who_has_used_the_tokens_of_today_waits_until_midnight(setting: Setting) -> None:
    setting.limits = PrincipalLimits(tokens_per_day=10)
    await setting.desk.count_tokens("key:ci", 9)
    await setting.desk.check_tokens("key:ci")
    await setting.desk.count_tokens("key:ci", 1)
    with pytest.raises(TokensSpent) as refused:
        await setting.desk.check_tokens("key:ci")
    assert (refused.value.limit, refused.value.retry_after_s) == (10, 5400)
    await setting.desk.check_tokens("key:other")
    setting.day = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    await setting.desk.check_tokens("key:ci")
    assert setting.storage.token_counts == {("key:ci", "2026-11-21"): 10}


async def test_limits_hold_after_a_reload_and_a_restart(setting: Setting) -> None:
    await setting.desk.count_tokens("key:ci", 9)
    await setting.desk.check_tokens("key:ci")
    setting.limits = PrincipalLimits(tokens_per_day=5)
    with pytest.raises(TokensSpent):
        await setting.desk.check_tokens("key:ci")
    restarted = AccessDesk(setting.storage, lambda: setting.limits, today=lambda: setting.day)
    with pytest.raises(TokensSpent):
        await restarted.check_tokens("key:ci")


async def test_the_storage_is_asked_once_for_todays_tokens(setting: Setting) -> None:
    setting.limits = PrincipalLimits(tokens_per_day=5)
    for _ in range(3):
        await setting.desk.check_tokens("key:ci")
    assert setting.storage.asked == 1


# Audit


async def test_audit_records_are_stored_and_read(setting: Setting) -> None:
    records = [AuditRecord(at, "key:ci", "pause", "greeter", "::1", "ok") for at in (1, 2)]
    await setting.desk.audit(records)
    await setting.desk.audit([])
    assert [each.at for each in await setting.desk.audit_page(AuditFilter(), 10)] == [2, 1]


amounts = st.builds(Used, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
reports = st.lists(st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from("pq"), amounts)), max_size=20)


@settings(deadline=None)
@given(made=reports)
async def test_each_replica_learns_all_that_others_used_and_nothing_of_its_own(
    made: list[tuple[str, dict[str, Used]]],
) -> None:
    setting = Setting()
    told, expected = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for replica in "abc":
        await setting.sync(replica)
    for replica, used in [*made, ("a", {}), ("b", {}), ("c", {})]:
        for principal, each in used.items():
            expected.update({(other, principal): each.requests for other in "abc" if other != replica})
        others = (await setting.sync(replica, **used)).others
        told.update({(replica, principal): each.requests for principal, each in others.items()})
    assert +told == +expected
