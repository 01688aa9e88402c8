"""Librarians for tests: small repositories, an embedder that needs no file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from librarian.config import EmbedderChoice, IngestLimits, SourceRules
from librarian.ingest import AnalyzePacks
from librarian.ingester import Ingester
from librarian.librarian import Librarian
from librarian.reader import Reader
from librarian.values import Filters, Job

HASHING = EmbedderChoice(provider="hashing", dim=32)


@asynccontextmanager
async def librarian_at(
    root: Path | str,
    *,
    embedder: EmbedderChoice = HASHING,
    limits: IngestLimits | None = None,
    on_progress: Callable[[Job], None] | None = None,
    analyze_large: AnalyzePacks | None = None,
    cache_folder: Path | None = None,
) -> AsyncIterator[Librarian]:
    cache = str(cache_folder) if cache_folder else None
    ingester = Ingester(
        root=str(root),
        rules=SourceRules(local=True, limits=limits or IngestLimits()),
        embedder=embedder,
        environ={},
        on_progress=on_progress,
        analyze_large=analyze_large,
        cache_folder=cache,
    )
    reader = Reader(root=str(root), embedder=embedder, environ={}, cache_folder=cache)
    async with Librarian(reader=reader, ingester=ingester) as librarian:
        yield librarian


async def names_found(librarian: Librarian, library_ids: Sequence[str], query: str) -> list[str]:
    found = await librarian.search(tuple(library_ids), query, 5, Filters(), False)
    return [source.name for source in found.sources]


def data_files(root: Path, library_id: str) -> dict[str, bytes]:
    """Every file of a library's only version."""
    (version,) = [each for each in (root / library_id).iterdir() if each.is_dir()]
    return {each.name: each.read_bytes() for each in version.iterdir()}


def everything(root: Path) -> set[str]:
    """All files below a root, without jobs and the lock."""
    files = (str(each.relative_to(root)) for each in root.rglob("*") if each.is_file())
    return {each for each in files if not each.startswith("jobs/") and each != ".lock"}
