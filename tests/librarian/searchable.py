"""Small libraries for tests of the search, cut up and indexed as real ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from librarian.analysis import SourceFile, analyze
from librarian.embedder.base import Vectors
from librarian.index.base import Ids, Scores
from librarian.search import Searcher
from librarian.tables import Tables, build_tables


class Meanings:
    """An embedder that knows some words, and which of them mean the same: each group is a direction."""

    name = "meanings"

    def __init__(self, *groups: Sequence[str]) -> None:
        self._groups = groups
        self.dim = len(groups) or 1

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.embed_query(text) for text in texts], np.float32).reshape(len(texts), self.dim)

    def embed_query(self, text: str) -> Vectors:
        said = set(text.lower().split())
        vector = np.array([float(len(said.intersection(group))) for group in self._groups] or [0.0], np.float32)
        length = np.linalg.norm(vector)
        return vector / length if length else vector


class Nearest:
    """All vectors compared one by one."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors.astype(np.float32)

    @property
    def size(self) -> int:
        return len(self._vectors)

    def vectors(self, ids: Ids) -> Vectors:
        return self._vectors[ids]

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        ids = np.arange(self.size) if allowed is None else allowed
        scores = self._vectors[ids] @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return ids[order], scores[order]


def tables_of(files: Mapping[str, str], embedder: Meanings | None = None) -> Tables:
    return _built(files, embedder or Meanings())[0]


def searcher_of(files: Mapping[str, str], embedder: Meanings | None = None) -> tuple[Searcher, Tables]:
    embedder = embedder or Meanings()
    tables, vectors = _built(files, embedder)
    return Searcher(tables, Nearest(vectors), embedder), tables


def _built(files: Mapping[str, str], embedder: Meanings):
    sources = [SourceFile(path, "", text.encode()) for path, text in files.items()]
    return build_tables(analyze(sources, embedder, 5.0))


def found(searcher: Searcher, tables: Tables, query: str, **options) -> list[tuple[str, str]]:
    """(path, qualified name) of each hit, best first."""
    paths, names = tables.files["path"].to_pylist(), tables.chunks["qualified_name"].to_pylist()
    files = tables.chunks["file"].to_pylist()
    hits = searcher.search(query, options.pop("max_chunks", 10), **options).hits
    return [(paths[files[hit.chunk]], names[hit.chunk]) for hit in hits]
