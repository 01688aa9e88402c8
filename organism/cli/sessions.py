"""Agent sessions from outside: listed, shown, aborted, deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from organism.cli.options import AsJson, Limit, Offset, Url
from organism.cli.output import Screen, age, counted, printable
from organism.cli.session_client import open_client
from organism.cli.session_lines import Conversation
from organism.client import SessionPage
from organism.sessions.records import SessionView

SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The id of the session.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Lists, shows, aborts and deletes agent sessions; alone it lists them.")
    group.callback(invoke_without_command=True)(list_sessions)
    group.command()(show)
    group.command()(abort)
    group.command()(delete)
    app.add_typer(group, name="sessions")


def list_sessions(
    ctx: typer.Context,
    tag: Annotated[str | None, typer.Option(help="Only sessions that have this tag.")] = None,
    q: Annotated[str | None, typer.Option("--find", help="Only with this in name, id or tags.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Lists, shows, aborts and deletes agent sessions; alone it lists them, the last changed first."""
    if ctx.invoked_subcommand is not None:
        return
    screen = Screen(as_json)
    with open_client(url) as client:
        page = client.list(limit=limit, offset=offset, tag=tag, q=q)
    if as_json:
        screen.json({"sessions": [_json_of(each) for each in page.sessions], "total": page.total})
        return
    columns = ("session", "name", "agent", "state", "model", "tags", "#events", "#tokens", "changed")
    screen.table(columns, map(_row, page.sessions))
    _say_what_is_left(screen, page, offset)


def _row(view: SessionView) -> tuple[object, ...]:
    return (
        view.id,
        view.name or "",
        view.agent,
        _state(view),
        view.model.id if view.model else "",
        ", ".join(view.tags or ()),
        view.last_seq,
        view.input_tokens + view.output_tokens,
        age(datetime.fromtimestamp(view.updated_at / 1000, UTC).isoformat()),
    )


def _state(view: SessionView) -> str:
    if view.is_running:
        return "executing"
    return "idle" if view.active else "stored"


def _json_of(view: SessionView) -> dict[str, object]:
    return view.model_dump(by_alias=True, exclude_none=True, mode="json")


def _say_what_is_left(screen: Screen, page: SessionPage, offset: int) -> None:
    if not page.total:
        screen.notice("there are none; `organism chat` starts one")
    shown_until = offset + len(page.sessions)
    if page.total > shown_until:
        screen.notice(f"{len(page.sessions)} of {page.total}; --offset {shown_until} shows the next ones")


def show(session: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Shows one session: what was said and done in it; `organism chat --session` goes on."""
    screen = Screen(as_json)
    with open_client(url) as client:
        found = client.get(session)
        events = found.events()
        view = found.refresh()
    if as_json:
        shown = [event.model_dump(by_alias=True, exclude_none=True, mode="json") for event in events]
        screen.json({"session": _json_of(view), "events": shown})
        return
    name = f" ({printable(view.name)})" if view.name else ""
    screen.line(f"session {view.id}{name}, {_state(view)}, agent {view.agent}, {counted(view.last_seq, 'event')}")
    conversation = Conversation()
    for event in events:
        conversation.show(event)


def abort(session: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Ends what the session does; what there is of the answer is kept."""
    screen = Screen(as_json)
    with open_client(url) as client:
        was_running = client.session(session).abort()
    if as_json:
        screen.json({"sessionId": session, "aborted": was_running})
    else:
        screen.line(f"the run of {session} is aborted" if was_running else f"nothing was running in {session}")


def delete(session: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Deletes the session, its events and its own workspace."""
    screen = Screen(as_json)
    with open_client(url) as client:
        client.session(session).delete()
    if as_json:
        screen.json({"sessionId": session, "deleted": True})
    else:
        screen.line(f"{session} is deleted")
