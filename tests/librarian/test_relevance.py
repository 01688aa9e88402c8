import numpy as np
import pytest

from librarian.relevance import ANSWERABLE, relevance
from librarian.signals import Signals

FILES = np.array([0, 0, 1])


def signals(*, cover=0.0, defined=0.0, name=0.0, file_cover=0.0, stem=0.0):
    """The same for each of three chunks in two files."""

    def alike(value, count=3):
        return np.full(count, value, np.float32)

    chunks = {
        "chunk_cover": alike(cover),
        "chunk_definition": alike(defined),
        "chunk_mention": alike(0.0),
        "chunk_name": alike(name),
    }
    return Signals(chunks, {"stem_balance": alike(stem, 2)}, alike(file_cover, 2))


def test_a_chunk_that_defines_what_is_asked_for_is_surely_meant():
    assert relevance(signals(cover=1, defined=1, name=1, file_cover=1), FILES, [(0, 5.0)])[0] > 0.95


def test_a_chunk_without_anything_in_common_is_no_answer():
    assert relevance(signals(), FILES, [(0, 0.1)])[0] < ANSWERABLE / 2


@pytest.mark.parametrize("kind", ["cover", "defined", "name", "file_cover", "stem"])
def test_each_thing_in_common_makes_it_surer(kind):
    assert relevance(signals(**{kind: 1.0}), FILES, [(0, 1.0)]) > relevance(signals(), FILES, [(0, 1.0)])


def test_relevance_falls_with_the_rank():
    first, second, third = relevance(signals(cover=1), FILES, [(2, 4.0), (0, 1.0), (1, 0.0)])
    assert first > second > third == 0
    assert second == pytest.approx(first / 2, abs=1e-3)
