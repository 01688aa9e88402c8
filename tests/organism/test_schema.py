"""The XSD of payload classes, and XML to JSON and back."""

import datetime
import decimal
import enum
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import xmlschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from pydantic import BaseModel, ConfigDict, Field, RootModel

from organism import Payload
from organism.errors import InvalidPayload
from organism.payloads import PayloadType
from organism.schema import json_to_xml, xml_to_json, xsd


class Mood(enum.StrEnum):
    GLAD = "glad"
    ODD = "a _x0041_ <b>"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Cat(Payload):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=0, le=9)


class Dog(Payload):
    kind: Literal["dog"] = "dog"
    friends: "tuple[Cat | Dog, ...]" = ()


class Order(Payload):
    """An order, with a field of each kind."""

    text: str = Field(description="What is <wanted>")
    count: int = Field(0, ge=-(2**63), lt=2**63)
    price: float = Field(0.0, gt=-1e308, lt=1e308)
    is_urgent: bool = False
    note: str | None = None
    tags: tuple[str, ...] = ()
    matrix: tuple[list[int | None], ...] = ()
    names: dict[str, str | None] = Field({})
    nested: dict[str, dict[str, int]] = Field({})
    mood: Mood = Mood.GLAD
    level: Level = Level.LOW
    mode: Literal["a", 1, None, True] = "a"
    when: datetime.datetime | None = None
    day: datetime.date | None = None
    span: datetime.timedelta | None = None
    pair: tuple[int, str] = (1, "")
    several: frozenset[int] = frozenset()
    pet: Cat | Dog | None = None
    either: int | str | list[int] = 0
    anything: Any = None
    key: uuid.UUID | None = None
    amount: decimal.Decimal | None = None
    nothing: None = None
    aliased: int = Field(0, alias="what's this: 1.0?")


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Text(RootModel[list[str]]):
    pass


@dataclass
class Plain:
    name: str
    parent: "Plain | None" = None


class Greeting(Payload):
    name: str


ORDER = PayloadType(Order)
GREETING = PayloadType(Greeting, "greeter")

