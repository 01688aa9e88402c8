"""Storage in the memory of the process: for tests, and for organisms whose log may go with them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import chain, islice

from organism.errors import StorageError, StorageUnavailable
from organism.messages import DeadLetter, Message
from organism.storage.base import Commit, MessageFilter, Pending, ThreadFilter, Totals
from organism.storage.continuity import check_continues
from organism.threads import Thread


class MemoryStorage:
    """A log in lists and dicts. It outlives `close`, so that a second `open` finds it again, as a file would be.

    log: all messages by position (`log[0]` has seq 1). waiting: recipient → seq → deaths. thread_records, letters,
    settings: by thread id, seq and key. commits: how many were made. `failing`: a text here makes every method raise
    StorageUnavailable with it, None heals it.
    """

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.waiting: dict[str, dict[int, int]] = {}
        self.thread_records: dict[str, Thread] = {}
        self.letters: dict[int, DeadLetter] = {}
        self.settings: dict[str, str] = {}
        self.commits = 0
        self.failing: str | None = None
        self._slots: dict[str, dict[int, int]] = {}  # thread id → slot_index → seq

    async def open(self) -> Totals:
        return await self.totals()

    async def close(self) -> None:
        pass

    async def commit(self, commit: Commit) -> None:
        self._check_medium()
        check_continues(commit.messages, len(self.log))
        self._check_slots(commit.messages)
        self._append(commit.messages)
        self._queue(commit)
        self._change_fates(commit)
        self.thread_records.update((thread.id, copy.deepcopy(thread)) for thread in commit.threads)
        for key, value in commit.settings.items():
            self._set(key, value)
        self.commits += 1

    async def totals(self) -> Totals:
        self._check_medium()
        return Totals(
            last_seq=len(self.log),
            queued={recipient: len(queue) for recipient, queue in self.waiting.items() if queue},
            active_threads=sum(thread.status == "active" for thread in self.thread_records.values()),
            settings=dict(self.settings),
        )

    async def queued(self, recipient: str, after_seq: int, limit: int) -> list[Pending]:
        self._check_medium()
        queue = self.waiting.get(recipient, {})
        return [Pending(self._message(seq), queue[seq]) for seq in sorted(queue) if seq > after_seq][:limit]

    async def queued_in_thread(self, thread_id: str) -> list[Pending]:
        self._check_medium()
        messages = (self._message(seq) for seq in self._slots.get(thread_id, {}).values())
        queues = ((message, self.waiting.get(message.recipient, {})) for message in messages)
        return [Pending(message, queue[message.seq]) for message, queue in queues if message.seq in queue]

    async def threads_by_id(self, thread_ids: list[str]) -> dict[str, Thread]:
        self._check_medium()
        found = (self.thread_records[id_] for id_ in thread_ids if id_ in self.thread_records)
        return {thread.id: copy.deepcopy(thread) for thread in found}

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        self._check_medium()
        matching = [thread for thread in self.thread_records.values() if _thread_matches(thread, where)]
        matching.sort(key=lambda thread: thread.id, reverse=True)
        return copy.deepcopy(matching[offset : offset + limit]), len(matching)

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        self._check_medium()
        matching = [message for message in self._candidates(where) if _message_matches(message, where)]
        total = len(matching)
        if newest_first:
            matching.reverse()
        return matching[offset : offset + limit], total

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        self._check_medium()
        matching = (message for message in self._candidates(where) if _message_matches(message, where))
        return list(islice(matching, limit))

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        self._check_medium()
        matching = [letter for letter in self._all_letters() if agent is None or letter.message.recipient == agent]
        matching.sort(key=lambda letter: (letter.died_ms, letter.message.seq), reverse=True)
        return matching[offset : offset + limit], len(matching)

    async def dead_letter(self, message_id: str) -> DeadLetter | None:
        self._check_medium()
        return next((letter for letter in self._all_letters() if letter.message.id == message_id), None)

    def _check_medium(self) -> None:
        if self.failing is not None:
            raise StorageUnavailable(self.failing)

    def _check_slots(self, messages: list[Message]) -> None:
        taken = {(message.thread_id, message.slot_index) for message in messages}
        if len(taken) < len(messages) or any(slot in self._slots.get(thread, {}) for thread, slot in taken):
            raise StorageError("two messages have one slot_index in their thread")

    def _message(self, seq: int) -> Message:
        return self.log[seq - 1]

    def _candidates(self, where: MessageFilter) -> Iterable[Message]:
        """In log order, at least the messages that match: those of the threads asked for, or what may be in range."""
        if where.threads:
            threads = [self._slots.get(thread_id, {}) for thread_id in set(where.threads)]
            return (self._message(seq) for seq in sorted(chain.from_iterable(slots.values() for slots in threads)))
        return islice(self.log, where.after_seq, where.until_seq)

    def _all_letters(self) -> Iterable[DeadLetter]:
        return (letter._replace(message=self._message(seq)) for seq, letter in self.letters.items())

    def _append(self, messages: list[Message]) -> None:
        for message in messages:
            self.log.append(message)
            self._slots.setdefault(message.thread_id, {})[message.slot_index] = message.seq

    def _queue(self, commit: Commit) -> None:
        for recipient, seq in commit.queued:
            self.waiting.setdefault(recipient, {})[seq] = 0
        for recipient, seq in commit.done:
            self.waiting.get(recipient, {}).pop(seq, None)
        for recipient, seq, deaths in commit.deaths:
            queue = self.waiting.get(recipient, {})
            if seq in queue:
                queue[seq] = deaths

    def _change_fates(self, commit: Commit) -> None:
        for seq in commit.dropped:
            self._set_fate(seq, "dropped")
        for letter in commit.dead:
            self._set_fate(letter.message.seq, "dead")
            self.letters[letter.message.seq] = letter
        for seq in commit.requeued:
            self._set_fate(seq, None)
            self.letters.pop(seq, None)

    def _set_fate(self, seq: int, fate: str | None) -> None:
        self.log[seq - 1] = self._message(seq)._replace(fate=fate)

    def _set(self, key: str, value: str | None) -> None:
        if value is None:
            self.settings.pop(key, None)
        else:
            self.settings[key] = value


def _message_matches(message: Message, where: MessageFilter) -> bool:
    return (
        message.seq > where.after_seq
        and (where.until_seq is None or message.seq <= where.until_seq)
        and (where.since_ms is None or message.timestamp_ms >= where.since_ms)
        and (not where.agents or message.sender in where.agents or message.recipient in where.agents)
        and (not where.threads or message.thread_id in where.threads)
        and (not where.payload_types or message.payload_type in where.payload_types)
        and (where.fate is None or message.fate == where.fate)
    )


def _thread_matches(thread: Thread, where: ThreadFilter) -> bool:
    return (
        (where.status is None or thread.status == where.status)
        and (where.agent is None or where.agent in thread.participants)
        and (not where.agents or not set(where.agents).isdisjoint(thread.participants))
        and (where.since_ms is None or thread.last_activity_ms >= where.since_ms)
    )
