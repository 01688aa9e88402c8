from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from conftest import until

from organism.access.audit import AuditRecord
from organism.errors import StorageUnavailable
from organism.tasks import Tasks
from serve_app import auditor as auditor_module
from serve_app.auditor import FOLD_S, LOGIN_EVERY_S, LOGINS_AT_ONCE, MAX_BATCH, MAX_TEXT_CHARS, Auditor


class FakeRef:
    """Only what an Auditor asks for."""

    def __init__(self) -> None:
        self.batches: list[list[AuditRecord]] = []
        self.tries = 0
        self.down = False
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def records(self) -> list[AuditRecord]:
        return [record for batch in self.batches for record in batch]

    async def audit(self, records: list[AuditRecord]) -> None:
        self.tries += 1
        await self.answers.wait()
        if self.down:
            raise StorageUnavailable("disk full")
        self.batches.append(records)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def record(action: str = "pause", **changes) -> AuditRecord:
    return AuditRecord(1, "key:ops", action, "planner", "10.0.0.1", "ok")._replace(**changes)


def fail(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture
def ref() -> FakeRef:
    return FakeRef()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def auditor(ref, clock, monkeypatch) -> AsyncIterator[Auditor]:
    monkeypatch.setattr(auditor_module, "RETRY_S", 0.02)
    async with Auditor(ref, Tasks(fail), clock) as auditor:
        yield auditor


async def test_a_kept_record_is_stored_on_return(ref, auditor):
    await auditor.keep(record())
    assert ref.records == [record()]


async def test_noted_records_are_written_together_and_in_order(ref, auditor):
    for number in range(10):
        auditor.note(record("inject", at=number))
    assert ref.records == []
    await until(lambda: ref.records)
    assert [len(batch) for batch in ref.batches] == [10]
    assert [each.at for each in ref.records] == list(range(10))


async def test_a_kept_record_takes_those_before_it_along_at_once(ref, auditor):
    auditor.note(record("inject"))
    await auditor.keep(record("kill"))
    assert [each.action for each in ref.records] == ["inject", "kill"]


async def test_many_records_are_written_in_batches_that_are_not_too_large(ref, auditor):
    for number in range(2 * MAX_BATCH + 1):
        auditor.note(record("inject", at=number))
    await until(lambda: len(ref.records) == 2 * MAX_BATCH + 1)
    assert max(len(batch) for batch in ref.batches) == MAX_BATCH
    assert [each.at for each in ref.records] == list(range(2 * MAX_BATCH + 1))


async def test_who_keeps_a_record_is_not_held_up_by_a_storage_that_fails_and_it_is_written_later(ref, auditor, caplog):
    ref.down = True
    await auditor.keep(record())
    assert "cannot be written: storage is unavailable: disk full" in caplog.text
    ref.down = False
    await until(lambda: ref.records == [record()])


async def test_a_failing_storage_is_complained_of_once(ref, auditor, caplog):
    ref.down = True
    for _ in range(5):
        await auditor.keep(record())
    assert ref.tries >= 5
    assert len(caplog.records) == 1


async def test_a_keeper_that_was_cancelled_does_not_stop_the_writing(ref, auditor):
    ref.answers.clear()
    keeping = asyncio.create_task(auditor.keep(record()))
    await until(lambda: ref.tries)
    keeping.cancel()
    await asyncio.wait([keeping])
    ref.answers.set()
    await auditor.keep(record("kill"))
    assert [each.action for each in ref.records] == ["pause", "kill"]


async def test_what_does_not_fit_into_memory_is_counted(ref, auditor, monkeypatch, caplog):
    monkeypatch.setattr(auditor_module, "MAX_WAITING", 5)
    ref.down = True
    await auditor.keep(record())
    for _ in range(7):
        auditor.note(record("inject"))
    await auditor.keep(record("kill"))
    assert caplog.text.count("more are lost now") == 1
    ref.down = False
    await until(lambda: len(ref.records) == 6)
    overflow = ref.records[-1]
    assert overflow.action == "audit.overflow"
    assert overflow.detail == "4 records were lost while the storage did not take them"


async def test_a_flood_of_failed_logins_becomes_one_record_a_minute(ref, auditor, clock):
    for number in range(LOGINS_AT_ONCE + 30):
        auditor.note(record("login", address=f"10.0.0.{number % 3}"))
    clock.now_s += FOLD_S - 0.5
    await auditor.keep(record("tick"))
    assert [each.action for each in ref.records] == LOGINS_AT_ONCE * ["login"] + ["tick"]
    clock.now_s += 0.5
    await until(lambda: len(ref.records) == LOGINS_AT_ONCE + 2)
    assert ref.records[-1].detail == "… and 30 more from 3 addresses"


async def test_a_failed_login_after_a_flood_has_a_record_of_its_own_again(ref, auditor, clock):
    for _ in range(LOGINS_AT_ONCE + 2):
        auditor.note(record("login"))
    clock.now_s += LOGIN_EVERY_S
    auditor.note(record("login", address="10.0.0.2"))
    await until(lambda: len(ref.records) == LOGINS_AT_ONCE + 1)
    assert ref.records[-1].address == "10.0.0.2"


async def test_a_flood_from_one_address_names_it(ref, auditor, clock):
    for _ in range(LOGINS_AT_ONCE + 2):
        auditor.note(record("login"))
    clock.now_s += FOLD_S
    await until(lambda: len(ref.records) == LOGINS_AT_ONCE + 1)
    assert (ref.records[-1].address, ref.records[-1].detail) == ("10.0.0.1", "… and 2 more from this address")


async def test_an_hour_of_login_failures_takes_little_room(ref, auditor, clock):
    for _ in range(3600):
        for _ in range(20):
            auditor.note(record("login"))
        clock.now_s += 1
        await auditor.keep(record("tick"))
    logins = [each for each in ref.records if each.action == "login"]
    assert len(logins) <= LOGINS_AT_ONCE + 3600 / LOGIN_EVERY_S + 3600 / FOLD_S


async def test_what_is_left_is_written_at_close(ref, clock):
    async with Auditor(ref, Tasks(fail), clock) as auditor:
        for _ in range(LOGINS_AT_ONCE + 5):
            auditor.note(record("login"))
        for _ in range(3 * MAX_BATCH):
            auditor.note(record("inject"))
    assert len(ref.records) == LOGINS_AT_ONCE + 3 * MAX_BATCH + 1


async def test_a_storage_that_is_away_does_not_hold_up_the_close(ref, clock, monkeypatch, caplog):
    monkeypatch.setattr(auditor_module, "CLOSE_WITHIN_S", 0.05)
    ref.answers.clear()
    async with asyncio.timeout(2), Auditor(ref, Tasks(fail), clock) as auditor:
        auditor.note(record())
    assert "1 audit records could not be written and are lost" in caplog.text


async def test_nobody_waits_for_an_auditor_that_is_closed(ref, clock, caplog):
    async with Auditor(ref, Tasks(fail), clock) as auditor:
        pass
    await auditor.keep(record())
    assert ref.records == []


async def test_without_access_control_nothing_is_recorded(caplog):
    caplog.set_level(logging.DEBUG)
    async with Auditor(None, Tasks(fail)) as auditor:
        auditor.note(record())
        await auditor.keep(record())
    assert [each for each in caplog.records if each.name.startswith("serve_app")] == []


async def test_records_hold_no_secrets_and_nothing_a_terminal_obeys(ref, auditor):
    secret = "sk-abcdefghijklmnop0123456789"
    await auditor.keep(record(target="a\x1b[31m\nb\x00\udcff", detail=f"said {secret}", who="user:\u202ex"))
    stored = ref.records[0]
    assert stored.target == "a\\x1b[31m\\nb\\x00\\udcff"
    assert "abcdefgh" not in stored.detail
    assert stored.who == "user:\\u202ex"


async def test_long_texts_are_cut_after_they_are_masked(ref, auditor):
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlc2lnbmF0dXJl"
    await auditor.keep(record(target="/" * 180 + secret, detail="x" * 100_000))
    assert ref.records[0].target == "/" * 180 + "***"
    assert len(ref.records[0].detail) == MAX_TEXT_CHARS
