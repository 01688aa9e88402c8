"""JSON to payload and back, every failure an InvalidPayload."""

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from organism import Payload
from organism.errors import InvalidPayload
from organism.payloads import MAX_PROBLEMS, PayloadType, serializer_for


class Greeting(Payload):
    name: str
    times: int = 1


class Measured(Payload):
    value: float = 0.0
    more: dict[str, list[float]] = Field({})
    anything: Any = None


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sender: str = Field(alias="from")

    @computed_field
    @property
    def shouted(self) -> str:
        return self.sender.upper()


class Tree(Payload):
    children: "tuple[Tree, ...]" = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Line:
    start: Point
    stops: list[Point] = dataclasses.field(default_factory=list)


GREETING = PayloadType(Greeting, "greeter")


def test_a_payload_comes_back_from_json_as_it_went():
    greeting = Greeting(name="Ann", times=2)
    assert GREETING.to_json(greeting) == b'{"name":"Ann","times":2}'
    assert GREETING.from_json(GREETING.to_json(greeting)) == greeting


@given(st.text(), st.integers(-(10**30), 10**30))
def test_any_text_and_any_number_come_back(name, times):
    greeting = Greeting(name=name, times=times)
    assert GREETING.from_json(GREETING.to_json(greeting)) == greeting


def test_a_dataclass_is_as_good_as_a_model():
    payload_type = PayloadType(Line)
    line = Line(Point(1, 2), [Point(3)])
    assert payload_type.from_json(payload_type.to_json(line)) == line


def test_names_are_those_of_the_class():
    assert (GREETING.name, GREETING.agent) == ("Greeting", "greeter")
    assert GREETING.dotted.endswith("test_payloads.Greeting")
    assert GREETING.json_schema()["title"] == "Greeting"


def test_what_is_wrong_is_told_field_by_field():
    with pytest.raises(InvalidPayload) as caught:
        PayloadType(Line, "drawer").from_json(b'{"start": {"x": "a", "z": 1}, "stops": [{"x": 1}, {}]}')
    assert {path for path, _ in caught.value.problems} == {"start.x", "start.z", "stops.1.x"}
    assert (caught.value.agent, caught.value.payload_class) == ("drawer", "Line")


def test_an_error_crosses_process_borders():
    with pytest.raises(InvalidPayload) as caught:
        GREETING.from_json(b"{}")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"name": "a"} x',
        b'{"name": "a", "other": 1}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "times": 1e30}',
        b'{"name": "a", "times": ' + b"9" * 5000 + b"}",
        b'{"name": "a", "times": NaN}',
        b'{"name": ' + b"[" * 100_000,
        b'{"name": ' + b'{"name":' * 100_000,
        b"\x00",
    ],
    ids=lambda data: repr(data[:30]),
)
def test_bad_json_is_refused_with_a_reason(data):
    with pytest.raises(InvalidPayload) as caught:
        GREETING.from_json(data)
    assert all(text for _, text in caught.value.problems)


@given(st.binary(max_size=50))
def test_no_bytes_do_more_than_be_refused(data):
    with pytest.raises(InvalidPayload):
        GREETING.from_json(data)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"inf"', b'"nan"'])
@pytest.mark.parametrize(
    ("path", "data"),
    [("value", b'{"value": %s}'), ("more.a.1", b'{"more": {"a": [0, %s]}}')],
)
def test_numbers_that_json_cannot_hold_are_refused_on_the_way_in(path, data, number):
    with pytest.raises(InvalidPayload) as caught:
        PayloadType(Measured).from_json(data % number)
    assert caught.value.problems == ((path, "is not a finite number"),)


def test_numbers_that_json_cannot_hold_are_refused_in_values_of_any_kind():
    with pytest.raises(InvalidPayload, match=r"anything\.a\.0: is not a finite number"):
        PayloadType(Measured).from_json(b'{"anything": {"a": [NaN]}}')


def test_numbers_that_json_cannot_hold_are_refused_on_the_way_out():
    with pytest.raises(InvalidPayload, match="value: is not a finite number"):
        PayloadType(Measured).to_json(Measured(value=float("nan")))


def test_a_dataclass_with_a_wrong_value_is_refused_on_the_way_out():
    with pytest.raises(InvalidPayload, match="Expected `int`"):
        PayloadType(Point).to_json(Point("x"))  # pyright: ignore[reportArgumentType]


def test_text_that_is_no_utf8_is_refused_on_the_way_out():
    with pytest.raises(InvalidPayload):
        PayloadType(Line).to_json(Line(Point("\ud800")))  # pyright: ignore[reportArgumentType]


def test_a_payload_as_deep_as_json_allows_comes_back_and_a_deeper_one_is_refused():
    payload_type = PayloadType(Tree)
    deep = b'{"children":[' * 60 + b"]}" * 60
    assert payload_type.to_json(payload_type.from_json(deep)).count(b"children") == 60
    with pytest.raises(InvalidPayload):
        payload_type.from_json(b'{"children":[' * 1000 + b"]}" * 1000)


def test_what_is_sent_by_alias_is_read_by_alias_and_computed_fields_stay_at_home():
    payload_type = PayloadType(Aliased)
    sent = payload_type.to_json(Aliased(**{"from": "ann"}))
    assert sent == b'{"from":"ann"}'
    assert payload_type.from_json(sent).shouted == "ANN"


def test_an_error_does_not_grow_with_the_number_of_wrong_fields():
    with pytest.raises(InvalidPayload) as caught:
        PayloadType(Measured).from_json(b'{"more": {"a": [' + b",".join([b'"x"'] * 5000) + b"]}}")
    assert len(caught.value.problems) == MAX_PROBLEMS


def test_only_payloads_that_may_hold_floats_are_searched_for_them():
    assert not GREETING._may_hold_floats
    assert not PayloadType(Tree)._may_hold_floats
    assert PayloadType(Measured)._may_hold_floats


class Unknown:
    pass


@dataclasses.dataclass
class WithUnknown:
    field: Unknown


@dataclasses.dataclass
class WithCallable:
    field: type


@pytest.mark.parametrize("python_type", [dict, int, Unknown, WithUnknown, lambda: None])
def test_what_is_no_payload_class_is_refused(python_type):
    with pytest.raises(TypeError):
        PayloadType(python_type)


def test_serializers_are_made_once_for_each_class():
    assert serializer_for(Greeting) is serializer_for(Greeting)
    assert serializer_for(Point)(Point(1)) == b'{"x":1,"y":0}'
    with pytest.raises(TypeError, match="neither a pydantic model nor a dataclass"):
        serializer_for(dict)
