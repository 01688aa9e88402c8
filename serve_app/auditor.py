"""Writes down who did what: in batches, by one task, so that their order stays and nobody who need not wait does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Self

from organism.access.audit import AuditRecord
from organism.access.ref import AccessRef
from organism.errors import OrganismError
from organism.masking import mask_text
from organism.messages import now_ms
from organism.tasks import Tasks

MAX_BATCH = 500
BATCH_S = 0.1
MAX_WAITING = 10_000
"""Records in memory, where the storage does not take them."""

RETRY_S = 1.0
CLOSE_WITHIN_S = 2.0

MAX_TEXT_CHARS = 200
MAX_NAME_CHARS = 15
"""No secret is shorter."""

MAX_MASKED_CHARS = 2000
"""Of a text that is looked through for secrets before it is cut."""

LOGINS_AT_ONCE = 20
LOGIN_EVERY_S = 3.0
FOLD_S = 60.0
"""Anyone can fail to log in, and no record is ever deleted: so there are LOGINS_AT_ONCE records of it, one more each
LOGIN_EVERY_S, and one each FOLD_S for all others. Some 30,000 a day, of less than 1 kB, at most."""

MAX_ADDRESSES = 1000

logger = logging.getLogger(__name__)


class Auditor:
    """An async context manager, around all that notes.

    ref: None for an app without access control: nothing is recorded. clock: in seconds, never back.
    """

    def __init__(self, ref: AccessRef | None, tasks: Tasks, clock: Callable[[], float] = time.monotonic) -> None:
        self._ref = ref
        self._tasks = tasks
        self._clock = clock
        self._logins = _Logins(clock)
        self._records: deque[AuditRecord] = deque()
        self._added = 0
        self._written = 0
        self._lost = 0
        self._keepers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_closing = False
        self._writing: asyncio.Task[None] | None = None
        self._complaint = ""

    async def __aenter__(self) -> Self:
        if self._ref is not None:
            self._writing = self._tasks.spawn(self._write_always(self._ref), "audit")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes what is left, for at most CLOSE_WITHIN_S."""
        if self._writing is None:
            return
        self._is_closing = True
        self._news.set()
        self._hurry.set()
        await asyncio.wait({self._writing}, timeout=CLOSE_WITHIN_S)
        self._writing.cancel()
        if left := len(self._records) + self._lost:
            logger.error("%d audit records could not be written and are lost: %s", left, self._complaint)

    def note(self, record: AuditRecord) -> None:
        """Returns at once; the record is written within BATCH_S. Call it in the event loop."""
        if self._ref is None:
            return
        if record.action != "login" or self._logins.passes(record):
            self._add(record)
        self._news.set()
        if len(self._records) >= MAX_BATCH and not self._complaint:
            self._hurry.set()

    async def keep(self, record: AuditRecord) -> None:
        """The record is durable on return. What it tells of has happened already: where the storage fails, that is
        logged, and it is tried again later."""
        if self._writing is None or self._writing.done() or not self._add(record):
            return
        kept = asyncio.get_running_loop().create_future()
        self._keepers.append((self._added, kept))
        self._news.set()
        self._hurry.set()
        await kept

    def _add(self, record: AuditRecord) -> bool:
        if len(self._records) >= MAX_WAITING:
            if not self._lost:
                logger.error("more than %d audit records wait to be written; more are lost now", MAX_WAITING)
            self._lost += 1
            return False
        self._records.append(_cleaned(record))
        self._added += 1
        return True

    async def _write_always(self, ref: AccessRef) -> None:
        """Returns when all is written and the auditor closes."""
        try:
            while not self._is_closing or self._records or self._lost or self._logins.folded:
                await self._news.wait()
                if not (self._keepers or self._is_closing or len(self._records) >= MAX_BATCH):
                    await self._rest(BATCH_S)
                self._sum_up()
                if self._records and not await self._write_some(ref):
                    self._answer_keepers(self._added)
                    await self._rest(RETRY_S)
        finally:
            self._answer_keepers(self._added)

    async def _rest(self, most_s: float) -> None:
        """Less where there is a hurry: a full batch, or somebody who waits."""
        self._hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._hurry.wait()

    def _sum_up(self) -> None:
        """Adds the records that stand for many, where there is room again, and a minute of logins is over."""
        if folded := self._logins.summary(self._is_closing):
            self._add(folded)
        if self._lost and len(self._records) < MAX_WAITING:
            lost, self._lost = self._lost, 0
            detail = f"{lost} records were lost while the storage did not take them"
            self._add(AuditRecord(now_ms(), "", "audit.overflow", "", "", "failed", detail))
        if not self._records and not self._logins.folded:
            self._news.clear()

    async def _write_some(self, ref: AccessRef) -> bool:
        """They stay in memory until they are stored. Should the pump store them and not live to say so, they are
        there twice: better than not at all."""
        batch = list(islice(self._records, MAX_BATCH))
        try:
            await ref.audit(batch)
        except OrganismError as error:
            if self._complaint != str(error):
                logger.error("%d audit records wait, as they cannot be written: %s", len(self._records), error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        for _ in batch:
            self._records.popleft()
        self._written += len(batch)
        self._answer_keepers(self._written)
        return True

    def _answer_keepers(self, number: int) -> None:
        """Those of the records up to this number."""
        while self._keepers and self._keepers[0][0] <= number:
            kept = self._keepers.popleft()[1]
            if not kept.done():  # whoever waited may have been cancelled
                kept.set_result(None)


class _Logins:
    """Lets some failures through and counts the rest, so that nobody can fill the disk with them.

    A token bucket: of LOGINS_AT_ONCE, with one more each LOGIN_EVERY_S.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._room = float(LOGINS_AT_ONCE)
        self._room_at_s = self._folding_since_s = clock()
        self._addresses: set[str] = set()
        self.folded = 0

    def passes(self, record: AuditRecord) -> bool:
        now_s = self._clock()
        self._room = min(LOGINS_AT_ONCE, self._room + (now_s - self._room_at_s) / LOGIN_EVERY_S)
        self._room_at_s = now_s
        if self._room >= 1.0:
            self._room -= 1.0
            return True
        self._fold(record, now_s)
        return False

    def _fold(self, record: AuditRecord, now_s: float) -> None:
        if not self.folded:
            self._folding_since_s = now_s
        self.folded += 1
        if len(self._addresses) < MAX_ADDRESSES:
            self._addresses.add(record.address)

    def summary(self, at_once: bool) -> AuditRecord | None:
        """One record for all that were counted, FOLD_S after the first of them."""
        if not self.folded or not (at_once or self._clock() - self._folding_since_s >= FOLD_S):
            return None
        count = len(self._addresses)
        addresses = f"{count} addresses" if count < MAX_ADDRESSES else f"{count} addresses or more"
        address = next(iter(self._addresses)) if count == 1 else ""
        detail = f"… and {self.folded} more from {addresses if count != 1 else 'this address'}"
        self.folded = 0
        self._addresses.clear()
        return AuditRecord(now_ms(), "", "login", "", address, "refused", detail)


def _cleaned(record: AuditRecord) -> AuditRecord:
    at, who, action, target, address, outcome, detail, _ = record
    return AuditRecord(at, _printable(who), action, _masked(target), _printable(address), outcome, _masked(detail))


def _masked(text: str) -> str:
    """Most targets are names of agents, and most details empty."""
    if not text or (text.isidentifier() and len(text) <= MAX_NAME_CHARS):
        return text
    return _printable(mask_text(text[:MAX_MASKED_CHARS]))


def _printable(text: str) -> str:
    """At most MAX_TEXT_CHARS of it, without what a terminal would obey or a database refuse."""
    text = text[:MAX_TEXT_CHARS]
    if text.isprintable():
        return text
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown[:MAX_TEXT_CHARS]
