"""Finds the chunks of a library that a query means: words and vectors, names and definitions, the company of a chunk
in its file, and what the file is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from librarian.bm25 import Bm25, Saturation, summed_by_group
from librarian.definitions import Definitions, strongest
from librarian.embedder.base import Embedder
from librarian.index.base import VectorIndex
from librarian.name_match import NameIndex
from librarian.path_kinds import PathKinds
from librarian.query import Query, read_query
from librarian.ranking import Floats, Weights, best_per_file, ordered, relative, sum_of_best
from librarian.tables import Tables
from librarian.tokens import terms_of, words
from librarian.values import Filters

POOL = 200
NEAREST_WINDOWS = 300
CHUNK_SATURATION = Saturation(k1=1.5, b=0.75)
FILE_SATURATION = Saturation(k1=1.5, b=0.4)


@dataclass(frozen=True, slots=True)
class Hit:
    """chunk: row of the table of chunks. score: 0..1, comparable between queries."""

    chunk: int
    score: float
    explain: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """examined: how many chunks were scored in the last, exact stage."""

    hits: list[Hit]
    examined: int


class Searcher:
    """One library, opened. Immutable, threads may share it."""

    def __init__(
        self, tables: Tables, vectors: VectorIndex, embedder: Embedder, weights: Weights | None = None
    ) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self.weights = weights or Weights()
        self._files = tables.chunks["file"].to_numpy().astype(np.int64)
        self._paths: list[str] = tables.files["path"].to_pylist()
        self._window_chunks = tables.windows["chunk"].to_numpy().astype(np.int64)
        self._open_words(tables)
        self._open_names(tables)
        self._definitions = Definitions(tables.symbols)
        self._kinds = PathKinds(self._paths)

    def _open_words(self, tables: Tables) -> None:
        vocabulary = {term: row for row, term in enumerate(tables.terms["term"].to_pylist())}
        counts = tables.terms["postings"].to_numpy()
        rows = tables.postings["chunk"].to_numpy().astype(np.int64)
        weights = tables.postings["weight"].to_numpy().astype(np.float32)
        self._chunk_words = Bm25(vocabulary, counts, rows, weights, len(self._files), CHUNK_SATURATION)
        self._file_words = Bm25(
            vocabulary, *summed_by_group(counts, rows, weights, self._files), len(self._paths), FILE_SATURATION
        )

    def _open_names(self, tables: Tables) -> None:
        self._chunk_names = NameIndex([_stems(name) for name in tables.chunks["name"].to_pylist()])
        places = [PurePosixPath(path) for path in self._paths]
        self._file_stems = NameIndex([_stems(place.stem) for place in places])
        self._folders = NameIndex([_stems(" ".join(place.parent.parts[-2:])) for place in places])

    def search(
        self, query: str, max_chunks: int, filters: Filters | None = None, explain: bool = False
    ) -> SearchOutcome:
        asked = read_query(query)
        evidence = self.evidence(asked)
        scores = self.combined(evidence, asked)
        pool = np.argsort(-scores, kind="stable")[:POOL]
        pool = pool[scores[pool] > 0]
        hits = [
            Hit(chunk, score) for chunk, score in ordered(pool.tolist(), scores, self._files, self.weights.same_file)
        ]
        return SearchOutcome(hits[:max_chunks], len(pool))

    def evidence(self, asked: Query) -> dict[str, NDArray[np.float32]]:
        files = len(self._paths)
        keywords = {word: self._file_words.idf(word) for word in asked.keywords}
        bm25 = relative(self._chunk_words.scores(asked.terms))
        dense = self._dense(asked.text)
        recall, precision = self._chunk_names.fit(keywords)
        name = np.sqrt(recall * precision)
        stem_recall, stem_precision = self._file_stems.fit(keywords)
        defined = strongest([self._definitions.chunks(each) for each in asked.symbols], len(self._files))
        folder, _ = self._folders.fit(keywords)
        return {
            "chunk_bm25": bm25,
            "chunk_dense": dense,
            "chunk_name": name,
            "chunk_definition": defined if asked.bare else defined * 0,
            "chunk_mention": defined * 0 if asked.bare else defined,
            "file_bm25": relative(self._file_words.scores(asked.terms)),
            "file_sum": relative(sum_of_best(bm25, self._files, files, self.weights.sum_chunks)),
            "file_dense": best_per_file(dense, self._files, files),
            "file_name": relative(best_per_file(name, self._files, files)),
            "stem_recall": stem_recall,
            "stem_precision": stem_precision,
            "folder": folder,
            "stem_f": np.sqrt(stem_recall * stem_precision),
            "chunk_cover": self._chunk_words.coverage(keywords),
        }

    def combined(self, evidence: dict[str, NDArray[np.float32]], asked: Query) -> Floats:
        total = np.zeros(len(self._files), np.float32)
        for name, values in evidence.items():
            weight = np.float32(getattr(self.weights, name))
            total += weight * (values if name.startswith("chunk_") else values[self._files])
        return total * self.factors(asked)[self._files]

    def factors(self, asked: Query) -> Floats:
        """float32 [files]"""
        return self._kinds.factors({*asked.keywords, *asked.terms})

    def _dense(self, text: str) -> Floats:
        """float32 [chunks]: similarity of the best window, from 0 at the last of the nearest to 1 at the first."""
        similar = np.zeros(len(self._files), np.float32)
        query = self._embedder.embed_query(text)
        ids, found = self._vectors.search(query, min(NEAREST_WINDOWS, self._vectors.size))
        if len(ids) and found[0] > found[-1]:
            np.maximum.at(similar, self._window_chunks[ids], (found - found[-1]) / (found[0] - found[-1]))
        return similar


def _stems(text: str) -> list[str]:
    return [term for word in words(text) for term in terms_of(word)]
