"""Payload classes at the border: JSON to object and back, fast, with every failure an InvalidPayload.

from_json and to_json run once for each message and hop, so they go straight to pydantic's compiled validator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from organism.errors import InvalidPayload

MAX_PROBLEMS = 100
MAX_CLASSES = 4096


class PayloadType:
    """A pydantic model or a dataclass as payload. `name` is its class name, the payload_type of messages.

    `agent` is whose payload it is, for errors. Unknown fields are refused by dataclasses and by models derived
    from Payload; a pydantic model with a configuration of its own decides for itself.

    Raises:
        TypeError: the class is none of the two, or has fields that JSON cannot hold.
    """

    __slots__ = (
        "__weakref__", "_adapter", "_may_hold_floats", "_schema", "_serialize", "_validate", "agent", "dotted", "name",
        "python_type",
    )  # fmt: skip

    def __init__(self, python_type: type, agent: str = "") -> None:
        self.python_type = python_type
        self.agent = agent
        self.name = python_type.__name__
        self.dotted = f"{python_type.__module__}.{python_type.__qualname__}"
        self._adapter = _adapter(python_type)
        self._schema = _json_schema(self._adapter, self.dotted)
        self._may_hold_floats = _may_hold_floats(self._schema)
        self._validate = self._adapter.validator.validate_json
        self._serialize = partial(self._adapter.serializer.to_json, **_serialize_options(python_type))

    def __repr__(self) -> str:
        return f"PayloadType({self.dotted})"

    def from_json(self, data: bytes) -> Any:
        """The payload that `data` (JSON, UTF-8) holds.

        Raises:
            InvalidPayload: it is no JSON, or does not fit; with the path and the text of each problem.
        """
        try:
            payload = self._validate(data)
        except ValidationError as error:
            raise InvalidPayload(self.agent, self.name, _problems(error)) from error
        except RecursionError as error:  # a validator of the author's, given deep nesting
            raise InvalidPayload(self.agent, self.name, (("", "is nested too deep"),)) from error
        if self._may_hold_floats:
            self._refuse_non_finite(payload)
        return payload

    def to_json(self, payload: Any) -> bytes:
        """`payload` as JSON (UTF-8) that from_json takes.

        Raises:
            InvalidPayload: a field holds what it must not (a dataclass does not check when it is made).
        """
        try:
            if self._may_hold_floats:
                self._refuse_non_finite(payload)
            return self._serialize(payload)
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise InvalidPayload(self.agent, self.name, (("", _first_line(error)),)) from error

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of what from_json takes; shared, so not to be changed."""
        return self._schema

    def _refuse_non_finite(self, payload: Any) -> None:
        """NaN and infinity are no JSON: pydantic reads them, and writes null, which would change the message."""
        problems = tuple((path, "is not a finite number") for path in _non_finite(payload, ""))
        if problems:
            raise InvalidPayload(self.agent, self.name, problems[:MAX_PROBLEMS])


@lru_cache(MAX_CLASSES)
def serializer_for(python_type: type) -> Callable[[Any], bytes]:
    """The to_json of payloads of this class; made once for each class.

    Raises:
        TypeError: the class is neither a pydantic model nor a dataclass.
    """
    return PayloadType(python_type).to_json


def _adapter(python_type: type) -> TypeAdapter[Any]:
    if not isinstance(python_type, type) or not (
        issubclass(python_type, BaseModel) or dataclasses.is_dataclass(python_type)
    ):
        raise TypeError(f"{python_type!r} is neither a pydantic model nor a dataclass")
    if dataclasses.is_dataclass(python_type) and not hasattr(python_type, "__pydantic_config__"):
        # pydantic's own way to configure a plain dataclass; dataclasses in its fields inherit it.
        with_config(ConfigDict(extra="forbid"))(python_type)
    try:
        adapter = TypeAdapter(python_type)
        adapter.rebuild(raise_errors=True)  # names what is undefined; does nothing when all is defined
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"{python_type.__qualname__} cannot be validated: {_first_line(error)}") from error
    return adapter


def _serialize_options(python_type: type) -> dict[str, Any]:
    """What makes to_json write what from_json takes: fields by alias, computed ones (round_trip) left out.

    A frozen model was checked when it was made; asking for it again costs a microsecond, four times the rest.
    """
    options: dict[str, Any] = {"by_alias": True, "round_trip": True}
    if not (issubclass(python_type, BaseModel) and python_type.model_config.get("frozen")):
        options["warnings"] = "error"
    return options


def _json_schema(adapter: TypeAdapter[Any], dotted: str) -> dict[str, Any]:
    try:
        return adapter.json_schema()
    except PydanticUserError as error:
        raise TypeError(f"{dotted} has a field that JSON cannot hold: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """What an exception says, without pydantic's headline and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("warnings:")), type(error).__name__)


def _problems(error: ValidationError) -> tuple[tuple[str, str], ...]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple((".".join(str(part) for part in each["loc"]), each["msg"]) for each in found[:MAX_PROBLEMS])


def _may_hold_floats(schema: Any) -> bool:
    """Whether a number that is no integer, or any value at all, may stand somewhere in a payload of this schema."""
    if isinstance(schema, list):
        return any(_may_hold_floats(each) for each in schema)
    if not isinstance(schema, dict):
        return schema is True  # additionalProperties: true
    if schema.get("type") == "number" or not _KINDS.intersection(schema):
        return True
    if schema.get("type") == "array" and not {"items", "prefixItems"}.intersection(schema):
        return True
    return any(_may_hold_floats(each) for each in _subschemas(schema))


_KINDS = frozenset({"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})
_NAMED = ("properties", "$defs")
_NESTED = ("items", "prefixItems", "additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf")


def _subschemas(schema: dict[str, Any]) -> Iterable[Any]:
    for keyword in _NAMED:
        yield from schema.get(keyword, {}).values()
    for keyword in _NESTED:
        if keyword in schema:
            yield schema[keyword]


def _non_finite(value: Any, path: str) -> list[str]:
    """The dotted paths below `value` where a float is NaN or infinite."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [path]
    found: list[str] = []
    for key, each in _parts(value):
        found += _non_finite(each, f"{path}.{key}" if path else str(key))
    return found


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, str | bytes | int | None):
        return ()
    if isinstance(value, BaseModel):
        return value  # iterates over its fields, extra ones included
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    if dataclasses.is_dataclass(value):
        return ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
    return ()
