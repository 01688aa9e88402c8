import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.stemming import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [  # examples of Porter's paper
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("cats", "cat"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("motoring", "motor"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("sky", "sky"),
        ("relational", "relat"),
        ("digitizer", "digit"),
        ("triplicate", "triplic"),
        ("hopefulness", "hope"),
        ("adjustment", "adjust"),
        ("adoption", "adopt"),
        ("probate", "probat"),
        ("controlling", "control"),
        ("oscillators", "oscil"),
    ],
)
def test_words_lose_their_suffixes_as_in_the_paper(word, expected):
    assert stem(word) == expected


@pytest.mark.parametrize(
    "family",
    [
        ["compile", "compiled", "compiles", "compiling"],
        ["encode", "encoded", "encodes", "encoding"],
        ["iterate", "iterated", "iteration", "iterating", "iterator"],
        ["allocate", "allocation", "allocator"],
    ],
)
def test_words_of_one_family_have_one_stem(family):
    assert len({stem(word) for word in family}) == 1


@pytest.mark.parametrize("word", ["is", "utf8", "größe", "данные", "a_b", ""])
def test_what_is_no_plain_word_stays_as_it_is(word):
    assert stem(word) == word


@given(st.text(string.ascii_lowercase, max_size=30))
def test_a_stem_is_never_empty_nor_longer_by_more_than_a_letter(word):
    assert bool(stem(word)) == bool(word)
    assert len(stem(word)) <= len(word) + 1
