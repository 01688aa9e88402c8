import math

import numpy as np
import pytest

from librarian.bm25 import Bm25, Saturation, summed_by_group


def index(documents, k1=1.5, b=0.75):
    """documents: term → frequency, each."""
    vocabulary = {term: row for row, term in enumerate(sorted({term for each in documents for term in each}))}
    postings = [(vocabulary[term], row, tf) for row, each in enumerate(documents) for term, tf in each.items()]
    postings.sort()
    counts = np.bincount([term for term, _, _ in postings], minlength=len(vocabulary))
    rows = np.array([row for _, row, _ in postings], np.int64)
    weights = np.array([tf for _, _, tf in postings], np.float32)
    return Bm25(vocabulary, counts, rows, weights, len(documents), Saturation(k1, b)), (counts, rows, weights)


def test_scores_are_those_of_the_formula():
    bm25, _ = index([{"cat": 2, "dog": 1}, {"dog": 3}, {"bird": 1}])
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    length = 3 / (7 / 3)
    expected = idf * 2 * 2.5 / (2 + 1.5 * (1 - 0.75 + 0.75 * length))
    assert bm25.scores({"cat": 1.0}).tolist() == pytest.approx([expected, 0, 0])
    assert bm25.scores({"cat": 2.0, "unknown": 1.0})[0] == pytest.approx(2 * expected)


def test_a_rare_term_counts_more_and_an_unknown_one_most():
    bm25, _ = index([{"cat": 1, "dog": 1}, {"dog": 1}, {"dog": 1}])
    assert bm25.idf("dog") < bm25.idf("cat") < bm25.idf("unknown")


def test_coverage_is_the_share_of_the_words_however_often_they_come():
    bm25, _ = index([{"cat": 9}, {"cat": 1, "dog": 1}, {"bird": 1}])
    assert bm25.coverage({"cat": 1.0, "dog": 3.0}).tolist() == pytest.approx([0.25, 1.0, 0.0])


def test_postings_of_files_are_the_sums_of_those_of_their_chunks():
    documents = [{"cat": 1, "dog": 2}, {"cat": 4}, {"dog": 1}]
    _, postings = index(documents)
    counts, rows, weights = summed_by_group(*postings, np.array([0, 0, 1]))
    assert (counts.tolist(), rows.tolist(), weights.tolist()) == ([1, 2], [0, 0, 1], [5, 2, 1])


def test_an_empty_library_has_no_scores():
    bm25, postings = index([])
    assert bm25.scores({"cat": 1.0}).shape == (0,)
    assert len(summed_by_group(*postings, np.zeros(0, np.int64))[1]) == 0
