"""All that speaks for a chunk: words and vectors, names and definitions, its file's name and its company there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from librarian.bm25 import Bm25, Saturation, summed_by_group
from librarian.definitions import Definitions, strongest
from librarian.embedder.base import Embedder
from librarian.index.base import VectorIndex
from librarian.name_match import NameIndex
from librarian.query import Query
from librarian.ranking import Floats, Rows, best_per_file, relative, sum_of_best
from librarian.tables import Tables
from librarian.tokens import terms_of, words

CHUNK_SATURATION = Saturation(k1=1.5, b=0.75)
FILE_SATURATION = Saturation(k1=1.5, b=0.4)
"""Files differ in length by what they do, less by how much they say of it."""

COMPANY_POOL = 500
NEAREST_WINDOWS = 300
NAMED_FOLDERS = 2


@dataclass(frozen=True, slots=True)
class Signals:
    """Each float32, 0..1 within the query, named as in Weights. chunks: [chunks] each. files: [files] each.

    file_cover: [files], the share of the query's words that a file has; not ranked by, for the relevance.
    """

    chunks: dict[str, Floats]
    files: dict[str, Floats]
    file_cover: Floats


class SignalIndex:
    """Of one library. Immutable, threads may share it. files: the file of each chunk."""

    def __init__(self, tables: Tables, vectors: VectorIndex, embedder: Embedder) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self.files: Rows = tables.chunks["file"].to_numpy().astype(np.int64)
        self._file_count = tables.files.num_rows
        self._window_chunks: Rows = tables.windows["chunk"].to_numpy().astype(np.int64)
        self._definitions = Definitions(tables.symbols)
        self._open_words(tables)
        self._open_names(tables)

    def _open_words(self, tables: Tables) -> None:
        vocabulary = {term: row for row, term in enumerate(tables.terms["term"].to_pylist())}
        counts = tables.terms["postings"].to_numpy()
        rows = tables.postings["chunk"].to_numpy().astype(np.int64)
        weights = tables.postings["weight"].to_numpy().astype(np.float32)
        self._chunk_words = Bm25(vocabulary, counts, rows, weights, len(self.files), CHUNK_SATURATION)
        of_files = summed_by_group(counts, rows, weights, self.files)
        self._file_words = Bm25(vocabulary, *of_files, self._file_count, FILE_SATURATION)

    def _open_names(self, tables: Tables) -> None:
        places = [PurePosixPath(path) for path in tables.files["path"].to_pylist()]
        self._chunk_names = NameIndex([_stems(name) for name in tables.chunks["name"].to_pylist()])
        self._file_stems = NameIndex([_stems(place.stem) for place in places])
        self._folders = NameIndex([_stems(" ".join(place.parent.parts[-NAMED_FOLDERS:])) for place in places])

    def gather(self, query: Query, allowed: NDArray[np.bool_] | None) -> Signals:
        """allowed: bool [chunks], None for all; the values of others mean nothing.

        Raises:
            EmbedderUnavailable
        """
        keywords = {word: self._file_words.idf(word) for word in query.keywords}
        bm25, cover = self._chunk_words.scores(query.terms), self._chunk_words.coverage(keywords)
        if allowed is not None:
            bm25, cover = np.where(allowed, bm25, np.float32(0)), np.where(allowed, cover, np.float32(0))
        bm25 = relative(bm25)
        similarity = self.similarity(query.text, allowed)
        name = np.sqrt(np.multiply(*self._chunk_names.fit(keywords)))
        defined = strongest([self._definitions.chunks(each) for each in query.symbols], len(self.files))
        nothing = np.zeros_like(defined)
        chunks = {
            "chunk_bm25": bm25,
            "chunk_cover": cover,
            "chunk_dense": similarity * (1 - cover.max(initial=0.0)),
            "chunk_name": name,
            "chunk_definition": defined if query.bare else nothing,
            "chunk_mention": nothing if query.bare else defined,
        }
        return Signals(chunks, self._of_files(query, keywords, bm25, name), self._file_words.coverage(keywords))

    def _of_files(self, query: Query, keywords: dict[str, float], bm25: Floats, name: Floats) -> dict[str, Floats]:
        recall, precision = self._file_stems.fit(keywords)
        folder, _ = self._folders.fit(keywords)
        count = self._file_count
        return {
            "file_bm25": relative(self._file_words.scores(query.terms)),
            "file_sum": relative(sum_of_best(bm25, self.files, count, COMPANY_POOL)),
            "file_name": relative(best_per_file(name, self.files, count)),
            "stem_recall": recall,
            "stem_balance": np.sqrt(recall * precision),
            "folder": folder,
        }

    def similarity(self, text: str, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """float32 [chunks]: of the best window, from 0 at the last of the nearest to 1 at the first."""
        similarity = np.zeros(len(self.files), np.float32)
        windows = None if allowed is None else np.flatnonzero(allowed[self._window_chunks])
        size = self._vectors.size if windows is None else len(windows)
        if not size:
            return similarity
        ids, found = self._vectors.search(self._embedder.embed_query(text), min(NEAREST_WINDOWS, size), windows)
        if len(ids) and found[0] > found[-1]:
            np.maximum.at(similarity, self._window_chunks[ids], (found - found[-1]) / (found[0] - found[-1]))
        return similarity


def _stems(text: str) -> list[str]:
    return [term for word in words(text) for term in terms_of(word)]
