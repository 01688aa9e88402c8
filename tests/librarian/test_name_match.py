import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.name_match import NameIndex


def test_recall_is_the_share_of_the_words_and_precision_that_of_the_name():
    recall, precision = NameIndex([["tree", "walk"], ["tree"], ["queue"]]).fit({"tree": 1.0, "walk": 3.0, "fast": 0.0})
    assert recall.tolist() == pytest.approx([1.0, 0.25, 0.0])
    assert precision.tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_a_beginning_counts_half_in_both_directions():
    index = NameIndex([["config"], ["conf"], ["co"], ["confetti"]])
    assert index.fit({"config": 1.0})[0].tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert index.fit({"conf": 1.0})[0].tolist() == pytest.approx([0.5, 1.0, 0.0, 0.5])


def test_nothing_fits_no_words_and_no_names_fit_anything():
    assert NameIndex([["tree"]]).fit({})[0].tolist() == [0.0]
    assert NameIndex([]).fit({"tree": 1.0})[0].shape == (0,)


names = st.lists(st.lists(st.text("abc", min_size=1, max_size=6), max_size=4), max_size=8)


@given(names, st.dictionaries(st.text("abc", min_size=1, max_size=6), st.floats(0.1, 5), max_size=4))
def test_both_stay_between_nothing_and_all(known, keywords):
    for values in NameIndex(known).fit(keywords):
        assert values.dtype == np.float32
        assert ((values >= 0) & (values <= 1 + 1e-5)).all()
