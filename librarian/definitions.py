"""The symbol table as search uses it: which chunks define what a query names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from librarian.tokens import parts

EXACT = 1.0
SIGIL = 0.9
"""`$Type` or `_Type` for `Type`."""

OTHER_SPELLING = 0.7
"""`open_gate` for `openGate`, or another case: the same parts."""

SIGILS = "$_#@~"

DECLARED = 0.6
"""It announces what is defined elsewhere."""

MEMBER = 0.55
"""A method, field or property that a class happens to have, where the query gives the name alone."""

LESS_SPECIFIC = 0.8
"""A constant, variable, field or section of that name: usually not what is meant where there is a class or function."""

MINOR_KINDS = frozenset({"constant", "variable", "field", "section", "impl", "namespace"})


class Definitions:
    """Immutable, threads may share it."""

    def __init__(self, symbols: pa.Table) -> None:
        self._names: list[str] = symbols["name"].to_pylist()
        self._qualified: list[str] = symbols["qualified_name"].to_pylist()
        self._kinds: list[str] = symbols["kind"].to_pylist()
        self._chunks: list[int] = symbols["chunk"].to_pylist()
        self._declarations: list[bool] = symbols["declaration"].to_pylist()
        self._by_spelling: dict[tuple[str, ...], list[int]] = {}
        for row, name in enumerate(self._names):
            self._by_spelling.setdefault(parts(name), []).append(row)

    def chunks(self, symbol: Sequence[str]) -> dict[int, float]:
        """The chunks that define it: 0..1, how surely each is meant."""
        found: dict[int, float] = {}
        for row in self._by_spelling.get(parts(symbol[-1]), ()):
            credit = self._credit(row, symbol)
            if credit:
                chunk = self._chunks[row]
                found[chunk] = max(found.get(chunk, 0.0), credit)
        return found

    def _credit(self, row: int, symbol: Sequence[str]) -> float:
        credit = _spelling_credit(self._names[row], symbol[-1])
        owners = [part for part in _outer(self._qualified[row]) if part]
        if len(symbol) > 1:
            known = any(parts(owner) == parts(symbol[-2]) for owner in owners)
            credit *= 1.0 if known else MEMBER
        elif owners and self._kinds[row] in ("method", "field"):
            credit *= MEMBER
        if self._kinds[row] in MINOR_KINDS:
            credit *= LESS_SPECIFIC
        return credit * (DECLARED if self._declarations[row] else 1.0)


def _spelling_credit(name: str, asked: str) -> float:
    if name == asked:
        return EXACT
    return SIGIL if name.strip(SIGILS) == asked.strip(SIGILS) else OTHER_SPELLING


def _outer(qualified_name: str) -> list[str]:
    return qualified_name.replace("::", ".").split(".")[:-1]


def strongest(found: Sequence[dict[int, float]], chunks: int) -> NDArray[np.float32]:
    """float32 [chunks]: the best credit of each chunk."""
    credits = np.zeros(chunks, np.float32)
    for each in found:
        for chunk, credit in each.items():
            credits[chunk] = max(credits[chunk], credit)
    return credits
