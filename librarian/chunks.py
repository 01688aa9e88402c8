"""What a file is made of: chunks, each one thing with one name, and the symbols that they define.

Lines are 1-based and inclusive, bytes are offsets into the file as ingested, ends exclusive.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Language = Literal["python", "javascript", "typescript", "cpp", "c", "rust", "go", "java", "markdown", "unknown"]
ChunkType = Literal["function", "method", "class", "module", "section", "block"]

Span = tuple[int, int]
"""First byte, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One thing in a file, from its first to its last line; classes and sections include what lies inside them.

    name: as a reader would say it, `get` or `APIRouter`; the file's stem where the code has none.
    qualified_name: with what it is inside of, `APIRouter.get`. chunk_type: class is any named type (struct, enum,
    trait, interface), block is code without a name, or text of an unknown language.
    start_byte, end_byte: all of it, with the comment or docstring that belongs to it.
    owned: what belongs to it and to no inner chunk, in order; an empty span where that is nothing. All `owned` of a
    file together are the file, each byte once. They lie within start_byte and end_byte but for blanks: those between
    two outermost chunks, before the first and behind the last one are owned by the chunk next to them, which does not
    reach that far.
    signature, docstring: empty where there is none.
    """

    name: str
    qualified_name: str
    chunk_type: ChunkType
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    owned: tuple[Span, ...]
    signature: str = ""
    docstring: str = ""

    def content(self, data: bytes) -> str:
        """The whole of it; bytes that are no UTF-8 are shown as U+FFFD."""
        return data[self.start_byte : self.end_byte].decode("utf-8", "replace")

    def own_content(self, data: bytes) -> str:
        """What no inner chunk owns."""
        return b"".join(data[start:end] for start, end in self.owned).decode("utf-8", "replace")


SymbolKind = Literal[
    "function", "method", "class", "struct", "enum", "union", "interface", "trait", "type", "impl",
    "macro", "constant", "variable", "field", "namespace", "section",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Symbol:
    """A definition in a file, never a mere use. Also of what is no chunk of its own: a constant, a macro, a field.

    chunk: position in the file's chunks of the innermost one that holds it. declaration: it only announces what is
    defined elsewhere (a prototype, an overload stub, a forward declaration).
    """

    name: str
    qualified_name: str
    kind: SymbolKind
    start_line: int
    end_line: int
    chunk: int
    declaration: bool = False


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """All chunks of one file, by start_byte, outer before inner. problem: why it was cut as plain text, or None."""

    language: Language
    chunks: tuple[Chunk, ...]
    symbols: tuple[Symbol, ...]
    problem: str | None = None


def chunk_ids(path: str, chunks: Iterable[Chunk], data: bytes) -> list[str]:
    """`path:name:hash`, the same as long as the content is, different for namesakes, also for identical ones."""
    seen: Counter[tuple[str, bytes]] = Counter()
    ids: list[str] = []
    for chunk in chunks:
        digest = hashlib.sha256(data[chunk.start_byte : chunk.end_byte]).digest()
        twins = seen[chunk.name, digest]
        seen[chunk.name, digest] += 1
        if twins:
            digest = hashlib.sha256(digest + twins.to_bytes(4)).digest()
        ids.append(f"{path}:{chunk.name}:{digest.hex()[:8]}")
    return ids
