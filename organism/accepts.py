"""Which payload types a handler takes: its listener's class, and what else its annotation names.

    async def plan(payload: Task | Answer | SystemError, context: Context) -> Send: ...

takes the answers of its peers and the pump's SystemError beside its own Task.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import Any, TypeGuard, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from organism.loading import Loaded
from organism.payloads import PayloadType


def payload_types(loaded: Loaded, listener: str) -> dict[str, PayloadType]:
    """By the name under which they travel. An annotation that cannot be evaluated adds nothing."""
    taken = {loaded.payload.name: loaded.payload}
    for python_type in _annotated(loaded.handler):
        taken.setdefault(python_type.__name__, PayloadType(python_type, listener))
    return taken


def _annotated(handler: Any) -> list[type]:
    function = handler if inspect.isroutine(handler) else type(handler).__call__
    first = next((name for name in inspect.signature(handler).parameters), None)
    try:
        annotation = get_type_hints(function).get(first or "")
    except (NameError, TypeError, AttributeError):
        return []
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return [each for each in members if _is_payload_class(each)]


def _is_payload_class(candidate: Any) -> TypeGuard[type]:
    return isinstance(candidate, type) and (issubclass(candidate, BaseModel) or dataclasses.is_dataclass(candidate))
