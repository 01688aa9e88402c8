"""BM25 over chunks and, from the same postings, over whole files.

score(d, q) = Σ_t idf(t) · tf·(k1+1) / (tf + k1·(1 − b + b·|d|/avg|d|)), idf(t) = ln(1 + (N − df + ½)/(df + ½)):
S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). All but the weight of a term
in the query is computed when the index is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Saturation:
    """k1: how soon further occurrences stop counting. b: how far long documents are put back."""

    k1: float
    b: float


class Bm25:
    """An inverted index of `documents` rows. Immutable, threads may share it.

    counts: postings of each term. rows, weights: the documents and (weighted) term frequencies, term after term.
    """

    def __init__(self, vocabulary: Mapping[str, int], counts: Rows, rows: Rows, weights: Floats, documents: int,
                 saturation: Saturation) -> None:  # fmt: skip
        self._vocabulary = vocabulary
        self._starts = np.concatenate(([0], np.cumsum(counts)))
        self._rows = rows
        self._documents = documents
        self._idf = np.log1p((documents - counts + 0.5) / (counts + 0.5)).astype(np.float32)
        lengths = np.bincount(rows, weights, minlength=documents)
        relative = lengths / max(lengths.mean(), 1.0) if documents else lengths
        damping = saturation.k1 * (1 - saturation.b + saturation.b * relative)
        frequencies = weights.astype(np.float32)
        saturated = frequencies * (saturation.k1 + 1) / (frequencies + damping.astype(np.float32)[rows])
        self._impacts = saturated * np.repeat(self._idf, counts)

    def idf(self, term: str) -> float:
        """That of a term nobody has is the highest there could be."""
        row = self._vocabulary.get(term)
        return float(np.log1p(2 * self._documents + 1.0)) if row is None else float(self._idf[row])

    def knows(self, term: str) -> bool:
        return term in self._vocabulary

    def documents_with(self, term: str) -> Rows:
        row = self._vocabulary.get(term)
        return self._rows[:0] if row is None else self._rows[self._starts[row] : self._starts[row + 1]]

    def scores(self, query: Mapping[str, float]) -> Floats:
        """float32 [documents]. query: the weight of each term."""
        scores = np.zeros(self._documents, np.float32)
        for term, weight in query.items():
            row = self._vocabulary.get(term)
            if row is not None:
                span = slice(self._starts[row], self._starts[row + 1])
                scores[self._rows[span]] += np.float32(weight) * self._impacts[span]
        return scores

    def coverage(self, keywords: Mapping[str, float]) -> Floats:
        """float32 [documents]: the share of the keywords' weight that a document has, however often."""
        covered = np.zeros(self._documents, np.float32)
        for word, weight in keywords.items():
            covered[self.documents_with(word)] += np.float32(weight)
        total = sum(keywords.values())
        return covered / np.float32(total) if total else covered


def summed_by_group(counts: Rows, rows: Rows, weights: Floats, group: Rows) -> tuple[Rows, Rows, Floats]:
    """The postings of groups of documents, such as files: (counts, rows, weights) for Bm25.

    group: that of each row, rising, as chunks follow their files; so what is summed lies together.
    """
    if not len(rows):
        return counts, rows, weights
    terms = np.repeat(np.arange(len(counts)), counts)
    groups = group[rows]
    begins = np.concatenate(([True], (terms[1:] != terms[:-1]) | (groups[1:] != groups[:-1])))
    firsts = np.flatnonzero(begins)
    return np.bincount(terms[firsts], minlength=len(counts)), groups[firsts], np.add.reduceat(weights, firsts)
