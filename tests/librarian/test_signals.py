import numpy as np
import pytest

from librarian.query import read_query
from librarian.ranking import Weights
from tests.librarian.searchable import Meanings, searcher_of

FILES = {
    "farm/harvest.py": "def reap_field(field):\n    return field.wheat\n",
    "farm/storage.py": "class Barn:\n    def store(self, wheat):\n        self.wheat = wheat\n",
}


@pytest.fixture(scope="module")
def signals():
    searcher, _ = searcher_of(FILES, Meanings(("barn", "shed"), ("wheat",)))
    return searcher.signals


def gathered(signals, text, allowed=None):
    return signals.gather(read_query(text), allowed)


def test_every_weight_has_its_signal_and_every_signal_is_0_to_1(signals):
    found = gathered(signals, "where is the wheat of a field stored in the Barn")
    assert {*found.chunks, *found.files} == set(Weights.__dataclass_fields__)
    for values in [*found.chunks.values(), *found.files.values(), found.file_cover]:
        assert ((values >= 0) & (values <= 1 + 1e-5)).all()


def test_vectors_count_as_far_as_no_chunk_has_the_words(signals):
    assert gathered(signals, "shed").chunks["chunk_dense"].max() == pytest.approx(1.0)
    assert gathered(signals, "barn").chunks["chunk_dense"].max() == pytest.approx(0.0)


def test_a_name_alone_is_a_definition_and_in_a_sentence_a_mention(signals):
    alone, named = gathered(signals, "Barn").chunks, gathered(signals, "what does reap_field do").chunks
    assert alone["chunk_definition"].max() == 1
    assert not alone["chunk_mention"].any()
    assert named["chunk_mention"].max() == 1
    assert not named["chunk_definition"].any()


def test_the_name_of_a_file_speaks_for_it(signals):
    found = gathered(signals, "harvesting").files
    assert found["stem_balance"].tolist() == [1.0, 0.0]


def test_what_a_filter_leaves_out_has_no_words_and_no_vectors(signals):
    allowed = np.zeros(len(signals.files), np.bool_)
    allowed[signals.files == 1] = True
    found = gathered(signals, "wheat shed", allowed)
    assert not found.chunks["chunk_bm25"][~allowed].any()
    assert not found.chunks["chunk_dense"][~allowed].any()
