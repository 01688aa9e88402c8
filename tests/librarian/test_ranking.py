import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from librarian.ranking import COHERENT_CHUNKS, SAME_FILE, best_per_file, highest, ordered, relative, sum_of_best


def floats(*values):
    return np.array(values, np.float32)


def test_the_highest_is_1():
    assert relative(floats(2, 4, 0)).tolist() == [0.5, 1, 0]
    assert relative(floats(0, 0)).tolist() == [0, 0]
    assert relative(floats()).tolist() == []


def test_a_file_is_as_good_as_its_best_chunk():
    assert best_per_file(floats(1, 3, 2), np.array([0, 0, 1]), 3).tolist() == [3, 2, 0]


def test_a_files_best_chunks_add_up_and_its_other_ones_do_not():
    values = np.ones(COHERENT_CHUNKS + 5, np.float32)
    assert sum_of_best(values, np.zeros(len(values), np.int64), 2, 100).tolist() == [COHERENT_CHUNKS, 0]
    assert sum_of_best(floats(0, 0), np.array([0, 1]), 2, 100).tolist() == [0, 0]


def test_further_chunks_of_a_file_step_back():
    order = ordered(np.array([0, 1, 2]), floats(1.0, 0.9, 0.5), np.array([0, 0, 1]), np.array([0, 1, 2]))
    assert [chunk for chunk, _ in order] == [0, 2, 1]
    assert [score for _, score in order] == pytest.approx([1.0, 0.5, 0.9 * SAME_FILE])


def test_copies_step_back_behind_the_first():
    order = ordered(np.array([0, 1, 2]), floats(1.0, 0.9, 0.5), np.array([0, 1, 2]), np.array([0, 0, 1]))
    assert [chunk for chunk, _ in order] == [0, 2, 1]


@given(hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(0, 4, width=16)), st.integers(1, 20))
def test_the_highest_are_those_of_a_full_sort(values, count):
    expected = [row for row in sorted(range(len(values)), key=lambda row: (-values[row], row)) if values[row] > 0]
    assert values[highest(values, count)].tolist() == [values[row] for row in expected[:count]]
