from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from organism.encoding import (
    decode_answers,
    decode_deliveries,
    decode_events,
    decode_injects,
    decode_report,
    encode_answers,
    encode_deliveries,
    encode_events,
    encode_injects,
    encode_report,
)
from organism.errors import QueueFull, ThreadNotFound
from organism.messages import Accepted, Inject, Message
from organism.ref import Event, EventBatch
from organism.threads import ThreadView, Todo
from organism.wire import Delivery, Outcome, Output, Report

texts = st.text(max_size=20)
numbers = st.integers(0, 2**53)
todos = st.lists(st.builds(Todo, texts, texts, texts, st.none() | texts, texts, st.booleans()), max_size=2).map(tuple)
messages = st.builds(
    Message, numbers, texts, texts, numbers, texts, texts, texts, st.binary(), numbers, texts, st.none() | texts
)
outputs = st.lists(st.builds(Output, st.none() | texts, texts, st.binary(), st.booleans()), max_size=3).map(tuple)
outcomes = st.builds(
    Outcome,
    numbers,
    texts,
    st.sampled_from(["done", "failed"]),
    outputs,
    st.none() | texts,
    numbers,
    st.floats(0, 1e6),
    st.none() | st.binary(),
    todos,
    st.lists(texts, max_size=2).map(tuple),
    numbers,
)
views = st.builds(
    ThreadView, texts, texts, st.lists(texts, max_size=3).map(tuple), numbers, numbers, numbers, st.none() | texts
)
other_values = st.dictionaries(texts, st.none() | st.booleans() | numbers | texts | st.lists(texts), max_size=3)
events = st.one_of(
    st.builds(Event, st.just("message"), numbers, messages),
    st.builds(Event, st.sampled_from(["thread_created", "thread_updated"]), numbers, views),
    st.builds(Event, st.sampled_from(["agent_state", "error", "reloaded"]), st.none() | numbers, other_values),
)


def kinds(value: Any) -> Any:
    """The types in a value of nested tuples and lists: equal tuples need not be the same named tuple."""
    parts = [kinds(part) for part in value] if isinstance(value, (tuple, list)) else []
    return type(value), parts


def assert_same(copy: Any, original: Any) -> None:
    assert copy == original
    assert kinds(copy) == kinds(original)


@given(st.lists(st.builds(Delivery, messages, st.none() | st.binary(), todos, numbers)))
def test_deliveries_arrive_as_they_were_sent(batch: list[Delivery]):
    assert_same(decode_deliveries(encode_deliveries(batch)), batch)


@given(st.builds(Report, texts, st.lists(outcomes), st.dictionaries(texts, numbers)))
def test_a_report_arrives_as_it_was_sent(report: Report):
    assert_same(decode_report(encode_report(report)), report)


@given(st.lists(st.builds(Inject, texts, texts, st.binary(), st.none() | texts, st.none() | texts)))
def test_injects_arrive_as_they_were_sent(injects: list[Inject]):
    assert_same(decode_injects(encode_injects(injects)), injects)


@given(st.builds(EventBatch, texts, numbers, st.lists(events), st.booleans(), numbers, numbers, texts))
def test_events_of_every_kind_arrive_as_they_were_sent(batch: EventBatch):
    assert_same(decode_events(encode_events(batch)), batch)


def test_answers_may_be_errors():
    answers = [Accepted("t", "m", 1), ThreadNotFound("gone"), QueueFull("greeter", 10, 1.0), Accepted("u", "n", 2)]
    copies = decode_answers(encode_answers(answers))
    assert [type(each) for each in copies] == [type(each) for each in answers]
    assert [copies[0], copies[3]] == [answers[0], answers[3]]
    assert [str(each) for each in copies[1:3]] == [str(each) for each in answers[1:3]]
