"""audit: who did what with a running organism."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from organism.cli.client import Api
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen, printable

_STYLES = {"ok": "green", "refused": "yellow", "failed": "bold red"}


def register(app: typer.Typer) -> None:
    app.command()(audit)


def audit(
    who: Annotated[
        str | None, typer.Option(help="Only of this one, such as key:ci, user:ada or cli:root.", metavar="ID")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only this verb, such as pause, login or key.add.")] = None,
    outcome: Annotated[
        Literal["ok", "refused", "failed"] | None, typer.Option(help="Only: ok, refused or failed.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only since then, e.g. 2026-01-15T10:00:00Z.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Records, the newest ones.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Only records with a smaller seq: the page before.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Shows who did what, on what, from where, the newest last; needs the role admin.

    Recorded are the verbs that change something, keys, and logins that failed.
    """
    screen = Screen(as_json)
    with Api(url) as api:
        page = api.get("audit", who=who, action=action, outcome=outcome, since=since, limit=limit, before=before)
    records: list[dict[str, Any]] = page["records"][::-1]
    if as_json:
        screen.json({"records": records, "count": page["count"]})
        return
    screen.table(("#seq", "at", "who", "action", "target", "from", "outcome", "detail"), map(_row, records))
    if not records:
        screen.notice("there are none")
    elif len(records) == limit:
        screen.notice(f"there may be older ones; --before {records[0]['seq']} shows them")


def _row(record: dict[str, Any]) -> Sequence[object]:
    at = datetime.fromisoformat(record["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    outcome = Text(printable(record["outcome"]), style=_STYLES.get(record["outcome"], ""))
    known = (record["who"] or "–", record["action"], record["target"], record["address"])
    return (record["seq"], at, *known, outcome, record["detail"])
