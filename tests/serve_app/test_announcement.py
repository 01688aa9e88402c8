from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, Field, TypeAdapter

from organism.config import OrganismConfig
from serve_app.announcement import Dashboard, announcement, command_here, entrance, example_of

DASHBOARD = Dashboard("http://127.0.0.1:8265", wants_token=False)
GREETING = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Inner(BaseModel):
    count: int = Field(ge=3)


class Outer(BaseModel):
    name: str
    inner: Inner
    several: list[Inner] = Field(min_length=2)
    maybe: str | None
    short: str = Field(max_length=3)
    ratio: float
    sure: bool
    anything: Any
    left_out: int = 5


class Node(BaseModel):
    child: Node | None


def config(*listeners: dict[str, Any]) -> OrganismConfig:
    return OrganismConfig.model_validate({"organism": {"name": "hello"}, "listeners": list(listeners)})


def listener(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "payload_class": "handlers.A", "handler": "handlers.handle", **fields}


def test_it_tells_the_addresses_and_three_lines_to_try():
    text = announcement(config(listener("greeter")), "http://127.0.0.1:8000", DASHBOARD, GREETING)
    assert "http://127.0.0.1:8000/docs" in text
    assert "http://127.0.0.1:8265\n" in text
    body = """'{"to":"greeter","payload":{"name":"Dan"}}'"""
    assert f"curl -s -X POST http://127.0.0.1:8000/api/v1/inject -H 'content-type: application/json' -d {body}" in text
    assert "organism tail --since 0\n" in text
    assert "organism status\n" in text


def test_lines_to_try_name_the_address_when_it_is_not_the_default_one():
    text = announcement(config(listener("greeter")), "http://127.0.0.1:8001/x", DASHBOARD, GREETING)
    assert "organism tail --url http://127.0.0.1:8001/x --since 0\n" in text
    assert "organism status --url http://127.0.0.1:8001/x\n" in text


def test_the_command_is_shown_with_its_path_where_the_shell_would_not_find_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(Path(sys.executable).parent.parent)
    assert command_here() == f"{Path(sys.executable).parent.name}/organism"
    text = announcement(config(), "http://127.0.0.1:8000", DASHBOARD, None, command_here())
    assert f"  {command_here()} status\n" in text
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command_here() == "organism"


def test_an_organism_without_listeners_has_nothing_to_inject():
    text = announcement(config(), "http://127.0.0.1:8000", DASHBOARD, None)
    assert "curl" not in text
    assert "organism status" in text


def test_the_first_agent_is_tried_before_the_first_listener():
    assert entrance(config(listener("first"), listener("second"))).name == "first"  # type: ignore[union-attr]
    agent_second = config(listener("first"), listener("second", agent=True))
    assert entrance(agent_second).name == "second"  # type: ignore[union-attr]
    assert entrance(config()) is None


@pytest.mark.parametrize(
    ("dashboard", "shown"),
    [
        (Dashboard(None, wants_token=True), "not running"),
        (DASHBOARD, "http://127.0.0.1:8265"),
        (Dashboard("http://x", wants_token=True), "http://x (asks for what `ray get-auth-token` prints)"),
    ],
)
def test_the_dashboard_is_told_with_its_token(dashboard, shown):
    assert str(dashboard) == shown


@pytest.mark.parametrize("payload", [Inner, Outer, list[Outer], Node, int, bool, str])
def test_examples_fit_the_schemas_that_pydantic_writes(payload):
    adapter = TypeAdapter(payload)
    example = example_of(adapter.json_schema())
    adapter.validate_json(orjson.dumps(example))


def test_examples_of_the_author_come_first():
    assert example_of({"type": "string", "examples": ["Ada"]}) == "Ada"
    assert example_of({"enum": ["red", "green"]}) == "red"
