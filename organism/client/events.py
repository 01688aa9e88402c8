"""Events as the client reads them: those of the package, and those that a newer server may send."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from organism.sessions.events import AnyEvent, SessionEvent, decode


class UnknownEvent(SessionEvent):
    """An event of a type, or with fields, that this version does not know; `data` is all of it."""

    type: str
    data: dict[str, Any]


Event = AnyEvent | UnknownEvent


def read_event(body: bytes) -> Event | None:
    """The event; None for what is no event at all, so that no line of a stream can break it."""
    try:
        return decode(body)
    except ValidationError:
        return _unknown(body)


def _unknown(body: bytes) -> UnknownEvent | None:
    try:
        data = orjson.loads(body)
        known = {name: data[name] for name in ("id", "timestamp", "seq") if name in data}
        return UnknownEvent(type=data["type"], data=data, **known)
    except (ValueError, KeyError, TypeError):  # pydantic's ValidationError is a ValueError
        return None
