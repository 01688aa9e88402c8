"""What a file is for, as its path tells: tests, examples and their like rank behind the code that they are about,
unless the query asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from librarian.stemming import stem


@dataclass(frozen=True, slots=True)
class PathKind:
    """factor: what the score of such a file is multiplied by. asked_by: words, whose stems in a query lift that.
    folders, files: patterns that match a whole folder name or file name, in lower case."""

    name: str
    factor: float
    asked_by: tuple[str, ...]
    folders: str | None = None
    files: str | None = None


KINDS = (
    PathKind(
        "test", 0.3, ("test", "spec", "fixture", "mock", "unittest", "assertion"),
        r"tests?|testing|testdata|test[-_]\w+|\w+[-_]tests?|__tests__|__mocks__|specs?|e2e|fixtures?|src/test",
        r"test_.*|.*_tests?\.\w+|tests?\.\w+|.*[.-](test|spec)s?\.\w+|.*_spec\.\w+|conftest\.py|.*tests?\.(java|kt|cs)",
    ),
    PathKind("benchmark", 0.3, ("benchmark", "performance", "bench"), r"bench(mark)?(es|s)?|perf", r".*[._-]bench(mark)?s?\.\w+|bench(mark)?s?[._-].*"),
    PathKind("example", 0.3, ("example", "sample", "demo", "tutorial"), r"examples?|_?examples?|samples?|demos?|docs?_src|tutorials?|playground"),
    PathKind("vendored", 0.3, ("vendor", "vendored", "third"), r"vendor|vendored|third[-_]?party|node_modules|external|extern|deps"),
    PathKind("generated", 0.3, ("generated",), r"generated|gen|autogen", r".*\.pb\.\w+|.*_pb2(_grpc)?\.pyi?|.*\.min\.\w+|.*[._]generated\.\w+|.*_gen\.\w+"),
    PathKind("legacy", 0.3, ("legacy", "compat", "compatibility", "deprecated", "old"), r"_?compat|_?legacy|deprecated|old|obsolete", r"_?(compat|legacy|deprecated)\.\w+"),
    PathKind("declarations", 0.7, ("declaration", "typing"), None, r".*\.d\.[cm]?ts|.*\.pyi"),
    PathKind("prose", 0.6, ("documentation", "docs", "readme", "guide", "changelog"), None, r".*\.(md|mdx|rst|txt|adoc)|license|changelog|readme"),
)  # fmt: skip


class PathKinds:
    """The kinds of all files of a library. Immutable, threads may share it."""

    def __init__(self, paths: Sequence[str]) -> None:
        compiled = [(kind, _pattern(kind.folders), _pattern(kind.files)) for kind in KINDS]
        self.kinds = [
            tuple(kind for kind, folders, files in compiled if _is_of(path, folders, files)) for path in paths
        ]

    def factor(self, file: int, keywords: Iterable[str]) -> float:
        """The strongest of the factors that the query does not lift."""
        asked = set(keywords)
        factors = [kind.factor for kind in self.kinds[file] if not asked.intersection(map(stem, kind.asked_by))]
        return min(factors, default=1.0)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text) if text else None


def _is_of(path: str, folders: re.Pattern[str] | None, files: re.Pattern[str] | None) -> bool:
    place = PurePosixPath(path.lower())
    if files and files.fullmatch(place.name):
        return True
    return folders is not None and any(folders.fullmatch(part) for part in place.parent.parts)
