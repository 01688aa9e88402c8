"""audit: who did what with a running organism."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from organism.cli.audit_feed import follow as follow_audit
from organism.cli.client import Api
from organism.cli.failures import WrongUse
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen, printable

_STYLES = {"ok": "green", "refused": "yellow", "failed": "bold red"}
_WIDTHS = (16, 12, 16, 15)  # of who, action, target and address, in a line of --follow


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
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Then go on with new ones as they come, until Ctrl-C.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Shows who did what, on what, from where, the newest last; needs the role admin.

    Recorded are the verbs that change something, keys, and logins that failed. With --follow and --json each record
    is a document of its own, one a line.
    """
    if follow and before is not None:
        raise WrongUse("--follow shows what comes, --before what is older; leave one of them out")
    screen = Screen(as_json)
    where = {"who": who, "action": action, "outcome": outcome, "since": since}
    with Api(url) as api:
        records: list[dict[str, Any]] = api.get("audit", **where, limit=limit, before=before)["records"][::-1]
        if follow:
            last_seq = records[-1]["seq"] if records else 0
            for record in chain(records, follow_audit(api, where, last_seq, screen.notice)):
                _show(screen, record)
    _show_page(screen, records, limit)


def _show(screen: Screen, record: dict[str, Any]) -> None:
    if screen.as_json:
        screen.json(record)
    else:
        screen.line(_line(record))


def _show_page(screen: Screen, records: list[dict[str, Any]], limit: int) -> None:
    if screen.as_json:
        screen.json({"records": records, "count": len(records)})
        return
    screen.table(("#seq", "at", "who", "action", "target", "from", "outcome", "detail"), map(_row, records))
    if not records:
        screen.notice("there are none")
    elif len(records) == limit:
        screen.notice(f"there may be older ones; --before {records[0]['seq']} shows them")


def _row(record: dict[str, Any]) -> Sequence[object]:
    known = (record["who"] or "–", record["action"], record["target"], record["address"])
    return (record["seq"], _clock(record), *known, _outcome(record), record["detail"])


def _line(record: dict[str, Any]) -> Text:
    """As a row of the table, whose columns nobody can know beforehand."""
    known = (record["who"] or "–", record["action"], record["target"], record["address"])
    texts = [_on_one_line(text).ljust(width) for text, width in zip(known, _WIDTHS, strict=True)]
    line = Text.assemble(f"{record['seq']:>6}  ", (_clock(record), "dim"), "  ", "  ".join(texts), "  ")
    return line.append_text(_outcome(record)).append(f"  {_on_one_line(record['detail'])}".rstrip())


def _on_one_line(text: str) -> str:
    return " ".join(printable(text).split("\n"))


def _clock(record: dict[str, Any]) -> str:
    return datetime.fromisoformat(record["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _outcome(record: dict[str, Any]) -> Text:
    return Text(printable(record["outcome"]), style=_STYLES.get(record["outcome"], ""))
