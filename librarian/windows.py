"""What is embedded of a chunk: windows that fit a model's input, each headed by what the chunk is.

A long chunk has several windows and is found through the best of them.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from librarian.chunks import Chunk
from librarian.tokens import parts, words

WINDOW_CHARS = 700
"""About 200 tokens of code; with the header below the 256 of MiniLM's training."""

HEADER_DOCSTRING_CHARS = 200
HEADER_SIGNATURE_CHARS = 160


def embedding_windows(path: str, chunk: Chunk, own_text: str) -> list[str]:
    """At least one, the header alone where the chunk owns no text."""
    header = _header(path, chunk)
    pieces = _pieces(own_text.strip())
    return [f"{header}\n{piece}" for piece in pieces] or [header]


def _header(path: str, chunk: Chunk) -> str:
    """Where it is and what it is called, in words, since a model knows words better than paths and identifiers."""
    place = PurePosixPath(path)
    lines = [
        _spoken(" ".join([*place.parent.parts[-2:], place.stem])),
        f"{chunk.chunk_type} {_spoken(chunk.qualified_name)}",
        chunk.signature[:HEADER_SIGNATURE_CHARS],
        chunk.docstring[:HEADER_DOCSTRING_CHARS],
    ]
    return "\n".join(line for line in lines if line)


def _spoken(text: str) -> str:
    return " ".join(part for word in words(text) for part in parts(word))


def _pieces(text: str) -> list[str]:
    """Whole lines, at most WINDOW_CHARS together; longer lines are cut."""
    pieces: list[str] = []
    current = ""
    for line in text.splitlines(keepends=True):
        if current and len(current) + len(line) > WINDOW_CHARS:
            pieces.append(current)
            current = ""
        current += line
        while len(current) > WINDOW_CHARS:
            pieces.append(current[:WINDOW_CHARS])
            current = current[WINDOW_CHARS:]
    return [*pieces, current] if current.strip() else pieces
