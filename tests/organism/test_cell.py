"""A cell by itself, with its seats and its reporter: from deliveries to reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from handler_gates import gates
from organism_folder import listener, until, write_organism

from organism import cell as cell_module
from organism import seat as seat_module
from organism.active import read_active
from organism.cell import Cell
from organism.errors import HandlerNotLoaded
from organism.messages import Message
from organism.plan import cell_spec, plan_cells
from organism.threads import Todo
from organism.wire import Delivery, Outcome, Report


class Link:
    """A pump that commits what it is told, unless `is_held`."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.history_asked: list[tuple[str, int, int]] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def report(self, report: Report) -> None:
        self.reports.append(report)
        await self.may_commit.wait()

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        self.history_asked.append((thread_id, until_slot, limit))
        return []

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for report in self.reports for outcome in report.outcomes]


class Hosted:
    def __init__(self, cell: Cell, link: Link) -> None:
        self.cell = cell
        self.link = link

    def deliver(self, seq: int = 1, recipient: str = "a", payload_type: str = "Ping", **fields: Any) -> None:
        payload = fields.pop("payload", b'{"text":"hi"}')
        message = Message(
            seq, f"id-{seq}", "thread", seq - 1, "console", recipient, payload_type, payload, 0, "console"
        )
        self.cell.deliver([Delivery(message, **fields)])

    async def outcome(self, count: int = 1) -> Outcome:
        """The last of so many."""
        await until(lambda: len(self.link.outcomes) >= count)
        assert len(self.link.outcomes) == count
        return self.link.outcomes[-1]

    async def handle(self, **fields: Any) -> Outcome:
        self.deliver(**fields)
        return await self.outcome()


@asynccontextmanager
async def hosted(folder: Path, handlers: str, *listeners: dict[str, Any], **config: Any) -> AsyncIterator[Hosted]:
    gates.reset()
    path = write_organism(folder / "organism", handlers, *(listeners or [listener("a")]), isolation="shared", **config)
    active = read_active(path)
    [plan, *_] = plan_cells(active.config, active.definitions, list(active.config.listeners), 0)
    link = Link()
    cell = Cell(cell_spec(plan, active.organism), link)
    cell.start()
    try:
        yield Hosted(cell, link)
    finally:
        await cell.close()


