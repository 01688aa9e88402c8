"""What the launcher says when the organism is ready: where it is, and three lines to try."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from organism.config import Listener, OrganismConfig

DEFAULT_URL = "http://127.0.0.1:8000"
MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Ray's: its address, None when it does not run, and whether it asks for Ray's token."""

    url: str | None
    wants_token: bool

    def __str__(self) -> str:
        if self.url is None:
            return "not running"
        return f"{self.url} (asks for what `ray get-auth-token` prints)" if self.wants_token else self.url


def announcement(
    config: OrganismConfig,
    url: str,
    dashboard: Dashboard,
    schema: Mapping[str, Any] | None,
    command: str = "organism",
    trial_certificate: Path | None = None,
) -> str:
    """What to print.

    Args:
        schema: the JSON Schema of `entrance(config)`, None when there is none.
        command: how `organism` is typed.
        trial_certificate: the self-signed one that clients have to be told to trust, if it is in use.
    """
    lines = [
        f"{config.organism.name} is ready",
        "",
        f"  API            {url}/api/v1",
        f"  documentation  {url}/docs",
        f"  Ray dashboard  {dashboard}",
        "",
        "Try:",
        *(f"  {line}" for line in _lines_to_trust(trial_certificate)),
        *(f"  {line}" for line in _lines_to_try(config, url, schema, command)),
        "",
        "Ctrl-C stops it gracefully, a second one at once.",
    ]
    return "\n".join(lines)


def command_here() -> str:
    """How `organism` is typed in this folder: with its path where the shell does not find it, as after `make run`."""
    beside = Path(sys.executable).with_name("organism")
    if shutil.which("organism") or not beside.exists():
        return "organism"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def entrance(config: OrganismConfig) -> Listener | None:
    """The listener to try first: the first agent, or without one the first listener."""
    agents = (each for each in config.listeners if each.agent)
    return next(agents, config.listeners[0] if config.listeners else None)


def example_of(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A value that fits a JSON Schema as pydantic writes them, as small as it may be."""
    known = schema.get("$defs", {}) if definitions is None else definitions
    match schema:
        case _ if depth > MAX_DEPTH:
            return None
        case {"examples": [first, *_]} | {"const": first} | {"enum": [first, *_]} | {"default": first}:
            return first
        case {"$ref": str(reference)}:
            return example_of(known.get(reference.rpartition("/")[2], {}), known, depth + 1)
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return example_of(first, known, depth + 1)
        case {"type": "array"}:
            items = example_of(schema.get("items", {}), known, depth + 1)
            return [items] * schema.get("minItems", 0)
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 1)
        case {"type": "boolean"}:
            return True
        case {"type": "string"}:
            return "hello".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
        case {"type": "object"} | {"properties": _}:
            properties = schema.get("properties", {})
            return {
                name: _example_of_field(name, properties.get(name, {}), known, depth + 1)
                for name in schema.get("required", ())
            }
        case _:
            return None


def _example_of_field(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    value = example_of(schema, definitions, depth)
    return "Dan" if name == "name" and value == "hello" else value


def _lines_to_trust(certificate: Path | None) -> list[str]:
    """For commands and Python clients of ours, and for curl."""
    if certificate is None:
        return []
    path = shlex.quote(str(certificate))
    return [f"export ORGANISM_CA_FILE={path} CURL_CA_BUNDLE={path}"]


def _lines_to_try(config: OrganismConfig, url: str, schema: Mapping[str, Any] | None, command: str) -> list[str]:
    at = "" if url == DEFAULT_URL else f" --url {url}"
    return [*_inject_line(config, url, schema), f"{command} tail{at} --since 0", f"{command} status{at}"]


def _inject_line(config: OrganismConfig, url: str, schema: Mapping[str, Any] | None) -> list[str]:
    listener = entrance(config)
    if listener is None or schema is None:
        return []
    body = shlex.quote(orjson.dumps({"to": listener.name, "payload": example_of(schema)}).decode())
    return [f"curl -s -X POST {url}/api/v1/inject -H 'content-type: application/json' -d {body}"]