texts = st.text(max_size=12) | st.sampled_from(["_x0041_", "_x0001\x02", "\r\n\t ", "]]>", "&amp;", "__x0001_"])
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e307, max_value=1e307)
json_values = st.recursive(
    st.none() | st.booleans() | ints | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
cats = st.builds(Cat, lives=st.integers(0, 9))
pets = cats | st.builds(Dog, friends=st.lists(cats | st.builds(Dog), max_size=2))
orders = st.builds(
    Order,
    text=texts,
    count=ints,
    price=floats,
    is_urgent=st.booleans(),
    note=st.none() | texts,
    tags=st.lists(texts, max_size=3),
    matrix=st.lists(st.lists(st.none() | ints, max_size=2), max_size=2),
    names=st.dictionaries(texts, st.none() | texts, max_size=3),
    nested=st.dictionaries(texts, st.dictionaries(texts, ints, max_size=2), max_size=2),
    mood=st.sampled_from(Mood),
    level=st.sampled_from(Level),
    mode=st.sampled_from(["a", 1, None]),
    when=st.none() | st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    day=st.none() | st.dates(),
    span=st.none() | st.timedeltas(),
    pair=st.tuples(ints, texts),
    several=st.sets(ints, max_size=3),
    pet=st.none() | pets,
    either=ints | texts | st.lists(ints, max_size=2),
    anything=json_values,
    key=st.none() | st.uuids(),
    amount=st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2),
    **{"what's this: 1.0?": ints},
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(orders)
def test_a_payload_comes_back_from_xml_as_it_went(order):
    data = ORDER.to_json(order)
    assert xml_to_json(json_to_xml(data, ORDER), ORDER) == data


@pytest.mark.parametrize("python_type", [Order, Loose, Text, Plain, Greeting, Dog])
def test_an_xsd_is_accepted_by_two_libraries(python_type):
    text = xsd(PayloadType(python_type))
    etree.XMLSchema(etree.fromstring(text))
    xmlschema.XMLSchema(text)


def test_another_library_finds_our_documents_valid():
    order = Order(
        text="\x01", tags=["a"], pet=Cat(), names={"a": None}, anything={"a": [1, None]}, **{"what's this: 1.0?": 3}
    )
    document = json_to_xml(ORDER.to_json(order), ORDER)
    xmlschema.XMLSchema(xsd(ORDER)).validate(document.decode())


def test_a_document_written_by_hand_is_read():
    xml = b"<Greeting>\n  <!-- a comment -->\n  <name>A<![CDATA[&]]>B</name>\n</Greeting>"
    assert xml_to_json(xml, GREETING) == b'{"name":"A&B"}'


def test_fields_may_come_in_any_order_and_defaults_may_be_left_out():
    assert xml_to_json(b"<Order><count> +5 </count><text/></Order>", ORDER) == b'{"count":5,"text":""}'


def test_descriptions_become_documentation():
    text = xsd(ORDER)
    assert "An order, with a field of each kind." in text
    assert "What is &lt;wanted&gt;" in text


@pytest.mark.parametrize(
    ("python_type", "data"),
    [
        (Loose, b'{"known":1,"more":{"a":[1,"x",null]}}'),
        (Text, b'["a","b",""]'),
        (Plain, b'{"name":"a","parent":{"name":"b","parent":null}}'),
    ],
)
def test_other_kinds_of_classes_come_back_too(python_type, data):
    payload_type = PayloadType(python_type)
    assert xml_to_json(json_to_xml(data, payload_type), payload_type) == data


def test_what_is_wrong_is_told_with_path_and_line():
    with pytest.raises(InvalidPayload) as caught:
        xml_to_json(b"<Order>\n<text>a</text>\n<matrix><item>\n<item>x</item></item></matrix></Order>", ORDER)
    (path, text), *_ = caught.value.problems
    assert path == "matrix.item.item"
    assert text.startswith("line 4: ")


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"text",
        b"<Greeting><name>",
        b"<Other/>",
        b"<Greeting/>",
        b"<Greeting><name>a</name><name>b</name></Greeting>",
        b"<Greeting><name>a</name><else/></Greeting>",
        b"<Greeting xmlns='urn:x'><name>a</name></Greeting>",
        b"<Greeting><name><b>a</b></name></Greeting>",
        b"<Greeting>a<name>a</name></Greeting>",
        b"<Greeting><name>\xff\xfe</name></Greeting>",
        b"<Greeting><name>&#0;</name></Greeting>",
        b"<Greeting><name>&undefined;</name></Greeting>",
        b"<?xml version='1.0' encoding='nonsense'?><Greeting><name>a</name></Greeting>",
        b"<Greeting><name>" + b"<a>" * 100_000,
        b"<!DOCTYPE Greeting><Greeting><name>a</name></Greeting>",
        b"<!DOCTYPE g SYSTEM 'file:///etc/passwd'><Greeting><name>a</name></Greeting>",
        b"<!DOCTYPE g [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><Greeting><name>&x;</name></Greeting>",
        b"<Greeting><name>" + b"a" * 2_000_000 + b"</name></Greeting>",
    ],
    ids=lambda xml: xml[:40].decode(errors="replace"),
)
def test_bad_documents_are_refused_with_a_reason(xml):
    with pytest.raises(InvalidPayload) as caught:
        xml_to_json(xml, GREETING)
    assert caught.value.agent == "greeter"
    assert all(text for _, text in caught.value.problems)
    assert "root:" not in str(caught.value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_do_more_than_be_refused(xml):
    with pytest.raises(InvalidPayload):
        xml_to_json(b"<Greeting>" + xml, GREETING)


def test_a_billion_laughs_are_refused_at_once():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    xml = f'<!DOCTYPE g [<!ENTITY l0 "ha">{entities}]><Greeting><name a="&l9;">&l9;</name></Greeting>'
    start = time.perf_counter()
    with pytest.raises(InvalidPayload):
        xml_to_json(xml.encode(), GREETING)
    assert time.perf_counter() - start < 1


def test_a_schema_location_is_not_followed(tmp_path):
    other = tmp_path / "other.xsd"
    other.write_text("this is no schema, and reading it would be an error")
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    xml = f'<Greeting {xsi} xsi:noNamespaceSchemaLocation="{other}"><name>a</name></Greeting>'
    assert xml_to_json(xml.encode(), GREETING) == b'{"name":"a"}'


@pytest.mark.parametrize("number", [b"NaN", b"INF", b"-INF", b"1e999"])
def test_numbers_that_json_cannot_hold_are_refused(number):
    with pytest.raises(InvalidPayload, match="price: is not a finite number"):
        xml_to_json(b"<Order><text/><price>" + number + b"</price></Order>", ORDER)


def test_a_key_that_stands_twice_is_refused():
    entry = b"<entry key='a'><value>1</value></entry>"
    with pytest.raises(InvalidPayload, match=r"names\.a: stands twice"):
        xml_to_json(b"<Order><text/><names>" + entry * 2 + b"</names></Order>", ORDER)


@pytest.mark.parametrize("data", [b'{"name": {}}', b'{"other": 1}', b"[]", b"{", b'{"name": NaN}', b"[" * 1000])
def test_json_of_another_class_does_not_become_xml(data):
    with pytest.raises(InvalidPayload):
        json_to_xml(data, GREETING)


@pytest.mark.parametrize("levels", [50, 100, 10_000])
def test_deep_nesting_is_read_or_refused(levels):
    deep = b"<array><item>" * levels + b"<null/>" + b"</item></array>" * levels
    xml = b"<Order><text/><anything>" + deep + b"</anything></Order>"
    if levels == 50:
        assert xml_to_json(xml, ORDER).count(b"[") == levels
    else:
        _read_or_refuse(xml)


def _read_or_refuse(xml: bytes) -> None:
    with suppress(InvalidPayload):
        xml_to_json(xml, ORDER)
