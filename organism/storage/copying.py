"""Copies a whole store, the log, the sessions, keys, audit log and today's tokens, from one provider to another.

Page by page, so that memory stays bounded; both stores are open and nobody else writes to them. A copy that was
interrupted is of no use: nothing takes it up again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from organism.access.audit import AuditFilter, AuditRecord
from organism.errors import StorageError
from organism.messages import DeadLetter, Message
from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.access.base import AccessStorage
from organism.storage.base import Commit, MessageFilter, Pending, Storage, ThreadFilter
from organism.storage.sessions.base import SessionCommit, SessionStorage
from organism.threads import Thread

MESSAGES_PER_PAGE = 250
"""Messages, queued messages, dead letters and events: each may have a payload of a megabyte."""

RECORDS_PER_PAGE = 1000
"""Threads, sessions, and records of the audit log."""

Progress = Callable[[str, int], None]
"""Told how many of what are copied: `("messages", 1250)`."""


async def log_is_empty(log: Storage) -> bool:
    """Whether nothing was ever written to an open log."""
    totals = await log.totals()
    _, threads = await log.threads(ThreadFilter(), 1, 0)
    return not (totals.last_seq or totals.queued or totals.settings or threads)


async def sessions_are_empty(sessions: SessionStorage) -> bool:
    _, count = await sessions.sessions(SessionFilter(), 1, 0)
    return count == 0


async def copy_log(source: Storage, target: Storage, progress: Progress) -> dict[str, int]:
    """Copies everything of a log into an empty one; returns how many of what.

    Raises:
        StorageError: what is in the target then is not what is in the source.
    """
    counts = _Counts(progress)
    async for messages in _messages(source):
        await target.commit(Commit(messages=messages))
        counts.add("messages", len(messages))
    async for threads in _threads(source):
        await target.commit(Commit(threads=threads))
        counts.add("threads", len(threads))
    async for waiting in _queued(source):
        places = [(each.message.recipient, each.message.seq) for each in waiting]
        deaths = [(each.message.recipient, each.message.seq, each.deaths) for each in waiting if each.deaths]
        await target.commit(Commit(queued=places, deaths=deaths))
        counts.add("queued", len(waiting))
    async for letters in _dead_letters(source):
        await target.commit(Commit(dead=letters))
        counts.add("dead_letters", len(letters))
    settings = (await source.totals()).settings
    await target.commit(Commit(settings=dict(settings)))
    counts.add("settings", len(settings))
    await _check_log(source, target)
    return counts.by_name


async def copy_sessions(source: SessionStorage, target: SessionStorage, progress: Progress) -> dict[str, int]:
    """Copies all sessions and their events into an empty storage; returns how many of what.

    Raises:
        StorageError: as `copy_log`.
    """
    counts = _Counts(progress)
    batch = SessionCommit()

    async def flush() -> None:
        await target.commit(batch)
        counts.add("events", len(batch.events))
        counts.add("sessions", len(batch.records))
        batch.events.clear()
        batch.records.clear()

    async for records in _sessions(source):
        for record in records:
            async for frames in _events(source, record.id):
                batch.events += frames
                if len(batch.events) >= MESSAGES_PER_PAGE:
                    await flush()
            batch.records.append(record)
        await flush()
    await _check_sessions(source, target)
    return counts.by_name


async def access_is_empty(access: AccessStorage, today: str) -> bool:
    return not (await access.keys() or await access.audit(AuditFilter(), 1) or await access.tokens_of_day(today))


async def copy_access(source: AccessStorage, target: AccessStorage, progress: Progress, today: str) -> dict[str, int]:
    """Copies all keys, the audit log, whose records get new numbers, and the tokens that were used `today`
    (2026-11-21, of UTC), into an empty storage; returns how many of what. Tokens of other days count for nothing.

    Raises:
        StorageError: as `copy_log`.
    """
    counts = _Counts(progress)
    keys = await source.keys()
    for key in keys:
        await target.add_key(key)
    counts.add("keys", len(keys))
    async for records in _audit(source):
        await target.append_audit(records)
        counts.add("audit_records", len(records))
    used = await source.tokens_of_day(today)
    for principal, tokens in used.items():
        await target.add_tokens(principal, today, tokens)
    counts.add("token_counts", len(used))
    if await target.keys() != keys:
        raise _differs("list of keys")
    if await target.tokens_of_day(today) != used:
        raise _differs("number of tokens used today")
    return counts.by_name


class _Counts:
    def __init__(self, progress: Progress) -> None:
        self.by_name: dict[str, int] = {}
        self._progress = progress

    def add(self, name: str, number: int) -> None:
        self.by_name[name] = self.by_name.get(name, 0) + number
        self._progress(name, self.by_name[name])


async def _messages(log: Storage) -> AsyncIterator[list[Message]]:
    after_seq = 0
    while page := await log.message_page(MessageFilter(after_seq=after_seq), MESSAGES_PER_PAGE):
        yield page
        after_seq = page[-1].seq


async def _threads(log: Storage) -> AsyncIterator[list[Thread]]:
    offset = 0
    while page := (await log.threads(ThreadFilter(), RECORDS_PER_PAGE, offset))[0]:
        yield list((await log.threads_by_id([thread.id for thread in page])).values())  # whole, states and todos too
        offset += len(page)


async def _queued(log: Storage) -> AsyncIterator[list[Pending]]:
    for recipient in (await log.totals()).queued:
        after_seq = 0
        while page := await log.queued(recipient, after_seq, MESSAGES_PER_PAGE):
            yield page
            after_seq = page[-1].message.seq


async def _dead_letters(log: Storage) -> AsyncIterator[list[DeadLetter]]:
    offset = 0
    while page := (await log.dead_letters(None, MESSAGES_PER_PAGE, offset))[0]:
        yield page
        offset += len(page)


async def _sessions(sessions: SessionStorage) -> AsyncIterator[list[SessionRecord]]:
    """Pages of all. One with records that cannot be read is short, or empty, and not the last."""
    _, total = await sessions.sessions(SessionFilter(), 0, 0)
    for offset in range(0, total, RECORDS_PER_PAGE):
        yield (await sessions.sessions(SessionFilter(), RECORDS_PER_PAGE, offset))[0]


async def _events(sessions: SessionStorage, session_id: str) -> AsyncIterator[list[Frame]]:
    after_seq = 0
    while page := await sessions.events(session_id, after_seq, MESSAGES_PER_PAGE):
        yield page
        after_seq = page[-1].seq or after_seq


async def _audit(access: AccessStorage) -> AsyncIterator[list[AuditRecord]]:
    """The oldest first, though they are read from the newest on. Numbers may be missing, so pages may be short."""
    newest = await access.audit(AuditFilter(), 1)
    for after_seq in range(0, newest[0].seq if newest else 0, RECORDS_PER_PAGE):
        page = await access.audit(AuditFilter(before=after_seq + RECORDS_PER_PAGE + 1), RECORDS_PER_PAGE)
        yield [record for record in reversed(page) if record.seq > after_seq]


async def _check_log(source: Storage, target: Storage) -> None:
    if await source.totals() != await target.totals():
        raise _differs("totals of the log")
    for name, count in (("threads", _thread_count), ("dead letters", _dead_letter_count)):
        if await count(source) != await count(target):
            raise _differs(f"number of {name}")


async def _thread_count(log: Storage) -> int:
    return (await log.threads(ThreadFilter(), 1, 0))[1]


async def _dead_letter_count(log: Storage) -> int:
    return (await log.dead_letters(None, 1, 0))[1]


async def _check_sessions(source: SessionStorage, target: SessionStorage) -> None:
    async for records in _sessions(source):
        found = await target.records([record.id for record in records])
        for record in records:
            if found.get(record.id) != record:
                raise _differs(f"record of session {record.id}")
            if await source.last_events(record.id, 1) != await target.last_events(record.id, 1):
                raise _differs(f"newest event of session {record.id}")


def _differs(what: str) -> StorageError:
    return StorageError(f"the copy is not whole: the {what} is not that of the original; remove it and copy again")
