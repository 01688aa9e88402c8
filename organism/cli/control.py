"""Steering a running organism: inject, pause, resume, kill, reload, requeue."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer

from organism.cli.client import Api, RefusedByApi
from organism.cli.failures import CliFailure, ConnectionTrouble, ExitCode, WrongUse
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen, message_line
from organism.cli.queries import show_outcome

_FIRST_POLL_S = 0.05
_SLOWEST_POLL_S = 1.0

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The name of the agent.")]


def register(app: typer.Typer) -> None:
    for command in (inject, pause, resume, kill, reload, requeue):
        app.command()(command)


def inject(
    agent: Agent,
    payload: Annotated[str, typer.Argument(metavar="JSON", help="The payload; - reads it from standard input.")],
    thread: Annotated[str | None, typer.Option(help="An existing thread to go on with.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the thread until it completes.")] = False,
    timeout_s: Annotated[float, typer.Option(min=0.0, help="Seconds that --wait waits at most.")] = 60.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Sends a message to an agent.

    Without --wait it ends when the message is in the log. With --wait and --json it prints the thread and its messages
    from this one on.
    """
    screen = Screen(as_json)
    body = {"to": agent, "payload": _parse(payload)}
    if thread is not None:
        body["thread_id"] = thread
    with Api(url) as api:
        first_slot = api.thread(thread)["message_count"] if thread and wait else 0
        accepted = api.post("inject", body=body)
        if wait:
            _wait(api, screen, accepted, first_slot, timeout_s)
        elif as_json:
            screen.json(accepted)
        else:
            screen.line(f"thread {accepted['thread_id']}")


def _parse(payload: str) -> Any:
    text = sys.stdin.read() if payload == "-" else payload
    try:
        return orjson.loads(text)
    except ValueError as error:
        example = """'{"name": "Ada"}'"""
        raise WrongUse(f"the payload is not JSON: {error}; in a shell put it in single quotes: {example}") from error


def _wait(api: Api, screen: Screen, accepted: dict[str, Any], first_slot: int, timeout_s: float) -> None:
    """Shows the messages from `first_slot` on as they come, and fails as the thread does."""
    watch = _ThreadWatch(api, accepted, first_slot)
    if not screen.as_json:
        screen.line(f"thread {accepted['thread_id']}")
    messages = []
    for message in watch.until_over(time.monotonic() + timeout_s):
        messages.append(message)
        if not screen.as_json:
            screen.line(message_line(message))
    if watch.record is None:
        message = f"thread {accepted['thread_id']} is still active after {timeout_s:g} s; `organism thread` shows it"
        raise CliFailure(message, ExitCode.TIMED_OUT, "timed_out", {**accepted, "messages": messages})
    if screen.as_json:
        screen.json({**watch.record, "messages": messages})
    else:
        show_outcome(screen, watch.record)
    if watch.record["status"] != "completed":
        raise typer.Exit(ExitCode.THREAD_FAILED)


class _ThreadWatch:
    """Reads a thread from the log until the work that an inject began is over.

    `record` is the thread then, and None before. It is read before the messages: where it counts as many as the log
    holds and waits for none, none is still to come.
    """

    def __init__(self, api: Api, accepted: dict[str, Any], first_slot: int) -> None:
        self.record: dict[str, Any] | None = None
        self._api = api
        self._thread_id: str = accepted["thread_id"]
        self._message_id: str = accepted["message_id"]
        self._next_slot = first_slot
        self._arrived = False

    def until_over(self, deadline: float) -> Iterator[dict[str, Any]]:
        """The messages as they come; ends at the deadline (of time.monotonic) too."""
        delay_s = _FIRST_POLL_S
        while self.record is None:
            try:
                record = self._api.thread(self._thread_id)
                yield from self._new_messages()
                if self._is_over(record):
                    self.record = record
                    return
            except ConnectionTrouble:
                pass  # the message is accepted; pump, replica and proxy come back by themselves
            except RefusedByApi as refusal:
                if refusal.status_code < 500:
                    raise
            if time.monotonic() >= deadline:
                return
            time.sleep(min(delay_s, max(0.0, deadline - time.monotonic())))
            delay_s = min(delay_s * 1.5, _SLOWEST_POLL_S)

    def _new_messages(self) -> Iterator[dict[str, Any]]:
        for message in self._api.thread_messages(self._thread_id, self._next_slot):
            self._next_slot = message["slot_index"] + 1
            self._arrived = self._arrived or message["id"] == self._message_id
            yield message

    def _is_over(self, record: dict[str, Any]) -> bool:
        """Whether the record, read before the messages, already knew all of them and waits for none."""
        return self._arrived and record["status"] != "active" and record["message_count"] >= self._next_slot


def pause(agent: Agent, url: Url = None, as_json: AsJson = False) -> None:
    """Stops deliveries to an agent; what runs is finished, what comes waits, also through restarts."""
    with Api(url) as api:
        answer = api.post("agents", agent, "pause")
    _confirm(as_json, answer, f"{agent} is paused; `organism resume {agent}` goes on")


def resume(agent: Agent, url: Url = None, as_json: AsJson = False) -> None:
    """Lets a paused agent go on where it stopped, or one in state error try again."""
    with Api(url) as api:
        answer = api.post("agents", agent, "resume")
    _confirm(as_json, answer, f"{agent} goes on")


def kill(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="The id of the thread.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ends a thread: running handlers are cancelled, waiting messages dropped (the history keeps them)."""
    with Api(url) as api:
        answer = api.post("threads", thread, "kill")
    _confirm(as_json, answer, f"thread {thread} is killed")


def reload(url: Url = None, as_json: AsJson = False) -> None:
    """Reads organism.yaml and the handlers' code again; an error in them changes nothing."""
    screen = Screen(as_json)
    with Api(url) as api:
        answer = api.post("organism", "reload")
    if as_json:
        screen.json(answer)
        return
    changes = [f"{word} {', '.join(answer[word])}" for word in ("added", "changed", "removed") if answer[word]]
    screen.line("; ".join(changes) or "no listener has changed")


def requeue(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the dead letter.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Gives a dead letter another chance."""
    with Api(url) as api:
        answer = api.post("dead-letters", message_id, "requeue")
    _confirm(as_json, answer, f"{message_id} waits for its agent again")


def _confirm(as_json: bool, answer: dict[str, Any], text: str) -> None:
    screen = Screen(as_json)
    if as_json:
        screen.json(answer)
    else:
        screen.line(text)
