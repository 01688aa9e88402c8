"""What a query refers to by `@file:path` and `@dir:path`, read from the workspace and told to the model beside it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from organism.errors import OrganismError
from organism.sessions.events import Content, EnvironmentInput
from organism.sessions.workspace import Entry, Workspace

MAX_REFERENCES = 50
MAX_LISTED = 500
"""Entries of one directory that are listed."""

_REFERENCE = re.compile(r'(?<![\w@.])@(?P<kind>file|dir):(?:"(?P<quoted>[^"\n]+)"|(?P<bare>[^\s"]+))')
_PUNCTUATION = ".,;:!?)]}>'`"

Kind = Literal["file", "dir"]


@dataclass(frozen=True, slots=True)
class Reference:
    """`paths`: what it may mean, the first that is there counts (`notes.md.` may end a sentence)."""

    kind: Kind
    paths: tuple[str, ...]


@dataclass(slots=True)
class _Budget:
    """Bytes that may still be read, of one reference and of all."""

    max_bytes: int
    total_bytes: int

    @property
    def bytes_now(self) -> int:
        return min(self.max_bytes, self.total_bytes)

    def one(self) -> _Budget:
        return _Budget(self.bytes_now, self.bytes_now)

    def spend(self, text: str) -> str:
        self.total_bytes -= len(text.encode())
        return text


async def expand(
    content: Content, workspace: Workspace, *, max_bytes: int, max_total_bytes: int
) -> EnvironmentInput | None:
    """The contents of all that `content` refers to, at most `max_bytes` of each and `max_total_bytes` together.

    None when it refers to nothing. What cannot be read is told in the text: a query never fails for it.
    """
    references = find_references(content)
    if not references:
        return None
    return await asyncio.to_thread(_expanded, references, workspace, _Budget(max_bytes, max_total_bytes))


def find_references(content: Content) -> list[Reference]:
    """Each once, in the order of the text; at most MAX_REFERENCES."""
    found = {each: None for text in _texts(content) for each in map(_reference, _REFERENCE.finditer(text))}
    return list(found)[:MAX_REFERENCES]


def _texts(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            yield part["text"]


def _reference(match: re.Match[str]) -> Reference:
    kind: Kind = "dir" if match["kind"] == "dir" else "file"
    if match["quoted"] is not None:
        return Reference(kind, (match["quoted"],))
    path = match["bare"]
    stripped = path.rstrip(_PUNCTUATION) or path
    return Reference(kind, (path,) if stripped == path else (path, stripped))


def _expanded(references: list[Reference], workspace: Workspace, budget: _Budget) -> EnvironmentInput:
    blocks, told = [], []
    for reference in references:
        path = _meant(reference, workspace)
        text, error = _read(reference.kind, path, workspace, budget)
        blocks.append(_block(reference.kind, path, text, error))
        told.append(_metadata(reference.kind, path, text, error))
    names = ", ".join(each["path"] for each in told)
    return EnvironmentInput(
        content="\n\n".join(blocks), description=f"Expanded context from {names}"[:1000], metadata={"references": told}
    )


def _meant(reference: Reference, workspace: Workspace) -> str:
    return next((each for each in reference.paths if _is_there(workspace, each)), reference.paths[-1])


def _is_there(workspace: Workspace, path: str) -> bool:
    try:
        return workspace.exists(path)
    except OrganismError:
        return False


def _read(kind: Kind, path: str, workspace: Workspace, budget: _Budget) -> tuple[str, str | None]:
    """The text, and why it is not (all) there."""
    if budget.total_bytes <= 0:
        return "", "left out: the query refers to more than can be expanded"
    try:
        if kind == "file":
            return budget.spend(workspace.read_text(path, budget.bytes_now)), None
        return budget.spend(_directory(workspace, path, budget.one())), None
    except OrganismError as error:
        return "", str(error)


def _directory(workspace: Workspace, path: str, budget: _Budget) -> str:
    """The tree, then the text of each file that fits. Raises PathRefused, FileNotInWorkspace."""
    workspace.listing(path, 1)  # says so when it is a file
    entries = list(workspace.walk(path, MAX_LISTED + 1))
    tree = "\n".join(f"{each.path}/" if each.type == "directory" else each.path for each in entries[:MAX_LISTED])
    tree += f"\n[more than {MAX_LISTED} entries]" if len(entries) > MAX_LISTED else ""
    pieces = [budget.spend(_cut(tree or "(empty)", budget.bytes_now))]
    pieces += (_file_block(workspace, each, budget) for each in entries if each.type == "file")
    return "".join(pieces)


def _file_block(workspace: Workspace, entry: Entry, budget: _Budget) -> str:
    head, tail = f'\n\n<file path="{entry.path}">\n', "\n</file>"
    room = budget.bytes_now - len(head.encode()) - len(tail)
    if entry.size > room:
        return ""  # it is in the tree
    try:
        return budget.spend(f"{head}{workspace.read_text(entry.path, room)}{tail}")
    except OrganismError:  # binary, or gone
        return ""


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")


def _block(kind: Kind, path: str, text: str, error: str | None) -> str:
    tag = "file" if kind == "file" else "directory"
    if error is not None:
        return f'<{tag} path="{path}" error="not read">\n{error}\n</{tag}>'
    return f'<{tag} path="{path}">\n{text}\n</{tag}>'


def _metadata(kind: Kind, path: str, text: str, error: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file" if kind == "file" else "directory", "path": path}
    return {**told, "bytes": len(text.encode())} if error is None else {**told, "error": error}
