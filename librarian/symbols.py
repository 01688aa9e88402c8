"""Looks up definitions by name, and decides which of several namesakes is most likely meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from librarian.path_kinds import PathKinds
from librarian.ranking import Rows
from librarian.tables import Tables
from librarian.tokens import parts

QUALIFIED, EXACT, FOLDED, PREFIX, INSIDE, PARTS, SUBSEQUENCE = range(7)
"""How a name matches, best first: the qualified name; the name; but for case and underscores; its beginning;
anywhere in it; its parts begin with what is asked, as `gOC` for `getOptionCount`; its letters in that order."""

MINOR_KINDS = frozenset({"field", "variable", "section", "namespace", "impl"})


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    qualified: str
    folded: str
    folded_qualified: str
    initials: str


class SymbolLookup:
    """The symbol table of a library. Immutable, threads may share it."""

    def __init__(self, tables: Tables) -> None:
        symbols = tables.symbols
        self._rows = [
            _row(name, qualified)
            for name, qualified in zip(symbols["name"].to_pylist(), symbols["qualified_name"].to_pylist(), strict=True)
        ]
        files = tables.chunks["file"].to_numpy()[symbols["chunk"].to_numpy()].astype(np.int64)
        paths: list[str] = tables.files["path"].to_pylist()
        self._order = _preference(symbols, files, paths)

    def find(self, q: str, limit: int) -> list[int]:
        """Rows of the table of symbols, the best matches first; definitions before declarations, tests last."""
        asked = q.strip()
        if not asked:
            return self._order_of(range(len(self._rows)))[:limit]
        folded, qualified = _folded(asked), _qualified(asked)
        graded: list[tuple[int, int]] = []
        for row, symbol in enumerate(self._rows):
            grade = _grade(symbol, asked, folded, qualified)
            if grade is not None:
                graded.append((grade, row))
        graded.sort(key=lambda pair: (pair[0], self._order[pair[1]]))
        return [row for _, row in graded[:limit]]

    def _order_of(self, rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: self._order[row])


def likeliest_file(paths: Sequence[str]) -> str:
    """Which of the files that define a name is most likely meant: none for tests, examples and their like if there is
    another, then the one with the shortest path, then the first by name."""
    factors = PathKinds(paths).factors(())
    return min(zip((-factors).tolist(), map(len, paths), paths, strict=True))[2]


def _row(name: str, qualified: str) -> _Row:
    initials = "".join(part[0] for part in parts(name))
    return _Row(name, qualified, _folded(name), _qualified(qualified), initials)


def _folded(name: str) -> str:
    return "".join(parts(name)) or name.lower()


def _qualified(name: str) -> str:
    return name.replace("::", ".").replace("#", ".").replace("->", ".").lower()


def _grade(symbol: _Row, asked: str, folded: str, qualified: str) -> int | None:
    if symbol.folded_qualified == qualified and "." in qualified:
        return QUALIFIED
    if symbol.name == asked:
        return EXACT
    if symbol.folded == folded:
        return FOLDED
    if "." in qualified and symbol.folded_qualified.endswith("." + qualified):
        return EXACT
    if symbol.folded.startswith(folded):
        return PREFIX
    if folded in symbol.folded or qualified in symbol.folded_qualified:
        return INSIDE
    if symbol.initials.startswith(asked.lower()):
        return PARTS
    return SUBSEQUENCE if len(folded) > 2 and _is_subsequence(folded, symbol.folded) else None


def _is_subsequence(wanted: str, name: str) -> bool:
    letters = iter(name)
    return all(letter in letters for letter in wanted)


def _preference(symbols: pa.Table, files: Rows, paths: Sequence[str]) -> list[int]:
    """The place of each symbol among equal matches."""
    factors = PathKinds(paths).factors(())
    columns = zip(
        symbols["declaration"].to_pylist(),
        symbols["kind"].to_pylist(),
        symbols["qualified_name"].to_pylist(),
        files.tolist(),
        strict=True,
    )
    keys = [
        (declared, -float(factors[file]), kind in MINOR_KINDS, len(name), len(paths[file]), paths[file], row)
        for row, (declared, kind, name, file) in enumerate(columns)
    ]
    places = [0] * len(keys)
    for place, row in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
        places[row] = place
    return places
