"""Batches as bytes, for the way between processes.

Plain tuples through marshal, which is several times as fast as pickle; both ends run the same Python. Ray's own
pickler would ask Python about each named tuple, which costs more than sending it.
"""

from __future__ import annotations

import marshal
import pickle
from dataclasses import astuple
from typing import Any

from organism.errors import OrganismError
from organism.messages import Accepted, Inject, Message
from organism.ref import Event, EventBatch
from organism.threads import ThreadView, Todo
from organism.wire import Delivery, Outcome, Output, Report

# Between pump and cells


def encode_deliveries(batch: list[Delivery]) -> bytes:
    return marshal.dumps(
        [
            (*message, state, [astuple(todo) for todo in todos] if todos else (), tokens, others_tokens)
            for message, state, todos, tokens, others_tokens in batch
        ]
    )


def decode_deliveries(data: bytes) -> list[Delivery]:
    return [
        Delivery(Message._make(row[:-4]), row[-4], tuple([Todo(*todo) for todo in row[-3]]), row[-2], row[-1])
        for row in marshal.loads(data)
    ]


def encode_report(report: Report) -> bytes:
    outcomes = [
        (
            *outcome[:3],
            [tuple(output) for output in outcome.outputs],
            *outcome[4:8],
            [astuple(todo) for todo in outcome.added_todos],
            *outcome[9:],
        )
        for outcome in report.outcomes
    ]
    return marshal.dumps((report.incarnation, outcomes, report.waiting))


def decode_report(data: bytes) -> Report:
    incarnation, outcomes, waiting = marshal.loads(data)
    return Report(incarnation, [_outcome(*row) for row in outcomes], waiting)


def _outcome(
    seq: int, recipient: str, status: Any, outputs: list[Any], error: str | None, attempts: int, seconds: float,
    state: bytes | None, added: list[Any], closed: tuple[str, ...], tokens: int,
) -> Outcome:  # fmt: skip
    sent = tuple([Output._make(output) for output in outputs])
    todos = tuple([Todo(*todo) for todo in added])
    return Outcome(seq, recipient, status, sent, error, attempts, seconds, state, todos, closed, tokens)


# Between the API and the pump


def encode_injects(injects: list[Inject]) -> bytes:
    return marshal.dumps([tuple(inject) for inject in injects])


def decode_injects(data: bytes) -> list[Inject]:
    return [Inject._make(row) for row in marshal.loads(data)]


def encode_answers(answers: list[Accepted | OrganismError]) -> bytes:
    return marshal.dumps(
        [pickle.dumps(answer) if isinstance(answer, OrganismError) else tuple(answer) for answer in answers]
    )


def decode_answers(data: bytes) -> list[Accepted | OrganismError]:
    return [pickle.loads(row) if type(row) is bytes else Accepted._make(row) for row in marshal.loads(data)]


def encode_events(batch: EventBatch) -> bytes:
    incarnation, cursor, events, *rest = batch
    rows = [
        # Messages and threads come by the thousand; what else happens is rare, and may hold anything.
        (kind, seq, tuple(value) if isinstance(value, (Message, ThreadView)) else pickle.dumps(value))
        for kind, seq, value in events
    ]
    return marshal.dumps((incarnation, cursor, rows, *rest))


def decode_events(data: bytes) -> EventBatch:
    incarnation, cursor, rows, *rest = marshal.loads(data)
    return EventBatch(incarnation, cursor, [_event(*row) for row in rows], *rest)


def _event(kind: Any, seq: int | None, value: Any) -> Event:
    if type(value) is bytes:
        return Event(kind, seq, pickle.loads(value))
    return Event(kind, seq, Message._make(value) if kind == "message" else ThreadView._make(value))
