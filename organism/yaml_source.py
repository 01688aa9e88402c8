"""YAML text to plain values, with the line of each, safely: no duplicate keys, no bombs, no endless nesting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from organism.errors import ConfigError, ConfigErrors

MAX_BYTES = 4_000_000
MAX_DEPTH = 60
MAX_VALUES = 500_000
"""How many values a file may hold once its aliases are followed."""

Location = Sequence[int | str]


@dataclass(frozen=True)
class YamlSource:
    """A parsed file: its mapping, and where in the file each value stands."""

    file: str
    value: dict[str, Any]
    root: yaml.MappingNode

    def line_of(self, location: Location) -> int:
        """The 1-based line of the value at `location`, or of the nearest thing around it that is in the file."""
        line, node = self.root.start_mark.line, self.root
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line + 1


def parse_yaml(text: str, file: str) -> YamlSource:
    """Reads `text`, which must be one YAML mapping; `file` is what errors call it.

    Raises:
        ConfigError: with the line of the problem; ConfigErrors where a key stands twice in several places.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            file, None, "file", f"is larger than {MAX_BYTES} characters", "Give the file of the organism itself"
        )
    try:
        _check_depth(text, file)
        root = yaml.compose(text, _loader())
    except (yaml.YAMLError, UnicodeError) as error:
        raise _syntax_error(text, file, error) from error
    return _source(root, file)


def _source(root: yaml.Node | None, file: str) -> YamlSource:
    if root is None:
        raise ConfigError(file, None, "file", "is empty", "`organism new DIR` writes one to begin with")
    if not isinstance(root, yaml.MappingNode):
        remedy = "Begin with `organism:` and `listeners:` at the left margin"
        raise ConfigError(file, root.start_mark.line + 1, "file", "is no mapping of keys", remedy)
    _check_size(root, file)
    _check_keys(root, file)
    try:
        value = _Values().construct_document(root)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _value_error(file, error) from error
    return YamlSource(file, value, root)


class _Values(SafeConstructor):
    """Makes plain values of nodes, which keep their line marks."""


def _loader() -> Any:
    """The loader in C where PyYAML was built with it: ten times as fast."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_depth(text: str, file: str) -> None:
    """Goes through the events before composing, because the C composer dies of deep nesting (a segmentation fault)."""
    depth = 0
    for event in yaml.parse(text, _loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark is not None else None
            raise ConfigError(file, line, "file", f"is nested deeper than {MAX_DEPTH} levels", "Close the brackets")


def _check_size(root: yaml.Node, file: str) -> None:
    """Counts the values with aliases followed, without following them twice: a bomb is counted, not exploded."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            remedy = "An alias must not stand inside the value that it names"
            raise ConfigError(file, node.start_mark.line + 1, "file", "holds a value that contains itself", remedy)
        if known:
            return known
        sizes[id(node)] = None
        total = 1 + sum(size(each) for each in _children(node))
        if total > MAX_VALUES:
            remedy = "Write fewer aliases (*name) of aliases"
            raise ConfigError(file, node.start_mark.line + 1, "file", f"grows beyond {MAX_VALUES} values", remedy)
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(root: yaml.Node, file: str) -> None:
    """Keys must be plain values, and each may stand once in its mapping; YAML itself would let the last one win."""
    problems: list[ConfigError] = []
    seen: set[int] = set()

    def visit(node: yaml.Node, path: tuple[str, ...]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            problems.extend(_key_problems(node, path, file))
            for key, value in node.value:
                visit(value, (*path, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                visit(value, (*path, str(index)))

    visit(root, ())
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigErrors(tuple(problems))


def _key_problems(node: yaml.MappingNode, path: tuple[str, ...], file: str) -> list[ConfigError]:
    problems = []
    first_lines: dict[str, int] = {}
    for key, _ in node.value:
        line, field = key.start_mark.line + 1, ".".join((*path, str(key.value)))
        if not isinstance(key, yaml.ScalarNode):
            problems.append(
                ConfigError(file, line, ".".join(path) or "file", "has a list or a mapping as a key", "Write a name")
            )
        elif key.value in first_lines:
            problem = f"stands twice, first in line {first_lines[key.value]}"
            problems.append(ConfigError(file, line, field, problem, "Keep one of the two"))
        else:
            first_lines[key.value] = line
    return problems


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _child(node: yaml.Node, part: int | str) -> tuple[int, yaml.Node] | None:
    """The line (0-based) and the node below `node`; of a key, the line where the key stands."""
    if isinstance(node, yaml.MappingNode):
        # The last one wins: what `<<` merged in stands before the mapping's own keys.
        for key, value in reversed(node.value):
            if key.value == str(part):
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None


def _syntax_error(text: str, file: str, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = None if mark is None else mark.line + 1
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    if line is not None and _is_indented_with_tab(text, line):
        return ConfigError(file, line, "file", "is indented with a tab", "Indent with spaces, two for each level")
    return ConfigError(file, line, "file", f"is not YAML: {problem}", "Check indentation, colons and quotes there")


def _is_indented_with_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    found = lines[line - 1] if line <= len(lines) else ""
    return "\t" in found[: len(found) - len(found.lstrip())]


def _value_error(file: str, error: Exception) -> ConfigError:
    """A value that its own form promises and that does not exist, such as the date 2026-13-45, or an unknown tag."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    line = None if mark is None else mark.line + 1
    return ConfigError(file, line, "file", f"holds a value that cannot be read: {problem}", "Put it in quotes")
