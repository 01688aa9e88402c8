"""tail: the live messages, over a WebSocket that comes back by itself without a gap or a double."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from organism.cli.client import Api, may_use_proxy
from organism.cli.failures import CliFailure, ExitCode, NotTrusted, with_remedy
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen, message_line
from organism.client.credentials import Credentials

_FIRST_RECONNECT_S = 0.2
_SLOWEST_RECONNECT_S = 5.0
_REFUSALS = ("invalid_request", "malformed", "unauthenticated", "forbidden")


def register(app: typer.Typer) -> None:
    app.command()(tail)


def tail(
    agent: Annotated[list[str] | None, typer.Option(help="Only messages from or to this agent; repeatable.")] = None,
    thread: Annotated[list[str] | None, typer.Option(help="Only messages of this thread; repeatable.")] = None,
    payload_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only payloads of this type; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Start behind this seq of the log, 0 for all, or at 2026-01-15T10:00:00Z.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Shows messages as they flow, until Ctrl-C; --json prints one JSON document a line.

    A lost connection is made again, and goes on behind the last message shown.
    """
    screen = Screen(as_json)
    with Api(url) as api:
        newest = api.last_seq()  # asked in any case: where nothing answers, this says so
    start = newest if since is None else int(since) if since.isdecimal() else since
    where = MessagesWanted(tuple(agent or ()), tuple(thread or ()), tuple(payload_type or ()))
    asyncio.run(_show(screen, follow(api.url, where, start, screen.notice, api.credentials), count))


async def _show(screen: Screen, messages: AsyncGenerator[dict[str, Any]], count: int | None) -> None:
    shown = 0
    async with aclosing(messages) as stream:
        async for message in stream:
            if screen.as_json:
                screen.json(message)
            else:
                screen.line(message_line(message))
            shown += 1
            if shown == count:
                return


@dataclass(frozen=True, slots=True)
class MessagesWanted:
    """The filter of /ws/messages; an empty part lets everything through."""

    agents: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    payload_types: tuple[str, ...] = ()

    def subscription(self, since: int | str) -> str:
        wanted = {"agents": self.agents, "threads": self.threads, "payload_types": self.payload_types}
        given = {name: values for name, values in wanted.items() if values}
        return orjson.dumps({"cmd": "subscribe", "filter": {**given, "since": since}}).decode()


async def follow(
    url: str,
    where: MessagesWanted,
    since: int | str,
    notify: Callable[[str], None],
    credentials: Credentials,
) -> AsyncGenerator[dict[str, Any]]:
    """The messages behind seq `since`, or not older than that time, each once and in order, for ever.

    `notify` is told once when the connection is lost and once when it is back.

    Raises:
        CliFailure: the server refuses the subscription, or the key.
    """
    tls = credentials.tls(url)
    delay_s = _FIRST_RECONNECT_S
    is_lost = False
    while True:
        try:
            async with connect(
                _stream_address(url),
                additional_headers=credentials.headers,
                ssl=tls,
                max_size=None,  # a payload may have any size
                proxy=True if may_use_proxy(url) else None,
            ) as socket:
                await socket.send(where.subscription(since))
                if is_lost:
                    notify("connected again")
                is_lost, delay_s = False, _FIRST_RECONNECT_S
                async for frame in socket:
                    event = orjson.loads(frame)
                    if _has_skipped(event):
                        break  # a new connection reads what was skipped from the log
                    if "event" not in event and (isinstance(since, str) or event["seq"] > since):
                        since = event["seq"]
                        yield event
        except ssl.SSLCertVerificationError as error:
            raise NotTrusted(url, str(error)) from error
        except (OSError, WebSocketException) as error:
            if isinstance(error, InvalidStatus) and error.response.status_code in (401, 403):
                raise _refused_key(url) from error
            if not is_lost:
                notify(f"the connection to {url} is lost ({error}); connecting again, from {since} on")
            is_lost = True
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, _SLOWEST_RECONNECT_S)


def _has_skipped(event: dict[str, Any]) -> bool:
    """Whether the server says that it left messages out, because this client was too slow for them.

    Other errors than a refused subscription pass: the server closes the connection then, or tries again itself.
    """
    if event.get("event") == "error" and event.get("code") in _REFUSALS:
        raise CliFailure(f"the organism refused to stream: {event.get('error')}", ExitCode.REFUSED, "refused")
    return event.get("event") == "lagged"


def _refused_key(url: str) -> CliFailure:
    """A handshake is answered without a reason."""
    message = with_remedy(401, "the organism takes this key no more: it has expired, or was revoked", url, None)
    return CliFailure(message, ExitCode.REFUSED, "unauthenticated")


def _stream_address(url: str) -> str:
    return "ws" + url.removeprefix("http") + "/ws/messages"
