"""Looking at a running organism: status, threads, thread, dead-letters."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from organism.cli.client import Api, RefusedByApi, is_ready, own_launcher
from organism.cli.failures import CliFailure, ExitCode
from organism.cli.options import AsJson, Limit, Offset, Url
from organism.cli.output import Screen, age, counted, duration, message_line, printable, styled_state

_FIGURES = {"queue": "queue_depth", "running": "running", "handled": "handled", "restarts": "restarts", "pid": "pid"}
"""Columns of `status`, and the fields of an agent that they show."""


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(threads)
    app.command()(thread)
    app.command("dead-letters")(dead_letters)


def status(url: Url = None, as_json: AsJson = False) -> None:
    """Shows the organism and its agents: state, queue, restarts, process."""
    screen = Screen(as_json)
    with Api(url) as api:
        try:
            organism = api.get("organism")
            agents = _all_agents(api)
        except RefusedByApi as refusal:
            raise _what_is_known(api.url, refusal) from refusal
    if as_json:
        screen.json({"organism": organism, "agents": agents})
        return
    screen.line(
        f"{printable(organism['name'])} at {api.url}: {organism['status']}, up {duration(organism['uptime_seconds'])}, "
        f"{counted(organism['active_threads'], 'active thread')}, {counted(organism['total_messages'], 'message')}"
    )
    columns = ("agent", "state", *(f"#{each}" for each in _FIGURES), "last activity", "thread", "error")
    screen.table(columns, (_agent_row(agent) for agent in agents))


def _what_is_known(url: str, refusal: RefusedByApi) -> CliFailure:
    """Without a key nothing but whether it runs, for who stands in its folder."""
    launcher = own_launcher(url) if refusal.status_code == 401 else None
    if launcher is None:
        return refusal
    state = "is ready" if is_ready(url) else "is not ready"
    message = f"the organism at {url} runs (process {launcher}) and {state}; what it does takes a key: {refusal}"
    return CliFailure(message, ExitCode.REFUSED, refusal.code, refusal.details)


def _all_agents(api: Api) -> list[dict[str, Any]]:
    agents: list[dict[str, Any]] = []
    while True:
        page = api.get("agents", limit=1000, offset=len(agents))
        agents.extend(page["agents"])
        if not page["agents"] or len(agents) >= page["total"]:
            return agents


def _agent_row(agent: dict[str, Any]) -> tuple[object, ...]:
    state = styled_state(agent["state"])
    if agent["paused"]:
        state.append(" (paused)", style="magenta")
    return (
        agent["name"],
        state,
        *("–" if agent[key] is None else agent[key] for key in _FIGURES.values()),
        age(agent["last_activity"]),
        agent["current_thread"] or "",
        agent["error"] or "",
    )


def threads(
    status: Annotated[str | None, typer.Option(help="Only: active, completed, error or killed.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only threads in which this agent takes part.")] = None,
    since: Annotated[str | None, typer.Option(help="Only with activity since, e.g. 2026-01-15T10:00:00Z.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Lists threads, newest first."""
    screen = Screen(as_json)
    with Api(url) as api:
        page = api.get("threads", status=status, agent=agent, since=since, limit=limit, offset=offset)
    if as_json:
        screen.json(page)
        return
    screen.table(
        ("thread", "status", "#messages", "last activity", "participants", "error"),
        (
            (
                each["id"],
                styled_state(each["status"]),
                each["message_count"],
                age(each["last_activity"]),
                ", ".join(each["participants"]),
                each["error"] or "",
            )
            for each in page["threads"]
        ),
    )
    _say_what_is_left(screen, page)


def thread(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD", help="The id of the thread.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Shows one thread: the conversation, oldest message first."""
    screen = Screen(as_json)
    with Api(url) as api:
        record = api.thread(thread_id)
        messages = api.thread_messages(thread_id)
        if as_json:
            screen.json({**record, "messages": list(messages)})
            return
        screen.line(f"thread {record['id']}, started {age(record['created_at'])}")
        for message in messages:
            screen.line(message_line(message))
    show_outcome(screen, record)


def show_outcome(screen: Screen, record: dict[str, Any]) -> None:
    """The last line under a conversation: how the thread stands."""
    line = styled_state(record["status"])
    line.append(f", {counted(record['message_count'], 'message')}", style="not bold default")
    if record["error"]:
        line.append(f": {printable(record['error'])}", style="red")
    screen.line(line)


def dead_letters(
    agent: Annotated[str | None, typer.Option(help="Only messages to this agent.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Lists the messages that could not be handled, newest first; `requeue` gives one another chance."""
    screen = Screen(as_json)
    with Api(url) as api:
        page = api.get("dead-letters", agent=agent, limit=limit, offset=offset)
    if as_json:
        screen.json(page)
        return
    screen.table(
        ("id", "to", "type", "#attempts", "died", "reason"),
        (
            (
                each["id"],
                each["message"]["to"],
                each["message"]["payload_type"],
                each["attempts"],
                age(each["died_at"]),
                each["reason"],
            )
            for each in page["dead_letters"]
        ),
    )
    _say_what_is_left(screen, page)


def _say_what_is_left(screen: Screen, page: dict[str, Any]) -> None:
    if not page["total"]:
        screen.notice("there are none")
    shown_until = page["offset"] + page["count"]
    if page["total"] > shown_until:
        screen.notice(f"{page['count']} of {page['total']}; --offset {shown_until} shows the next ones")
