"""What a tool tells the model: never more than `max_bytes`, and said where something was left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson

from organism.errors import NotFound, Refused
from organism.llm.base import Tool
from organism.sessions.tools.base import SessionTool, ToolContext, ToolFailed

T = TypeVar("T")


class BoundedTool:
    """A tool whose results and failures are cut to `max_bytes`, and are JSON whatever it returns."""

    def __init__(self, tool: SessionTool, max_bytes: int) -> None:
        self._tool = tool
        self._max_bytes = max_bytes

    @property
    def spec(self) -> Tool:
        return self._tool.spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        try:
            result = await self._tool.call(arguments, context)
        except ToolFailed as error:
            raise ToolFailed(cut(str(error), self._max_bytes)) from error
        return bounded(result, self._max_bytes)


def bounded(result: Any, max_bytes: int) -> Any:
    """`result` as a text or JSON-like value of at most about `max_bytes`; what is larger becomes a text, cut.

    Raises:
        ToolFailed: it is no JSON.
    """
    if isinstance(result, str):
        return cut(result, max_bytes)
    try:
        encoded = orjson.dumps(result, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolFailed(f"the tool's result cannot be shown: {error}") from error
    return orjson.loads(encoded) if len(encoded) <= max_bytes else cut(encoded.decode(), max_bytes)


def cut(text: str, max_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    kept = encoded[:max_bytes].decode(errors="ignore")
    return f"{kept}\n[cut: {len(encoded) - max_bytes} of {len(encoded)} bytes left out]"


async def blocking(work: Callable[..., T], *arguments: Any) -> T:
    """Runs work on the workspace in a thread; a path that is refused or not there is the model's to correct."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except (NotFound, Refused) as error:
        raise ToolFailed(str(error)) from error


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError(f"a {type(value).__name__} is no JSON")
