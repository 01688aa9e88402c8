"""Whose code changed: a digest of the source that a listener or tool depends on, found without running any of it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from organism.bundle import packed_files
from organism.config import Listener

_DYNAMIC = {"__import__", "import_module", "exec", "eval", "run_module", "run_path"}
"""Whoever says one of these may import anything, so everything counts as imported."""


class _Source(NamedTuple):
    content: bytes
    imports: tuple[str, ...]  # dotted, absolute; of modules, or of names in modules
    imports_anything: bool


class SourceDigests:
    """Digests for the listeners of one folder, each file read and parsed once.

    A listener depends on the modules of its payload class and handler, and on what these import, in turn, as far as
    it lies in the folder. Other files (texts, data) and installed packages do not count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._sources: dict[Path, _Source] = {}

    def of(self, listener: Listener) -> str:
        """The SHA-256, in hex, of the names and contents of the files that `listener` depends on."""
        return self.of_names({listener.payload_class, listener.handler})

    def of_names(self, dotted_paths: set[str]) -> str:
        """As `of`, of whatever these names of modules, classes or functions depend on."""
        digest = hashlib.sha256()
        for file in sorted(self._reachable(dotted_paths)):
            content = self._source(file).content
            digest.update(f"{file.relative_to(self._folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def _reachable(self, dotted_paths: set[str]) -> set[Path]:
        found: set[Path] = set()
        ahead = [file for dotted in dotted_paths for file in self._files_of(dotted)]
        while ahead:
            file = ahead.pop()
            if file in found:
                continue
            found.add(file)
            source = self._source(file)
            if source.imports_anything:
                return found | self._all_files()
            ahead += [each for dotted in source.imports for each in self._files_of(dotted)]
        return found

    def _files_of(self, dotted: str) -> Iterator[Path]:
        """The files that run when `dotted` is imported: each package's __init__.py on the way, and the module."""
        place = self._folder
        for part in dotted.split("."):
            place = place / part
            candidates = (place / "__init__.py", place.with_name(f"{part}.py"))
            file = next((each for each in candidates if each.is_file()), None)
            if file is not None:
                yield file
            if not place.is_dir():
                return

    def _all_files(self) -> set[Path]:
        return {each.path for each in packed_files(self._folder) if each.name.endswith(".py")}

    def _source(self, file: Path) -> _Source:
        if file not in self._sources:
            self._sources[file] = _read(file, self._package_of(file))
        return self._sources[file]

    def _package_of(self, file: Path) -> tuple[str, ...]:
        return file.parent.relative_to(self._folder).parts


def _read(file: Path, package: tuple[str, ...]) -> _Source:
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Source(content, (), imports_anything=True)
    nodes = list(ast.walk(tree))
    imports = tuple({name for node in nodes for name in _imported(node, package)})
    return _Source(content, imports, any(_is_dynamic(node) for node in nodes))


def _imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}".lstrip(".") for alias in node.names)


def _is_dynamic(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name in _DYNAMIC or name == "*"  # a * also imports the submodules that __all__ names
        case _:
            return False
