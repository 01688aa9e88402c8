import asyncio

import orjson
from hypothesis import given
from hypothesis import strategies as st

from organism.messages import Message
from serve_app.frames import EVERYTHING, Filter, Frame, agent_frame, message_frame
from serve_app.outbox import Outbox, Replay


def message(seq: int, to: str = "greeter", thread_id: str = "t") -> Frame:
    return message_frame(Message(seq, f"m{seq}", thread_id, 0, "console", to, "Greeting", b"{}", 0, ""))


def state(name: str, value: str) -> Frame:
    return agent_frame({"name": name, "state": value})


def taken(outbox: Outbox) -> list[dict]:
    replies, events = outbox.take()
    return [orjson.loads(text) for text in (*replies, *events)]


def seqs(outbox: Outbox) -> list[int]:
    return [event["seq"] for event in taken(outbox) if event["event"] == "message"]


def test_events_come_in_order_and_once():
    outbox = Outbox(10, EVERYTHING)
    outbox.offer([message(1), message(2)], 2)
    outbox.offer([message(3)], 3)
    assert seqs(outbox) == [1, 2, 3]
    assert outbox.take() == ([], [])


def test_states_collapse_to_the_latest_of_each_agent():
    outbox = Outbox(1, EVERYTHING)
    outbox.offer([state("a", "idle"), state("b", "idle"), state("a", "processing")], 0)
    assert [(each["agent"], each["state"]) for each in taken(outbox)] == [("a", "processing"), ("b", "idle")]


def test_a_full_outbox_skips_and_says_what():
    outbox = Outbox(2, EVERYTHING)
    outbox.offer([message(seq) for seq in range(1, 6)], 5)
    assert taken(outbox)[-1] == {"event": "lagged", "from_seq": 3, "to_seq": 5}
    outbox.offer([message(6)], 6)
    assert seqs(outbox) == [6]


def test_large_events_fill_an_outbox_too(monkeypatch):
    monkeypatch.setattr("serve_app.outbox.MAX_QUEUED_CHARS", 100)
    outbox = Outbox(1000, EVERYTHING)
    outbox.offer([message(seq) for seq in range(1, 6)], 5)
    assert taken(outbox)[-1]["event"] == "lagged"


def test_nothing_is_kept_for_a_client_that_wants_nothing():
    outbox = Outbox(10, None)
    outbox.offer([message(1), state("a", "idle")], 1)
    assert outbox.take() == ([], [])


def test_a_new_filter_holds_for_what_waits_as_well():
    outbox = Outbox(10, EVERYTHING)
    outbox.offer([message(1, to="greeter"), message(2, to="shouter"), state("greeter", "idle")], 2)
    outbox.subscribe(Filter(agents=frozenset({"shouter"})), 2, None)
    outbox.offer([message(3, to="shouter")], 3)
    assert seqs(outbox) == [2, 3]


def test_live_messages_are_left_out_during_a_replay_and_other_events_wait():
    outbox = Outbox(10, EVERYTHING)
    outbox.subscribe(EVERYTHING, 5, Replay(0))
    outbox.offer([message(6), state("a", "idle")], 6)
    outbox.reply('"pong"')
    assert outbox.take() == (['"pong"'], [])
    outbox.end_replay(6)
    outbox.offer([message(6), message(7)], 7)
    assert [event["event"] for event in taken(outbox)] == ["message", "agent_state"]


async def test_a_waiting_writer_is_woken_once_there_is_something():
    outbox = Outbox(10, EVERYTHING)
    waiting = asyncio.create_task(outbox.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.offer([message(1)], 1)
    await waiting


@given(st.lists(st.one_of(st.just("take"), st.integers(1, 5)), max_size=60), st.integers(1, 8))
def test_every_message_is_delivered_or_named_as_skipped(steps, max_frames):
    outbox = Outbox(max_frames, EVERYTHING)
    seq, accounted = 0, []
    for step in [*steps, "take"]:
        if step == "take":
            for event in taken(outbox):
                if event["event"] == "lagged":
                    accounted += range(event["from_seq"], event["to_seq"] + 1)
                else:
                    accounted.append(event["seq"])
        else:
            outbox.offer([message(seq + number) for number in range(1, step + 1)], seq + step)
            seq += step
    assert accounted == list(range(1, seq + 1))
