"""JSON values to XML elements and back, as their shapes say; the form is told in xsd.py."""

from __future__ import annotations

import math
from typing import Any

from lxml import etree

from organism.shapes import Anything, Array, Choice, Map, Null, Nullable, Record, Scalar, Shape, Shapes, item_shapes
from organism.xml_text import from_xml_text, to_xml_name, to_xml_text
from organism.xsd import OTHER_FIELDS

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


class Misfit(Exception):
    """A value that its shape has no place for; `path` is dotted."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path, text)
        self.path = path
        self.text = text


def read_element(shapes: Shapes, shape: Shape, element: etree._Element, path: str = "") -> Any:
    """The JSON value of an element that its XSD has found valid. Raises Misfit for numbers that are not finite."""
    if element.get(_NIL) in {"true", "1"}:
        return None
    match shapes.followed(shape):
        case Nullable(inner):
            return read_element(shapes, inner, element, path)
        case Scalar() as scalar:
            return _read_scalar(scalar, element.text or "", path)
        case Record() as record:
            return _read_record(shapes, record, element, path)
        case Array() as array:
            pairs = zip(item_shapes(array, len(element)), element, strict=True)
            return [read_element(shapes, each, item, f"{path}.{n}") for n, (each, item) in enumerate(pairs)]
        case Map(value):
            return _read_map(shapes, value, element, path)
        case Choice(options):
            tagged = {to_xml_name(tag): each for tag, each in options}
            return read_element(shapes, tagged[element[0].tag], element[0], path)
        case Anything():
            return _read_anything(shapes, element[0], path)
        case _:
            return None


def write_element(shapes: Shapes, shape: Shape, element: etree._Element, value: Any, path: str = "") -> None:
    """Puts a JSON value into `element`. Raises Misfit where it has not the shape."""
    shape = shapes.followed(shape)
    if value is None and isinstance(shape, Null | Nullable):
        element.set(_NIL, "true")
        return
    match shape, value:
        case Nullable(inner), _:
            write_element(shapes, inner, element, value, path)
        case Scalar(), str() | int() | float():
            element.text = _scalar_text(value)
        case Record() as record, dict():
            _write_record(shapes, record, element, value, path)
        case Array() as array, list():
            _write_array(shapes, array, element, value, path)
        case Map(inner), dict():
            _write_map(shapes, inner, element, value, path)
        case Choice(options), _:
            tag, option = _chosen(shapes, options, value, path)
            write_element(shapes, option, etree.SubElement(element, to_xml_name(tag)), value, path)
        case Anything(), _:
            tag, inner = _meaning(value)
            write_element(shapes, inner, etree.SubElement(element, tag), value, path)
        case _:
            raise Misfit(path, f"a {_meaning(value)[0]} has no place here")


def _read_scalar(scalar: Scalar, text: str, path: str) -> Any:
    if scalar.kind == "string":
        return from_xml_text(text) if not scalar.format else text.strip()
    text = text.strip()
    if scalar.kind == "boolean":
        return text in {"true", "1"}
    if scalar.kind == "integer":
        return int(text)
    return _read_number(text, path)


def _read_number(text: str, path: str) -> int | float:
    if text.lstrip("+-").isdigit():
        return int(text) if len(text) < 20 else float(text)
    number = float(text)
    if not math.isfinite(number):
        raise Misfit(path, "is not a finite number")
    return number


def _read_record(shapes: Shapes, record: Record, element: etree._Element, path: str) -> dict[str, Any]:
    fields = {to_xml_name(each.name): each for each in record.fields}
    value: dict[str, Any] = {}
    for child in element:
        if child.tag == OTHER_FIELDS:
            value |= _read_map(shapes, record.others or Anything(), child, path)
        else:
            field = fields[child.tag]
            value[field.name] = read_element(shapes, field.shape, child, _joined(path, field.name))
    return value


def _read_map(shapes: Shapes, inner: Shape, element: etree._Element, path: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for entry in element:
        key = from_xml_text(entry.get("key", ""))
        if key in value:
            raise Misfit(_joined(path, key), "stands twice")
        value[key] = read_element(shapes, inner, entry[0], _joined(path, key))
    return value


def _read_anything(shapes: Shapes, element: etree._Element, path: str) -> Any:
    return read_element(shapes, _ANYTHINGS[str(element.tag)], element, path)


_ANYTHINGS: dict[str, Shape] = {
    "string": Scalar("string"),
    "integer": Scalar("integer"),
    "number": Scalar("number"),
    "boolean": Scalar("boolean"),
    "null": Null(),
    "array": Array((), Anything()),
    "object": Map(Anything()),
}


def _write_record(shapes: Shapes, record: Record, element: etree._Element, value: dict[str, Any], path: str) -> None:
    known = {each.name for each in record.fields}
    for field in record.fields:
        if field.name in value:
            child = etree.SubElement(element, to_xml_name(field.name))
            write_element(shapes, field.shape, child, value[field.name], _joined(path, field.name))
    others = {key: each for key, each in value.items() if key not in known}
    if others and record.others is None:
        raise Misfit(_joined(path, next(iter(others))), "is no known field")
    if others and record.others is not None:
        _write_map(shapes, record.others, etree.SubElement(element, OTHER_FIELDS), others, path)


def _write_array(shapes: Shapes, array: Array, element: etree._Element, value: list[Any], path: str) -> None:
    if array.rest is None and len(value) > len(array.first):
        raise Misfit(path, f"has more than {len(array.first)} items")
    for index, (shape, each) in enumerate(zip(item_shapes(array, len(value)), value, strict=True)):
        tag = f"item{index + 1}" if index < len(array.first) else "item"
        write_element(shapes, shape, etree.SubElement(element, tag), each, _joined(path, str(index)))


def _write_map(shapes: Shapes, inner: Shape, element: etree._Element, value: dict[str, Any], path: str) -> None:
    for key, each in value.items():
        entry = etree.SubElement(element, "entry", {"key": to_xml_text(key)})
        write_element(shapes, inner, etree.SubElement(entry, "value"), each, _joined(path, key))


def _chosen(shapes: Shapes, options: tuple[tuple[str, Shape], ...], value: Any, path: str) -> tuple[str, Shape]:
    for tag, shape in options:
        if shapes.fits(shape, value):
            return tag, shape
    raise Misfit(path, "is none of " + ", ".join(tag for tag, _ in options))


def _meaning(value: Any) -> tuple[str, Shape]:
    """What a value is by itself, where any value may stand."""
    kinds = {
        type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
        dict: "object",
    }  # fmt: skip
    kind = kinds[type(value)]
    return kind, _ANYTHINGS[kind]


def _scalar_text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_xml_text(value) if isinstance(value, str) else str(value)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
