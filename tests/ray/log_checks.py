"""The whole log of an organism that has ended, read from its file without any code of the runtime, and its rules."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organism.messages import Accepted


@dataclass(frozen=True, slots=True)
class Log:
    """All tables as rows. `messages` in log order."""

    messages: list[sqlite3.Row]
    queued: list[sqlite3.Row]
    threads: dict[str, sqlite3.Row]
    dead_letters: list[sqlite3.Row]

    def texts(self, thread_id: str, **where: str) -> list[str]:
        """Of the thread's messages with these values in these columns, in log order, dead and dropped ones left out."""
        return [_text(each) for each in self.thread(thread_id, **where) if each["fate"] is None]

    def thread(self, thread_id: str, **where: str) -> list[sqlite3.Row]:
        wanted = {"thread_id": thread_id, **where}
        return [each for each in self.messages if all(each[column] == value for column, value in wanted.items())]


def read_log(path: Path) -> Log:
    """`path`: the file that SqliteStorage writes. It may be in use."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # all tables of one moment
        messages, queued, threads, dead_letters = (
            connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("messages", "queued", "threads", "dead_letters")
        )
    return Log(messages, queued, {row["id"]: row for row in threads}, dead_letters)


def check_log(path: Path, accepted: Iterable[Accepted], *, relays: Iterable[str] = (), unanswered: int = 0) -> Log:
    """Every accepted message is done or dead-lettered exactly once, and nothing is out of place.

    relays: listeners that send on exactly one message, with the same text, for each that they get: so the log shows
    that they did it once, in the thread's order. unanswered: injects of which nobody knows whether they were accepted.
    """
    log = read_log(path)
    _check_positions(log)
    _check_that_nothing_waits(log)
    _check_dead_letters(log)
    _check_accepted(log, list(accepted), unanswered)
    for relay in relays:
        _check_relay(log, relay)
    return log


def _check_positions(log: Log) -> None:
    assert [each["seq"] for each in log.messages] == list(range(1, len(log.messages) + 1))
    assert len({each["id"] for each in log.messages}) == len(log.messages)
    counts: Counter[str] = Counter()
    for each in log.messages:
        assert each["slot_index"] == counts[each["thread_id"]], f"a gap in thread {each['thread_id']}"
        counts[each["thread_id"]] += 1
    assert counts == {id_: thread["message_count"] for id_, thread in log.threads.items()}


def _check_that_nothing_waits(log: Log) -> None:
    assert [tuple(each) for each in log.queued] == []
    assert {thread["pending"] for thread in log.threads.values()} <= {0}
    assert {thread["status"] for thread in log.threads.values()} <= {"completed", "error", "killed"}


def _check_dead_letters(log: Log) -> None:
    dead = [each["seq"] for each in log.messages if each["fate"] == "dead"]
    assert [letter["seq"] for letter in log.dead_letters] == dead


def _check_accepted(log: Log, accepted: list[Accepted], unanswered: int) -> None:
    injected = {each["id"]: each for each in log.messages if each["sender"] == "console"}
    for each in accepted:
        found = injected[each.message_id]
        assert (found["seq"], found["thread_id"]) == (each.seq, each.thread_id)
    assert len({each.message_id for each in accepted}) == len(accepted)
    assert 0 <= len(injected) - len(accepted) <= unanswered


def _check_relay(log: Log, relay: str) -> None:
    got: dict[str, list[str]] = defaultdict(list)
    sent: dict[str, list[str]] = defaultdict(list)
    for each in log.messages:
        if each["recipient"] == relay and each["fate"] is None:
            got[each["thread_id"]].append(_text(each))
        elif each["sender"] == relay:
            sent[each["thread_id"]].append(_text(each))
    for thread_id, texts in got.items():
        assert sent[thread_id] == texts, f"{relay} in thread {thread_id}"
    assert sent.keys() <= got.keys()


def _text(message: sqlite3.Row) -> Any:
    return json.loads(message["payload"]).get("text")