def one_handler(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"async def a(payload: Ping, context: Context):\n{lines}\n"


async def test_outputs_go_into_the_outcome(tmp_path):
    body = 'return [Send(Ping(text="1"), to="b"), Reply(Pong(text="2")), Send(Pong(text="3"))]'
    async with hosted(tmp_path, one_handler(body)) as host:
        outcome = await host.handle()
    assert (outcome.status, outcome.attempts, outcome.error) == ("done", 1, None)
    assert [(each.to, each.payload_type, each.is_reply) for each in outcome.outputs] == [
        ("b", "Ping", False), (None, "Pong", True), (None, "Pong", False),
    ]  # fmt: skip
    assert outcome.outputs[0].payload == b'{"text":"1"}'


async def test_one_output_or_none_is_fine_too(tmp_path):
    body = 'return Reply(Pong()) if payload.text == "hi" else None'
    async with hosted(tmp_path, one_handler(body)) as host:
        host.deliver(seq=1)
        host.deliver(seq=2, payload=b'{"text":"no"}')
        await host.outcome(2)
        by_seq = {each.seq: each for each in host.link.outcomes}
    assert len(by_seq[1].outputs) == 1
    assert by_seq[2].outputs == ()


WRONG_RESULTS = {
    "return 7": "returned int",
    "return (Reply(Pong()),)": "returned tuple",
    "return [Reply(Pong()), 'x']": "returned str",
    "return Send(Ping(), to=['b'])": "takes the name of a listener, not list",
    "return Send({'text': 'x'}, to='b')": "neither a pydantic model nor a dataclass",
    "return Send(None, to='b')": "neither a pydantic model nor a dataclass",
    "return [Reply(Pong())] * 4": "limits.max_outputs is 3",
    "return Reply(Pong(text='x' * 1000))": "limits.max_payload_bytes is 500",
    "context.state['x'] = 'x' * 1000": "limits.max_state_bytes is 400",
    "context.state['x'] = object()": "not JSON serializable",
    "context.state = [1]": "must stay a dict",
}


@pytest.mark.parametrize(("body", "error"), WRONG_RESULTS.items(), ids=[*WRONG_RESULTS])
async def test_a_result_that_cannot_be_is_a_failure_that_says_why(tmp_path, body, error):
    limits = {"max_outputs": 3, "max_payload_bytes": 500, "max_state_bytes": 400}
    async with hosted(tmp_path, one_handler(body), limits=limits) as host:
        outcome = await host.handle()
    assert outcome.status == "failed"
    assert error in (outcome.error or "")


async def test_the_member_of_an_enum_is_a_name_like_any_other(tmp_path):
    handlers = "from enum import Enum\nclass To(str, Enum):\n    B = 'b'\n" + one_handler(
        "return Send(Ping(), to=To.B)"
    )
    async with hosted(tmp_path, handlers) as host:
        [output] = (await host.handle()).outputs
    assert output.to == "b"
    assert type(output.to) is str


RAISED = {
    "ValueError('no')": "ValueError: no (handlers.py:",
    "SystemExit(3)": "SystemExit: 3",
    "BaseException('odd')": "BaseException: odd",
    "asyncio.CancelledError()": "something that the handler awaited was cancelled",
    "TimeoutError()": "TimeoutError",
    "Unspeakable()": "Unspeakable: it cannot say what happened",
    "ValueError('x' * 100_000)": "ValueError: xxx",
    "ValueError('x' * 1_990 + ' token=hunter2')": "x token=*** (handlers.py:",
    "ValueError('half \\ud83d')": r"half \ud83d (",
    "BaseExceptionGroup('both', [SystemExit(), ValueError()])": "both (2 sub-exceptions)",
}
UNSPEAKABLE = "class Unspeakable(Exception):\n    def __str__(self):\n        raise SystemExit\n\n"


@pytest.mark.parametrize(("error", "told"), RAISED.items(), ids=[*RAISED])
async def test_whatever_a_handler_raises_fails_its_message_alone(tmp_path, error, told):
    body = f"if payload.text == 'hi':\n    raise {error}"
    async with hosted(tmp_path, UNSPEAKABLE + one_handler(body)) as host:
        host.deliver(seq=1)
        host.deliver(seq=2, payload=b'{"text":"fine"}')
        await host.outcome(2)
        by_seq = {each.seq: each for each in host.link.outcomes}
    assert by_seq[1].status == "failed"
    assert told in (by_seq[1].error or "")
    assert len(by_seq[1].error or "") < 3000
    assert by_seq[2].status == "done"


async def test_a_subtask_that_is_cancelled_fails_the_message(tmp_path):
    body = "task = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)\ntask.cancel()\nawait task"
    async with hosted(tmp_path, one_handler(body)) as host:
        assert "was cancelled" in ((await host.handle()).error or "")


async def test_a_handler_is_tried_as_often_as_retry_says(tmp_path):
    body = "gates.note('try')\nif len(gates.passed) < 3:\n    raise ValueError(len(gates.passed))\nreturn Reply(Pong())"
    async with hosted(tmp_path, one_handler(body), listener("a", retry={"attempts": 5, "delay_s": 0.01})) as host:
        outcome = await host.handle()
    assert (outcome.status, outcome.attempts, len(gates.passed)) == ("done", 3, 3)


async def test_the_last_error_of_all_attempts_is_told(tmp_path):
    body = "gates.note('try')\nraise ValueError(f'attempt {len(gates.passed)}')"
    async with hosted(tmp_path, one_handler(body), listener("a", retry={"attempts": 3, "delay_s": 0.01})) as host:
        outcome = await host.handle()
    assert (outcome.status, outcome.attempts) == ("failed", 3)
    assert "attempt 3" in (outcome.error or "")


async def test_a_failed_attempt_leaves_nothing_to_the_next(tmp_path):
    body = """
gates.note(str(context.state))
context.state["tries"] = context.state.get("tries", 0) + 1
context.todo(Pong)
if len(gates.passed) < 2:
    raise ValueError
"""
    async with hosted(tmp_path, one_handler(body), listener("a", retry={"attempts": 2, "delay_s": 0})) as host:
        outcome = await host.handle()
    assert gates.passed == ["{}", "{}"]
    assert outcome.state == b'{"tries":1}'
    assert len(outcome.added_todos) == 1


@pytest.mark.parametrize(
    ("payload_type", "payload", "error"),
    [
        ("Ping", b'{"text": 7}', "text: Input should be a valid string"),
        ("Ping", b'{"other": "x"}', "other: Extra inputs are not permitted"),
        ("Other", b"{}", "not a type this handler takes"),
    ],
)
async def test_a_payload_that_does_not_fit_fails_without_a_second_attempt(tmp_path, payload_type, payload, error):
    async with hosted(tmp_path, one_handler("gates.note('ran')"), listener("a", retry={"attempts": 5})) as host:
        outcome = await host.handle(payload_type=payload_type, payload=payload)
    assert error in (outcome.error or "")
    assert (outcome.attempts, gates.passed) == (1, [])


async def test_a_validator_that_breaks_fails_the_message(tmp_path):
    handlers = """
from pydantic import field_validator
class Odd(Payload):
    text: str
    @field_validator("text")
    @classmethod
    def check(cls, value):
        raise ZeroDivisionError("odd")
async def a(payload: Odd, context: Context): ...
"""
    async with hosted(tmp_path, handlers, listener("a", payload="Odd")) as host:
        outcome = await host.handle(payload_type="Odd")
    assert "ZeroDivisionError: odd" in (outcome.error or "")


async def test_a_handler_that_awaits_for_ever_times_out(tmp_path):
    async with hosted(tmp_path, one_handler("await gates.at('x')"), listener("a", timeout_s=0.1)) as host:
        outcome = await host.handle()
    assert outcome.error == "handler timed out after 0.1 s"


async def test_a_timeout_is_an_attempt_like_any_other(tmp_path):
    body = """
gates.note("try")
if len(gates.passed) == 1:
    await gates.at("x")
async with asyncio.timeout(5):
    await asyncio.sleep(0.01)
return Reply(Pong())
"""
    one = listener("a", timeout_s=0.1, retry={"attempts": 2, "delay_s": 0})
    async with hosted(tmp_path, one_handler(body), one) as host:
        outcome = await host.handle()
    assert (outcome.status, outcome.attempts) == ("done", 2)


async def test_a_handler_that_uses_its_cancellation_to_finish_is_done(tmp_path):
    body = """
try:
    await gates.at("x")
except asyncio.CancelledError:
    return Reply(Pong(text="in time"))
"""
    async with hosted(tmp_path, one_handler(body), listener("a", timeout_s=0.1)) as host:
        outcome = await host.handle()
    assert (outcome.status, outcome.outputs[0].payload) == ("done", b'{"text":"in time"}')


STUBBORN = """
gates.note("try")
while gates.running["free"] == 0:
    try:
        await gates.at("x")
        break
    except asyncio.CancelledError:
        gates.note("ignored")
raise ValueError("at last")
"""


async def test_a_handler_that_ignores_its_cancellation_is_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr(seat_module, "CANCEL_GRACE_S", 0.1)
    one = listener("a", timeout_s=0.1, retry={"attempts": 3, "delay_s": 0})
    async with hosted(tmp_path, one_handler(STUBBORN), one) as host:
        outcome = await host.handle()
        assert "does not react to being cancelled" in (outcome.error or "")
        gates.open("x")
        await until(lambda: gates.running["x"] == 0)
        assert gates.passed == ["try", "ignored"]
        await host.outcome(1)


async def test_an_abandoned_message_that_is_delivered_again_is_handled_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(seat_module, "CANCEL_GRACE_S", 0.1)
    body = STUBBORN.replace('raise ValueError("at last")', "return Reply(Pong(text=str(len(gates.passed))))")
    async with hosted(tmp_path, one_handler(body), listener("a", timeout_s=0.3)) as host:
        await host.handle()
        host.deliver()  # requeued, while the first one still has not ended
        await until(lambda: gates.passed.count("try") == 2)
        gates.open("x")
        outcome = await host.outcome(2)
    assert outcome.status == "done"


async def test_what_is_delivered_twice_is_done_once(tmp_path):
    async with hosted(tmp_path, one_handler("gates.note('ran')\nawait gates.at('x')")) as host:
        host.deliver()
        await until(lambda: gates.running["x"] == 1)
        host.deliver()
        host.link.may_commit.clear()
        gates.open("x")
        await host.outcome()
        host.deliver()  # handled, and the pump has not said yet that it knows
        host.link.may_commit.set()
        host.deliver(seq=2)
        await host.outcome(2)
    assert gates.passed == ["ran", "ran"]


async def test_outcomes_gather_while_a_report_is_under_way(tmp_path):
    async with hosted(tmp_path, one_handler("return None")) as host:
        host.link.may_commit.clear()
        host.deliver(seq=1)
        await host.outcome(1)
        for seq in range(2, 20):
            host.deliver(seq=seq)
        await until(lambda: len(host.cell._tasks) == 0)
        host.link.may_commit.set()
        await host.outcome(19)
    assert [len(report.outcomes) for report in host.link.reports] == [1, 18]


async def test_a_cancelled_message_ends_without_an_outcome(tmp_path):
    body = "try:\n    await gates.at('x')\nfinally:\n    gates.note('ended')"
    async with hosted(tmp_path, one_handler(body)) as host:
        host.deliver(seq=1)
        await until(lambda: gates.running["x"] == 1)
        host.cell.cancel([1, 99])
        await until(lambda: gates.passed == ["ended"])
        gates.open("x")
        host.deliver(seq=2)
        assert (await host.outcome()).seq == 2


async def test_a_message_that_is_cancelled_before_it_begins_leaves_no_trace(tmp_path):
    async with hosted(tmp_path, one_handler("gates.note('ran')")) as host:
        host.deliver()
        host.cell.cancel([1])
        await asyncio.sleep(0)
        host.deliver()  # whoever gave it back may deliver it again
        await host.outcome()
    assert gates.passed == ["ran"]


async def test_a_cancelled_handler_that_returns_all_the_same_is_not_reported(tmp_path):
    body = "try:\n    await gates.at('x')\nexcept asyncio.CancelledError:\n    return Reply(Pong())"
    async with hosted(tmp_path, one_handler(body)) as host:
        host.deliver(seq=1)
        await until(lambda: gates.running["x"] == 1)
        host.cell.cancel([1])
        gates.open("x")
        host.deliver(seq=2)
        assert (await host.outcome()).seq == 2


async def test_the_context_tells_about_the_message(tmp_path):
    body = """
facts = [context.message_id, context.thread_id, context.sender, context.own_name, context.is_self_call]
await context.history(limit=5)
return Reply(Pong(text=repr(facts)))
"""
    async with hosted(tmp_path, one_handler(body)) as host:
        outcome = await host.handle(seq=3)
    assert orjson.loads(outcome.outputs[0].payload)["text"] == "['id-3', 'thread', 'console', 'a', False]"
    assert host.link.history_asked == [("thread", 2, 5)]


async def test_state_and_todos_come_with_the_message_and_go_with_the_outcome(tmp_path):
    body = """
context.state["count"] += 1
[raised] = [each for each in context.todos if each.raised]
context.close_todo(raised.id)
context.todo(Pong, from_listener="b", description="answer")
return Reply(Pong(text=context.todo_nudge))
"""
    todos = (Todo("1", "a", "Pong", None, "first", raised=True), Todo("2", "a", "Pong", None, "second"))
    async with hosted(tmp_path, one_handler(body)) as host:
        outcome = await host.handle(state=b'{"count":4}', todos=todos)
    assert outcome.state == b'{"count":5}'
    assert outcome.closed_todos == ("1",)
    [added] = outcome.added_todos
    assert (added.listener, added.wait_for, added.from_listener, added.description) == ("a", "Pong", "b", "answer")


async def test_a_state_that_did_not_change_is_not_sent(tmp_path):
    async with hosted(tmp_path, one_handler("context.state['x'] = 1")) as host:
        assert (await host.handle(state=b'{"x":1}')).state is None


async def test_a_listener_has_at_most_so_many_todos_in_a_thread(tmp_path):
    async with hosted(tmp_path, one_handler("while True:\n    context.todo(Pong)")) as host:
        assert "close some first" in ((await host.handle()).error or "")


async def test_a_handler_without_a_model_is_told_how_to_get_one(tmp_path):
    async with hosted(tmp_path, one_handler("await context.complete('hi')")) as host:
        assert "llm" in ((await host.handle()).error or "")
        assert [report.waiting for report in host.link.reports if report.waiting] == [{"a": 0}]


async def test_closing_ends_what_runs_without_outcomes(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_module, "CLOSE_TIMEOUT_S", 0.1)
    async with hosted(tmp_path, one_handler(STUBBORN)) as host:
        host.deliver()
        await until(lambda: gates.running["x"] == 1)
        await host.cell.close()
        assert gates.passed == ["try", "ignored"]
        assert host.link.outcomes == []
        gates.open("x")
        await until(lambda: gates.running["x"] == 0)


async def test_user_code_that_cannot_be_loaded_says_where(tmp_path):
    with pytest.raises(HandlerNotLoaded, match="handlers has no 'a'"):
        async with hosted(tmp_path, "x = 1\n"):
            pass


async def test_a_cell_attaches_with_what_its_handlers_take(tmp_path):
    handlers = "async def a(payload: Ping | SystemError, context): ...\nasync def b(payload: Pong, context): ...\n"
    async with hosted(tmp_path, handlers, listener("a"), listener("b", payload="Pong"), shared_cells=1) as host:
        attached = host.cell.attach()
    assert attached.accepts == {"a": ("Ping", "SystemError"), "b": ("Pong",)}
    assert attached.incarnation == host.cell.spec.incarnation
