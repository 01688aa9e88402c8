"""Reading organism.yaml and the .env beside it: every error names file, line, field and remedy."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from organism.config import OrganismConfig
from organism.config_rules import Breach, Location, breaches, did_you_mean, listed
from organism.errors import ConfigError, ConfigErrors
from organism.masking import mask, mask_text
from organism.yaml_source import YamlSource, parse_yaml

CONFIG_NAME = "organism.yaml"
MAX_PROBLEMS = 50
MAX_SHOWN = 80

_EXPECTED = {
    "string_type": "text; put quotes around it",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list: `- item` lines, or [item, item]",
    "dict_type": "a mapping of `key: value` lines",
    "model_type": "a mapping of `key: value` lines",
    "model_attributes_type": "a mapping of `key: value` lines",
}


def load_config(path: Path) -> OrganismConfig:
    """Reads organism.yaml at `path`, or in the folder `path`.

    Raises:
        ConfigError: it cannot be read or used; ConfigErrors when there is more than one problem.
    """
    return parse_config(read_config_text(path), str(_config_file(path)))


def read_config_text(path: Path) -> str:
    """The text of organism.yaml at `path`, or in the folder `path`. Raises ConfigError when it cannot be read."""
    file = _config_file(path)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        remedy = f"`organism new {file.parent}` writes one to begin with"
        raise ConfigError(str(file), None, "file", "does not exist", remedy) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(file), line, "file", "is not UTF-8 text", "Save it with the encoding UTF-8") from error
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError(str(file), None, "file", problem, "Check its permissions and that it is a file") from error


def parse_config(text: str, file: str) -> OrganismConfig:
    """The config that `text` holds; `file` is what errors call it.

    Raises:
        ConfigError: it cannot be used; ConfigErrors when there is more than one problem.
    """
    source = parse_yaml(text, file)
    try:
        config = OrganismConfig.model_validate(source.value)
    except ValidationError as error:
        found = [_breach_of(each) for each in error.errors(include_url=False)]
        raise as_error(source, found) from error
    if found := list(breaches(config)):
        raise as_error(source, found)
    return config


def sanitized(config: OrganismConfig | str) -> dict[str, Any]:
    """organism.yaml as a mapping of JSON values for the API, secrets masked: of its text, or of what a model was given.

    Raises:
        ConfigError: the text is no YAML mapping.
    """
    if isinstance(config, str):
        return mask(parse_yaml(config, CONFIG_NAME).value)
    return mask(config.model_dump(mode="json", exclude_unset=True))


def read_dotenv(folder: Path) -> dict[str, str]:
    """The variables of the .env in `folder`, empty without one; `environment` puts them below the real ones.

    Raises:
        ConfigError: a line is not `NAME=value`, or the file cannot be read.
    """
    file = folder / ".env"
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), None, "file", "is not UTF-8 text", "Save it with the encoding UTF-8") from error
    except OSError as error:
        raise ConfigError(
            str(file), None, "file", f"cannot be read: {error.strerror}", "Check its permissions"
        ) from error
    return dict(_variables(text, file))


def environment(folder: Path, real: Mapping[str, str]) -> dict[str, str]:
    """The variables an organism sees: those of its .env, and over them the `real` ones (os.environ)."""
    return {**read_dotenv(folder), **real}


def _variables(text: str, file: Path) -> Iterator[tuple[str, str]]:
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # Nothing of the line is shown: it may hold a secret.
            remedy = "Write NAME=value, with quotes around a value that has spaces or #"
            raise ConfigError(str(file), binding.original.line, "line", "is no NAME=value", remedy)
        if binding.key is not None and binding.value is not None:
            yield binding.key, binding.value


def _config_file(path: Path) -> Path:
    return path / CONFIG_NAME if path.is_dir() else path


def located(source: YamlSource, found: Iterable[Breach]) -> list[ConfigError]:
    """Each with its line, in the order of the file."""
    return [
        ConfigError(source.file, source.line_of(each.location), _dotted(each.location), each.problem, each.remedy)
        for each in sorted(found, key=lambda each: source.line_of(each.location))
    ]


def as_error(source: YamlSource, found: list[Breach]) -> ConfigError:
    """ConfigErrors when there is more than one problem."""
    problems = located(source, found[:MAX_PROBLEMS])
    return problems[0] if len(problems) == 1 else ConfigErrors(tuple(problems))


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location) or "file"


def _breach_of(error: ErrorDetails) -> Breach:
    """Puts pydantic's words into ours: what was found there, and what is wanted instead."""
    location, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        return Breach(location, "is missing", f"Add `{location[-1]}:` there")
    if error["input"] is None:
        return Breach(location, "is empty", f"Give it {_EXPECTED.get(kind, 'a value')}, or remove the key")
    if kind == "string_pattern_mismatch":
        return Breach(location, f"is {_shown(error['input'])}", _pattern_remedy(location))
    expected = _EXPECTED.get(kind)
    if expected is not None:
        return Breach(location, f"is {_shown(error['input'])}", f"Expected is {expected}")
    return Breach(location, f"is {_shown(error['input'])}", error["msg"].replace("Input should be", "It should be"))


def _pattern_remedy(location: Location) -> str:
    if location[-1] in {"payload_class", "handler"}:
        return "Expected is a dotted path from the organism's folder, such as handlers.hello.Greeting"
    return "A name begins with a letter or _ and goes on with letters, digits, _ . or -, at most 100"


def _shown(value: Any) -> str:
    """The value that was found, for an error: short, and without secrets."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            text = mask_text(value)
            return f"the text {text[:MAX_SHOWN]!r}" + ("…" if len(text) > MAX_SHOWN else "")
        case _:
            return str(value)[:MAX_SHOWN]


def _unknown_key(location: Location) -> Breach:
    known = _known_keys(location[:-1])
    remedy = did_you_mean(str(location[-1]), known, f"Known here are: {listed(known)}")
    if location[-1] == "timeout_seconds":
        remedy = "It says the same as timeout_s; keep one of the two"
    return Breach(location, "is no known key", remedy)


def _known_keys(location: Location) -> set[str]:
    """The keys that the section at `location` may have."""
    section: type[BaseModel] = OrganismConfig
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation) or section
    return {key for name, field in section.model_fields.items() for key in _spellings(name, field.validation_alias)}


def _spellings(name: str, alias: Any) -> list[str]:
    return [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `Model | None` or `tuple[Model, ...]`."""
    if typing.get_origin(annotation) in {tuple, list, typing.Union, types.UnionType}:
        inner = (_section_in(each) for each in typing.get_args(annotation))
        return next((each for each in inner if each is not None), None)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None
