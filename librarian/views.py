"""What a library looks like from outside: rows of its tables as the values of the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from librarian.evidence import Evidence
from librarian.library import OpenLibrary
from librarian.snippet import snippet
from librarian.symbols import likeliest_file
from librarian.values import ChunkView, FileView, LibraryView, Source, SymbolView

FUNCTIONS = ("function", "method", "macro")
SHOWN = [
    "chunk_id", "file", "name", "qualified_name", "chunk_type", "start_line", "end_line", "start_byte", "end_byte",
]  # fmt: skip
CLASSES = ("class", "struct", "enum", "union", "interface", "trait", "type")


class Views:
    """Of one opened library; paths of all its chunks are looked up once."""

    def __init__(self, opened: OpenLibrary) -> None:
        self.manifest = opened.manifest
        self._tables = opened.tables
        self._paths: list[str] = opened.tables.files["path"].to_pylist()
        self._file_rows = {path: row for row, path in enumerate(self._paths)}
        self._chunk_rows: dict[str, int] = {
            chunk_id: row for row, chunk_id in enumerate(opened.tables.chunks["chunk_id"].to_pylist())
        }

    def library(self) -> LibraryView:
        symbols = self._tables.symbols.select(["name", "kind", "chunk", "declaration"]).to_pydict()
        files = self._tables.chunks["file"].to_pylist()
        found: dict[str, dict[str, set[tuple[bool, str]]]] = {"functions": {}, "classes": {}, "all": {}}
        rows = zip(symbols["name"], symbols["kind"], symbols["chunk"], symbols["declaration"], strict=True)
        for name, kind, chunk, declaration in rows:
            place = (declaration, self._paths[files[chunk]])
            found["all"].setdefault(name, set()).add(place)
            for group, kinds in (("functions", FUNCTIONS), ("classes", CLASSES)):
                if kind in kinds:
                    found[group].setdefault(name, set()).add(place)
        manifest = self.manifest
        functions, classes = (
            {name: self._likeliest(places) for name, places in sorted(found[group].items())}
            for group in ("functions", "classes")
        )
        return LibraryView(
            library_id=manifest.library_id,
            name=manifest.name,
            source_url=manifest.source_url,
            branch=manifest.branch,
            commit=manifest.commit,
            created_at=manifest.created_at,
            updated_at=manifest.updated_at,
            embedder=manifest.embedder,
            files=self._paths,
            functions=functions,
            classes=classes,
            symbols={name: sorted({path for _, path in places}) for name, places in sorted(found["all"].items())},
            stats=self._stats(symbols["kind"], symbols["declaration"]),
            report=manifest.report,
        )

    def source(
        self, row: int, score: float, terms: Collection[str] | None = None, explain: dict[str, Any] | None = None
    ) -> Source:
        """terms: of the query, which choose the lines of the snippet; None: without one."""
        chunk = self._row("chunks", row, SHOWN)
        file = self._row("files", chunk["file"], ["path", "language", "blob_id"])
        return Source(
            chunk_id=chunk["chunk_id"],
            library_id=self.manifest.library_id,
            file_path=file["path"],
            name=chunk["name"],
            qualified_name=chunk["qualified_name"],
            chunk_type=chunk["chunk_type"],
            language=file["language"],
            start_line=chunk["start_line"],
            end_line=chunk["end_line"],
            relevance_score=score,
            snippet="" if terms is None else snippet(self._lines(chunk), terms),
            commit=self.manifest.commit,
            blob_id=file["blob_id"],
            explain=explain,
        )

    def evidence(self, row: int, score: float, terms: Collection[str]) -> Evidence:
        """As `source`, with all that an answer may quote."""
        said = self._row("chunks", row, ["signature", "docstring"])
        return Evidence(self.source(row, score, terms), self.text(row), said["signature"], said["docstring"])

    def chunk(self, chunk_id: str) -> ChunkView | None:
        row = self._chunk_rows.get(chunk_id)
        if row is None:
            return None
        chunk = self._row("chunks", row)
        file = self._row("files", chunk["file"], ["path", "language", "blob_id"])
        return ChunkView(
            chunk_id=chunk_id,
            library_id=self.manifest.library_id,
            file_path=file["path"],
            name=chunk["name"],
            qualified_name=chunk["qualified_name"],
            chunk_type=chunk["chunk_type"],
            language=file["language"],
            start_line=chunk["start_line"],
            end_line=chunk["end_line"],
            content=self.text(row),
            docstring=chunk["docstring"],
            signature=chunk["signature"],
            commit=self.manifest.commit,
            blob_id=file["blob_id"],
        )

    def file(self, path: str) -> FileView | None:
        row = self._file_rows.get(path)
        if row is None:
            return None
        file = self._row("files", row)
        text = file["content"].decode("utf-8", "replace")
        chunks = range(file["first_chunk"], file["first_chunk"] + file["chunks"])
        return FileView(
            library_id=self.manifest.library_id,
            file_path=path,
            language=file["language"],
            blob_id=file["blob_id"],
            commit=self.manifest.commit,
            lines=file["content"].count(b"\n") + (not file["content"].endswith(b"\n")),
            content=text,
            chunks=[self.source(chunk, 0.0) for chunk in chunks],
        )

    def symbol(self, row: int) -> SymbolView:
        symbol = self._row("symbols", row)
        chunk = self._row("chunks", symbol["chunk"], ["chunk_id", "file"])
        return SymbolView(
            name=symbol["name"],
            qualified_name=symbol["qualified_name"],
            kind=symbol["kind"],
            file_path=self._paths[chunk["file"]],
            start_line=symbol["start_line"],
            end_line=symbol["end_line"],
            chunk_id=chunk["chunk_id"],
            declaration=symbol["declaration"],
        )

    def text(self, row: int) -> str:
        """The lines of a chunk, whole, from its first to its last, as they are in the file."""
        return self._lines(self._row("chunks", row, ["file", "start_byte", "end_byte", "start_line", "end_line"]))

    def _lines(self, chunk: dict[str, Any]) -> str:
        content = memoryview(self._tables.files["content"][chunk["file"]].as_buffer())
        lines = whole_lines(content, chunk["start_byte"], chunk["end_byte"])
        first = next((number for number, line in enumerate(lines) if line.strip()), 0)
        shown = lines[first : first + chunk["end_line"] - chunk["start_line"] + 1]
        return b"\n".join(shown).decode("utf-8", "replace")

    def _likeliest(self, places: set[tuple[bool, str]]) -> str:
        """Of namesakes a definition rather than a declaration."""
        defined = sorted(path for declaration, path in places if not declaration)
        paths = defined or sorted(path for _, path in places)
        return paths[0] if len(paths) == 1 else likeliest_file(paths)

    def _stats(self, kinds: Sequence[str], declarations: Sequence[bool]) -> dict[str, int]:
        defined = Counter(kind for kind, declared in zip(kinds, declarations, strict=True) if not declared)
        languages = self._tables.files["language"].take(self._tables.chunks["file"])
        counted = {each["values"]: each["counts"] for each in languages.value_counts().to_pylist()}
        return {
            "chunks": self.manifest.total_chunks,
            "files": self.manifest.total_files,
            "functions": sum(defined[kind] for kind in ("function", "method")),
            "classes": sum(defined[kind] for kind in CLASSES),
            **{f"lang_{language}": counted[language] for language in sorted(counted)},
        }

    def _row(self, table: str, row: int, columns: list[str] | None = None) -> dict[str, Any]:
        found = getattr(self._tables, table)
        return {name: found[name][row].as_py() for name in columns or found.column_names}


def whole_lines(content: memoryview, start: int, end: int) -> list[bytes]:
    """The lines that hold the bytes from `start` to `end`, without their ends."""
    newline = ord("\n")
    while start > 0 and content[start - 1] != newline:
        start -= 1
    while end < len(content) and end > start and content[end - 1] != newline and content[end] != newline:
        end += 1
    return bytes(content[start:end]).split(b"\n")
