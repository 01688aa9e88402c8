"""The XSD of a payload class, and with it the XML form of payloads:

a record     one element for each field, in any order; fields that are not known by name in <other.fields>, as a dict
a list       <item>…</item>, again and again; the items of a tuple are <item1>, <item2>, …
a dict       <entry key="…"><value>…</value></entry>, again and again
null         the element empty, with xsi:nil="true"
a choice     (int | Cat) one element named for what it is: <integer>, <Cat>
any value    like a choice: <string>, <integer>, <number>, <boolean>, <null>, <array> of <item>, <object> of <entry>
all else     its text; characters that XML cannot hold as _x0001_

Dots are in no name that comes from a payload class (xml_text escapes them), so names with a dot are free for the form.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from organism.shapes import Anything, Array, Choice, Field, Kind, Map, Null, Record, Ref, Scalar, Shape, Shapes
from organism.xml_text import to_xml_name, to_xml_text

OTHER_FIELDS = "other.fields"
_ANY_TYPE = "any.value"
_NAMESPACE = "http://www.w3.org/2001/XMLSchema"
_MAX_BOUND = 10**18  # libxml2 reads 24 digits

_TYPES: dict[Kind, str] = {
    "string": "xs:string",
    "integer": "xs:integer",
    "number": "xs:double",
    "boolean": "xs:boolean",
}
_FORMATS = {"date-time": "xs:dateTime", "date": "xs:date", "time": "xs:time", "duration": "xs:duration"}


def write_xsd(root_name: str, shapes: Shapes) -> str:
    """The schema of documents whose root element, `root_name`, has the root shape."""
    writer = _Writer(shapes)
    writer.write(root_name)
    etree.indent(writer.schema)
    return etree.tostring(writer.schema, encoding="unicode") + "\n"


class _Writer:
    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self.schema = etree.Element(f"{{{_NAMESPACE}}}schema", nsmap={"xs": _NAMESPACE})

    def write(self, root_name: str) -> None:
        self._element(self.schema, to_xml_name(root_name), self._shapes.root)
        for name, shape in self._shapes.named.items():
            inner, _ = self._shapes.split_null(shape)
            self._type(self.schema, self._shapes.followed(inner), to_xml_name(name))
        self._any_type()

    def _element(
        self, parent: etree._Element, name: str, shape: Shape, occurs: tuple[str, str] | None = None, doc: str = ""
    ) -> None:
        """An element declaration; `occurs` is how often, at least and at most, where that is not once."""
        element = _add(parent, "element", name=name)
        if occurs is not None:
            element.set("minOccurs", occurs[0])
            element.set("maxOccurs", occurs[1])
        shape, nillable = self._shapes.split_null(shape)
        if nillable:
            element.set("nillable", "true")
        _document(element, doc)
        type_name = _type_name(shape)
        if type_name is not None:
            element.set("type", type_name)
        else:
            self._type(element, shape)

    def _type(self, parent: etree._Element, shape: Shape, name: str | None = None) -> None:
        if isinstance(shape, Scalar):
            _simple_type(parent, shape, name)
            return
        attributes = {} if name is None else {"name": name}
        complex_type = _add(parent, "complexType", **attributes)
        match shape:
            case Record() as record:
                self._record(complex_type, record)
            case Array() as array:
                self._array(complex_type, array)
            case Map(value):
                self._map(complex_type, value)
            case Choice(options):
                self._choice(complex_type, options)
            case Anything():
                _add(_add(complex_type, "complexContent"), "extension", base=_ANY_TYPE)
            case _:
                pass  # Null: nothing in it

    def _record(self, parent: etree._Element, record: Record) -> None:
        _document(parent, record.description)
        content = _add(parent, "all")
        for field in record.fields:
            self._element(content, to_xml_name(field.name), field.shape, _field_occurs(field), field.description)
        if record.others is not None:
            self._element(content, OTHER_FIELDS, Map(record.others), ("0", "1"))

    def _array(self, parent: etree._Element, array: Array) -> None:
        content = _add(parent, "sequence")
        for number, shape in enumerate(array.first, 1):
            self._element(content, f"item{number}", shape)
        if array.rest is not None:
            self._element(content, "item", array.rest, ("0", "unbounded"))

    def _map(self, parent: etree._Element, value: Shape) -> None:
        content = _add(parent, "sequence")
        entry = _add(content, "element", name="entry", minOccurs="0", maxOccurs="unbounded")
        entry_type = _add(entry, "complexType")
        self._element(_add(entry_type, "sequence"), "value", value)
        _add(entry_type, "attribute", name="key", type="xs:string", use="required")

    def _choice(self, parent: etree._Element, options: tuple[tuple[str, Shape], ...]) -> None:
        content = _add(parent, "choice")
        for tag, shape in options:
            self._element(content, to_xml_name(tag), shape)

    def _any_type(self) -> None:
        options: list[tuple[str, Shape]] = [(kind, Scalar(kind)) for kind in _TYPES]
        options += [("null", Null()), ("array", Array((), Anything())), ("object", Map(Anything()))]
        complex_type = _add(self.schema, "complexType", name=_ANY_TYPE)
        self._choice(complex_type, tuple(options))


def _simple_type(parent: etree._Element, scalar: Scalar, name: str | None) -> None:
    attributes = {} if name is None else {"name": name}
    simple_type = _add(parent, "simpleType", **attributes)
    restriction = _add(simple_type, "restriction", base=_base_type(scalar))
    for facet, value in _facets(scalar):
        _add(restriction, facet, value=value)


def _facets(scalar: Scalar) -> Iterator[tuple[str, str]]:
    if scalar.kind == "boolean":
        return  # XSD has no enumeration of booleans
    for value in scalar.values:
        yield "enumeration", to_xml_text(value) if isinstance(value, str) else str(value)
    for facet, bound in scalar.bounds:
        if abs(bound) < _MAX_BOUND:
            yield facet, str(bound)


def _type_name(shape: Shape) -> str | None:
    """The type to refer to by name, None for one that must be written out."""
    match shape:
        case Ref(name):
            return to_xml_name(name)
        case Anything():
            return _ANY_TYPE
        case Scalar(values=(), bounds=()):
            return _base_type(shape)
        case _:
            return None


def _base_type(scalar: Scalar) -> str:
    return _FORMATS.get(scalar.format, _TYPES[scalar.kind]) if scalar.kind == "string" else _TYPES[scalar.kind]


def _field_occurs(field: Field) -> tuple[str, str] | None:
    return None if field.required else ("0", "1")


def _document(parent: etree._Element, text: str) -> None:
    if text:
        _add(_add(parent, "annotation"), "documentation").text = to_xml_text(text)


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_NAMESPACE}}}{tag}", attributes)
