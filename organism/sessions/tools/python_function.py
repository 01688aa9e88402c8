"""A Python function of the organism's folder as a tool: type hints are its schema, the docstring its description."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from organism.errors import HandlerNotLoaded
from organism.llm.base import Tool
from organism.loading import load_attribute
from organism.sessions.tools.base import ToolContext, ToolFailed

OWNER = "sessions.agents"
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class PythonFunction:
    """A function that is not async runs in a thread, so it may block, and cannot be stopped half-way."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        hints = get_type_hints(function, include_extras=True)
        self._function = function
        self._context_name = next((key for key, hint in hints.items() if hint is ToolContext and key != "return"), None)
        self._arguments = _model(function, hints, name, self._context_name)
        self._spec = Tool(name, _description(function), self._arguments.model_json_schema())

    @property
    def spec(self) -> Tool:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        try:
            checked = self._arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolFailed(_problems(error)) from error
        given = {name: getattr(checked, name) for name in type(checked).model_fields}
        if self._context_name is not None:
            given[self._context_name] = context
        if inspect.iscoroutinefunction(self._function):
            return await self._function(**given)
        return await asyncio.to_thread(self._function, **given)


def load_function(dotted: str, folder: Path) -> PythonFunction:
    """Raises HandlerNotLoaded: it cannot be imported, or is no function with type hints that JSON can hold."""
    function = load_attribute(OWNER, dotted, folder)
    if isinstance(function, type) or not callable(function) or inspect.isasyncgenfunction(function):
        raise HandlerNotLoaded(OWNER, dotted, "a tool is a function, `def` or `async def`, with type hints")
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", dotted.rpartition(".")[2])[:64]
    try:
        return PythonFunction(function, name)
    except (TypeError, ValueError, NameError, PydanticUserError) as error:
        raise HandlerNotLoaded(OWNER, dotted, f"its parameters have no schema: {error}") from error


def _model(function: Callable[..., Any], hints: dict[str, Any], name: str, context_name: str | None) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == context_name:
            continue
        if parameter.kind not in _NAMED:
            raise TypeError(f"{parameter} cannot be given by name")
        if parameter.name not in hints:
            raise TypeError(f"{parameter.name} has no type hint")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)


def _description(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring."""
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in each['loc']) or 'arguments'}: {each['msg']}" for each in found)
