"""Payloads as XML: the XSD of a payload class, and XML to JSON and back.

xsd(payload_type)                → the schema, for clients
xml_to_json(document, payload_type) → JSON for payload_type.from_json, after validation by that schema
json_to_xml(payload, payload_type)  → the document that xml_to_json turns into the same JSON
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from lxml import etree
from pydantic_core import from_json, to_json

from organism.errors import InvalidPayload
from organism.payloads import PayloadType
from organism.shapes import Shapes
from organism.xml_text import to_xml_name
from organism.xml_values import Misfit, read_element, write_element
from organism.xsd import write_xsd

MAX_XML_BYTES = 2_000_000
MAX_PROBLEMS = 100
MAX_TYPES = 4096

_XSI = "{http://www.w3.org/2001/XMLSchema-instance}"


def xsd(payload_type: PayloadType) -> str:
    """The XSD of documents that hold one payload; the root element is named for the class."""
    return _form(payload_type).xsd


def xml_to_json(xml: bytes, payload_type: PayloadType, max_bytes: int = MAX_XML_BYTES) -> bytes:
    """The payload that a document holds, as JSON.

    Entities are not expanded, nothing is loaded from anywhere, and a document type is refused.

    Raises:
        InvalidPayload: it is no XML, too long, or not valid by the XSD; with the path and the line of each problem.
    """
    if len(xml) > max_bytes:
        raise _invalid(payload_type, "", f"has {len(xml)} bytes, more than {max_bytes}")
    root = _parse(xml, payload_type)
    form = _form(payload_type)
    form.validate(root, payload_type)
    try:
        value = read_element(form.shapes, form.shapes.root, root)
    except Misfit as error:
        raise _invalid(payload_type, error.path, error.text) from error
    except RecursionError as error:
        raise _invalid(payload_type, "", "is nested too deep") from error
    return to_json(value)


def json_to_xml(data: bytes, payload_type: PayloadType) -> bytes:
    """A payload's JSON as a document (UTF-8).

    Raises:
        InvalidPayload: the JSON does not belong to this class.
    """
    form = _form(payload_type)
    root = etree.Element(form.root_name)
    try:
        write_element(form.shapes, form.shapes.root, root, from_json(data, allow_inf_nan=False))
    except Misfit as error:
        raise _invalid(payload_type, error.path, error.text) from error
    except ValueError as error:
        raise _invalid(payload_type, "", str(error)) from error
    except RecursionError as error:
        raise _invalid(payload_type, "", "is nested too deep") from error
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


class _Form:
    """What one payload class needs for its XML, made once."""

    def __init__(self, payload_type: PayloadType) -> None:
        self.root_name = to_xml_name(payload_type.name)
        self.shapes = Shapes.of(payload_type.json_schema())
        self.xsd = write_xsd(payload_type.name, self.shapes)
        self._schema = etree.XMLSchema(etree.fromstring(self.xsd))

    def validate(self, root: etree._Element, payload_type: PayloadType) -> None:
        if self._schema.validate(root):
            return
        log: Iterable[Any] = self._schema.error_log  # pyright: ignore[reportAssignmentType]  (the stubs do not say so)
        problems = tuple((_dotted(each.path), f"line {each.line}: {each.message}") for each in log)
        raise InvalidPayload(payload_type.agent, payload_type.name, problems[:MAX_PROBLEMS])


@lru_cache(MAX_TYPES)
def _form(payload_type: PayloadType) -> _Form:
    return _Form(payload_type)


def _parse(xml: bytes, payload_type: PayloadType) -> etree._Element:
    # A parser for each document: one that has failed may keep something of it.
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise _invalid(payload_type, "", f"line {line or 1}: is no XML: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise _invalid(payload_type, "", "has a document type (<!DOCTYPE …>); leave it out")
    _drop_hints(root)
    return root


def _drop_hints(root: etree._Element) -> None:
    """Takes out where a document says that its schema lies: libxml2 would go there and read it."""
    for element in root.iter():
        for hint in ("schemaLocation", "noNamespaceSchemaLocation"):
            element.attrib.pop(_XSI + hint, "")


def _dotted(path: str | None) -> str:
    """`/Greeting/tags/item[2]` as `tags.item[2]`."""
    return ".".join((path or "").split("/")[2:])


def _invalid(payload_type: PayloadType, path: str, text: str) -> InvalidPayload:
    return InvalidPayload(payload_type.agent, payload_type.name, ((path, text),))
