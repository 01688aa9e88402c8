"""The JSON Schema of a payload class as a small tree of shapes: what XSD and the XML conversions are made from.

A shape says what XML needs to know and no more; everything finer (lengths, patterns) is checked by the payload class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["string", "integer", "number", "boolean"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, a number or a flag. `format` as in JSON Schema; `values` are the only ones, if not empty."""

    kind: Kind
    format: str = ""
    values: tuple[Any, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()  # (minInclusive | minExclusive | maxInclusive | maxExclusive, value)


@dataclass(frozen=True, slots=True)
class Null:
    """Only null."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """`inner`, or null."""

    inner: Shape


@dataclass(frozen=True, slots=True)
class Array:
    """A list; its first items have the shapes `first`, all further ones `rest` (None: there are none)."""

    first: tuple[Shape, ...]
    rest: Shape | None


@dataclass(frozen=True, slots=True)
class Map:
    """A dict with any keys."""

    value: Shape


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record: its key in JSON."""

    name: str
    shape: Shape
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known fields; `others` is the shape of further ones (None: there are none)."""

    fields: tuple[Field, ...]
    others: Shape | None
    description: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several, each with the tag by which XML tells them apart."""

    options: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """A shape defined by name, so that classes can contain themselves."""

    name: str


Shape = Scalar | Null | Anything | Nullable | Array | Map | Record | Choice | Ref


@dataclass(frozen=True)
class Shapes:
    """The shape of a payload, and the named ones that it refers to."""

    root: Shape
    named: dict[str, Shape]

    @classmethod
    def of(cls, schema: dict[str, Any]) -> Shapes:
        """Reads a JSON Schema as pydantic writes it."""
        definitions = schema.get("$defs", {})
        return cls(_shape(schema), {name: _shape(each) for name, each in definitions.items()})

    def followed(self, shape: Shape) -> Shape:
        """`shape`, or what it refers to, until that is no reference."""
        seen: set[str] = set()
        while isinstance(shape, Ref):
            if shape.name in seen or shape.name not in self.named:
                return Anything()
            seen.add(shape.name)
            shape = self.named[shape.name]
        return shape

    def split_null(self, shape: Shape) -> tuple[Shape, bool]:
        """`shape` without null, and whether null was allowed; a reference stays one where it can."""
        followed = self.followed(shape)
        if isinstance(followed, Nullable):
            return followed.inner, True
        return shape, isinstance(followed, Null)

    def fits(self, shape: Shape, value: Any) -> bool:
        """Whether `value` could be meant by `shape`: the right kind all the way down."""
        match self.followed(shape):
            case Anything():
                return True
            case Null():
                return value is None
            case Nullable(inner):
                return value is None or self.fits(inner, value)
            case Scalar() as scalar:
                return _is_kind(scalar.kind, value) and (not scalar.values or value in scalar.values)
            case Array() as array:
                return isinstance(value, list) and self._fits_array(array, value)
            case Map(inner):
                return isinstance(value, dict) and all(self.fits(inner, each) for each in value.values())
            case Record() as record:
                return isinstance(value, dict) and self._fits_record(record, value)
            case Choice(options):
                return any(self.fits(each, value) for _, each in options)
            case _:
                return False

    def _fits_array(self, array: Array, value: list[Any]) -> bool:
        if len(value) < len(array.first) or (array.rest is None and len(value) > len(array.first)):
            return False
        return all(self.fits(shape, each) for shape, each in zip(item_shapes(array, len(value)), value, strict=True))

    def _fits_record(self, record: Record, value: dict[str, Any]) -> bool:
        known = {each.name for each in record.fields}
        return (
            (record.others is not None or known.issuperset(value))
            and all(each.name in value for each in record.fields if each.required)
            and all(self.fits(each.shape, value[each.name]) for each in record.fields if each.name in value)
        )


def item_shapes(array: Array, count: int) -> Iterator[Shape]:
    """The shapes of the first `count` items of an array."""
    for index in range(count):
        yield array.first[index] if index < len(array.first) else array.rest or Anything()


def _is_kind(kind: Kind, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool}
    return isinstance(value, kinds[kind])


def _shape(schema: Any) -> Shape:
    if not isinstance(schema, dict):
        return Anything()
    if "$ref" in schema:
        return Ref(schema["$ref"].rpartition("/")[2])
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return _choice(schema[keyword])
    if len(schema.get("allOf", ())) == 1:
        return _shape(schema["allOf"][0])
    if "const" in schema:
        return _values([schema["const"]])
    if "enum" in schema:
        return _values(schema["enum"])
    return _typed(schema)


def _typed(schema: dict[str, Any]) -> Shape:
    match schema.get("type"):
        case list() as kinds:
            return _choice([{**schema, "type": each} for each in kinds])
        case "string" | "integer" | "number" | "boolean" as kind:
            return Scalar(kind, format=schema.get("format", ""), bounds=_bounds(schema))
        case "null":
            return Null()
        case "array":
            return _array(schema)
        case "object":
            return _object(schema)
        case _:
            return Anything()


def _bounds(schema: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    facets = {
        "minimum": "minInclusive", "exclusiveMinimum": "minExclusive",
        "maximum": "maxInclusive", "exclusiveMaximum": "maxExclusive",
    }  # fmt: skip
    return tuple((facet, schema[keyword]) for keyword, facet in facets.items() if keyword in schema)


def _array(schema: dict[str, Any]) -> Array:
    first = tuple(_shape(each) for each in schema.get("prefixItems", ()))
    is_closed = bool(first) and "items" not in schema and schema.get("maxItems") == len(first)
    return Array(first, None if is_closed else _shape(schema.get("items")))


def _object(schema: dict[str, Any]) -> Shape:
    others = schema.get("additionalProperties", "properties" not in schema)
    rest = None if others is False else _shape(others)
    if "properties" not in schema:
        patterns = list(schema.get("patternProperties", {}).values())
        if patterns:
            rest = _choice(patterns)
        return Map(rest) if rest is not None else Record((), None, schema.get("description", ""))
    required = set(schema.get("required", ()))
    fields = tuple(
        Field(name, _shape(each), name in required, each.get("description", "") if isinstance(each, dict) else "")
        for name, each in schema["properties"].items()
    )
    return Record(fields, rest, schema.get("description", ""))


def _values(values: list[Any]) -> Shape:
    """An enumeration: one scalar when all its values are of a kind, else a choice by kind."""
    kinds: dict[str, list[Any]] = {}
    for each in values:
        kinds.setdefault(_kind_of(each), []).append(each)
    shapes = [_values_of_kind(kind, of_kind) for kind, of_kind in kinds.items()]
    return _alternatives(shapes)


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "integer", float: "number", type(None): "null"}.get(type(value), "any")


def _values_of_kind(kind: str, values: list[Any]) -> Shape:
    if kind == "null":
        return Null()
    if kind in {"string", "integer", "number", "boolean"}:
        return Scalar(kind, values=tuple(values))  # pyright: ignore[reportArgumentType]
    return Anything()


def _choice(schemas: list[Any]) -> Shape:
    return _alternatives([_shape(each) for each in schemas])


def _alternatives(shapes: list[Shape]) -> Shape:
    """One of `shapes`: null becomes Nullable, equal ones become one, a single one needs no choice."""
    flat = [each.inner if isinstance(each, Nullable) else each for each in shapes]
    has_null = any(isinstance(each, Null | Nullable) for each in shapes)
    kept = list(dict.fromkeys(each for each in flat if not isinstance(each, Null)))
    if not kept:
        return Null()
    inner = kept[0] if len(kept) == 1 else Choice(tuple(_tagged(kept)))
    return Nullable(inner) if has_null and not isinstance(inner, Anything) else inner


def _tagged(shapes: Sequence[Shape]) -> Iterator[tuple[str, Shape]]:
    used: dict[str, int] = {}
    for shape in shapes:
        tag = _tag(shape)
        used[tag] = used.get(tag, 0) + 1
        yield (tag if used[tag] == 1 else f"{tag}-{used[tag]}"), shape


def _tag(shape: Shape) -> str:
    match shape:
        case Ref(name):
            return name
        case Scalar(kind):
            return kind
        case Array():
            return "array"
        case Map() | Record():
            return "object"
        case _:
            return "any"
