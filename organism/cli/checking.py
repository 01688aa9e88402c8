"""check: everything that is wrong with an organism.yaml and with the classes, handlers and tools it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from organism.access.named import unusable
from organism.cli.failures import CliFailure, ExitCode
from organism.cli.options import AsJson
from organism.cli.output import Screen
from organism.config import Listener, OrganismConfig
from organism.config_file import CONFIG_NAME, environment, load_config, located, read_config_text
from organism.errors import ConfigError, HandlerNotLoaded
from organism.loading import load_handler, load_payload
from organism.sessions.tools.names import is_python_function
from organism.sessions.tools.python_function import load_function
from organism.yaml_source import YamlSource, parse_yaml


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="organism.yaml, or its folder.")] = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """Validates organism.yaml without starting anything; imports the classes, handlers and tools that it names.

    What `tls` and `auth.jwt` name is checked too, files and the variable with the secret; no URL is called. All
    problems are listed with file and line. `organism up` does the same before it starts.
    """
    path = organism_file(file)
    config = require_valid(path)
    screen = Screen(as_json)
    if as_json:
        screen.json({"valid": True, "file": str(path), "listeners": len(config.listeners)})
    else:
        screen.line(f"{path} is valid: {config.organism.name}, {len(config.listeners)} listeners")


def organism_file(path: Path) -> Path:
    """The organism.yaml at `path` or in the folder `path`, absolute."""
    return (path / CONFIG_NAME if path.is_dir() else path).resolve()


def require_valid(path: Path) -> OrganismConfig:
    """The config at `path`.

    Raises:
        CliFailure: it is not valid; every problem is in `details`.
    """
    try:
        config = load_config(path)
        problems = _unusable(config, path, environment(path.parent, os.environ))
    except ConfigError as error:
        raise NotValid(path, list(error.problems)) from error
    if problems:
        raise NotValid(path, problems)
    return config


class NotValid(CliFailure):
    """organism.yaml cannot be used: each problem with its place, what it is and what to do."""

    def __init__(self, path: Path, problems: list[ConfigError]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"{path} is not valid, {count}:", ExitCode.INVALID, "config", [_fact(each) for each in problems]
        )
        self.problems = problems

    def detail_lines(self) -> list[str]:
        return [str(problem) for problem in self.problems]


def _fact(problem: ConfigError) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("file", "line", "field", "problem", "remedy")}


def _unusable(config: OrganismConfig, path: Path, environ: Mapping[str, str]) -> list[ConfigError]:
    """A problem for each payload class, handler and tool that cannot be loaded, and for what access control needs."""
    source = parse_yaml(read_config_text(path), str(path))
    listeners = [
        _located(error, listener, index, source)
        for index, listener in enumerate(config.listeners)
        for error in _load_errors(listener, path.parent)
    ]
    tools = _unloadable_tools(config, path.parent, source)
    return [*listeners, *tools, *located(source, unusable(config, path.parent, environ))]


def _unloadable_tools(config: OrganismConfig, folder: Path, source: YamlSource) -> Iterator[ConfigError]:
    for index, agent in enumerate(config.sessions.agents):
        for position, name in enumerate(agent.tools):
            if not is_python_function(name):
                continue
            try:
                load_function(name, folder)
            except HandlerNotLoaded as error:
                location = ("sessions", "agents", index, "tools", position)
                yield _unloaded(error, ".".join(map(str, location)), source.line_of(location), source)


def _load_errors(listener: Listener, folder: Path) -> Iterator[HandlerNotLoaded]:
    """Why the listener cannot be loaded; a module that both its class and its handler are in fails once."""
    reason = None
    for load in (load_payload, load_handler):
        try:
            load(listener, folder)
        except HandlerNotLoaded as error:
            if error.reason != reason:
                yield error
            reason = error.reason


def _located(error: HandlerNotLoaded, listener: Listener, index: int, source: YamlSource) -> ConfigError:
    field = "payload_class" if error.dotted == listener.payload_class else "handler"
    return _unloaded(error, f"listeners.{index}.{field}", source.line_of(("listeners", index, field)), source)


def _unloaded(error: HandlerNotLoaded, field: str, line: int | None, source: YamlSource) -> ConfigError:
    problem = f"cannot load {error.dotted}: {error.reason}"
    return ConfigError(source.file, line, field, problem, "Correct it there or in the module")
