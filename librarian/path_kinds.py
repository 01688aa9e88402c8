"""What a file is for, as its path tells: tests, examples and their like rank behind the code that they are about,
unless the query asks for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from librarian.stemming import stem

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PathKind:
    """factor: what the score of such a file is multiplied by. asked_by: words that lift that where a query has one.
    folders, files: patterns of a whole folder name or file name, in lower case. cased: of a file name as it is."""

    name: str
    factor: float
    asked_by: tuple[str, ...]
    folders: str = ""
    files: str = ""
    cased: str = ""


KINDS = (
    PathKind(
        "test",
        0.3,
        ("test", "tests", "tested", "testing", "spec", "specs", "fixture", "fixtures", "mock", "mocks", "unittest"),
        folders=r"tests?|testing|testdata|test[-_].+|.+[-_]tests?|__tests__|__mocks__|specs?|e2e|fixtures?",
        files=r"test_.*|.*_tests?\.\w+|tests?\.\w+|.*[.-](test|spec)s?\.\w+|.*_spec\.\w+|conftest\.py",
        cased=r".+Tests?\.\w+",
    ),
    PathKind(
        "benchmark",
        0.3,
        ("benchmark", "benchmarks", "benchmarking", "bench"),
        folders=r"bench(mark)?(es|s)?",
        files=r".*[._-]bench(mark)?s?\.\w+|bench(mark)?s?[._-].*",
    ),
    PathKind(
        "example",
        0.3,
        ("example", "examples", "sample", "samples", "demo", "tutorial"),
        folders=r"_?examples?|samples?|demos?|docs?_src|tutorials?|playground",
    ),
    PathKind(
        "vendored",
        0.3,
        ("vendor", "vendored"),
        folders=r"_?vendor(ed)?|third[-_]?party|node_modules|external|extern|deps",
    ),
    PathKind(
        "generated",
        0.3,
        ("generated",),
        folders=r"generated|autogen",
        files=r".*\.pb\.\w+|.*_pb2(_grpc)?\.pyi?|.*\.min\.\w+|.*[._]generated\.\w+",
    ),
    PathKind(
        "legacy",
        0.3,
        ("legacy", "compat", "compatibility", "deprecated", "obsolete", "backward", "backwards"),
        folders=r"_?compat|_?legacy|deprecated|obsolete",
        files=r"_?(compat|legacy|deprecated)\.\w+",
    ),
    PathKind(
        "translation",
        0.5,
        ("translation", "translations", "locale", "locales", "localization", "language", "languages", "i18n"),
        folders=r"locales?|i18n|l10n|translations?",
    ),
    PathKind("typing", 0.7, ("declaration", "declarations", "typings"), files=r".*\.d\.[cm]?ts|.*\.pyi"),
    PathKind(
        "prose",
        0.3,
        ("documentation", "docs", "readme", "guide", "changelog", "license"),
        files=r"(?!cmakelists|requirements).*\.(md|mdx|rst|txt|adoc)|licen[cs]e.*|changelog.*|readme.*",
    ),
    PathKind(
        "data",
        0.5,
        ("json", "yaml", "toml", "xml", "html", "css", "stylesheet", "manifest", "workflow", "pipeline"),
        files=r".*\.(json5?|jsonc|ya?ml|toml|lock|csv|tsv|xml|html?|css|scss|svg|ini|cfg)",
    ),
)
OLDER_VERSION = 0.4
"""Code in `v1/` where there is `v2/` beside it. Where a query names a version, the others are the older ones."""

IMPLEMENTED_HEADER = 0.8
"""`list.h` where there is `list.c`: it declares what is defined there."""

_VERSION = re.compile(r"v(\d+)")
_HEADERS = frozenset({".h", ".hh", ".hpp", ".hxx"})
_SOURCES = frozenset({".c", ".cc", ".cpp", ".cxx", ".m", ".mm"})


class PathKinds:
    """The kinds of all files of a library. Immutable, threads may share it."""

    def __init__(self, paths: Sequence[str]) -> None:
        names = [PurePosixPath(path).name for path in paths]
        places = [PurePosixPath(path.lower()) for path in paths]
        self._members = [
            (kind, {stem(word) for word in kind.asked_by}, _members(kind, places, names)) for kind in KINDS
        ]
        self._headers = _implemented_headers(places)
        self._versions = _versions(places)

    def factors(self, keywords: Collection[str]) -> Floats:
        """float32 [files], the strongest of each. keywords: the stems and joined parts of a query's words."""
        factors = np.where(self._headers, np.float32(IMPLEMENTED_HEADER), np.float32(1.0))
        for kind, asked_by, members in self._members:
            if asked_by.isdisjoint(keywords):
                factors = np.minimum(factors, np.where(members, np.float32(kind.factor), np.float32(1.0)))
        for siblings in self._versions:
            named = [version for version in siblings if f"v{version}" in keywords] or [max(siblings)]
            for version, members in siblings.items():
                if version not in named:
                    factors[members] = np.minimum(factors[members], np.float32(OLDER_VERSION))
        return factors

    def of(self, file: int) -> list[str]:
        """The names of its kinds."""
        return [kind.name for kind, _, members in self._members if members[file]]


def _members(kind: PathKind, places: Sequence[PurePosixPath], names: Sequence[str]) -> NDArray[np.bool_]:
    """places: in lower case. names: of the files, as they are."""
    folders, files, cased = (re.compile(pattern) for pattern in (kind.folders, kind.files, kind.cased))
    known: dict[str, bool] = {}

    def inside(folder: str) -> bool:
        if folder not in known:
            known[folder] = folders.fullmatch(folder) is not None
        return known[folder]

    found = [
        (bool(kind.files) and files.fullmatch(place.name) is not None)
        or (bool(kind.cased) and cased.fullmatch(name) is not None)
        or (bool(kind.folders) and any(inside(folder) for folder in place.parts[:-1]))
        for place, name in zip(places, names, strict=True)
    ]
    return np.array(found, np.bool_)


def _implemented_headers(places: Sequence[PurePosixPath]) -> NDArray[np.bool_]:
    implemented = {place.stem for place in places if place.suffix in _SOURCES}
    return np.array([place.suffix in _HEADERS and place.stem in implemented for place in places], np.bool_)


def _versions(places: Sequence[PurePosixPath]) -> list[dict[int, NDArray[np.int64]]]:
    """For each folder that holds several versions side by side: version → rows of the files in it."""
    found: dict[tuple[str, ...], dict[int, list[int]]] = {}
    for row, place in enumerate(places):
        folders = place.parts[:-1]
        for depth, folder in enumerate(folders):
            if version := _VERSION.fullmatch(folder):
                found.setdefault(folders[:depth], {}).setdefault(int(version[1]), []).append(row)
    several = [siblings for siblings in found.values() if len(siblings) > 1]
    return [{version: np.array(rows, np.int64) for version, rows in siblings.items()} for siblings in several]
