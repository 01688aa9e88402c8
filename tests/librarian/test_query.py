import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.query import MAX_QUERY_WORDS, read_query


def test_only_telling_words_are_searched_for():
    assert read_query("how is the syntax tree walked?").keywords == ("syntax", "tree", "walk")


def test_neighbouring_words_are_searched_as_one_identifier_too():
    assert {"syntax", "tree", "syntaxtre"} & read_query("syntax tree").terms.keys() >= {"syntax", "tree"}
    assert "syntaxtree" in read_query("syntax tree").terms


def test_a_query_of_stop_words_is_searched_for_as_it_is():
    assert read_query("how to do it").keywords == ("how", "to", "do", "it")


@pytest.mark.parametrize(
    ("text", "symbols", "bare"),
    [
        ("TreeWalker", (("TreeWalker",),), True),
        ("walker", (("walker",),), True),
        ("Walker::step", (("Walker", "step"),), True),
        ("what does Walker.step return", (("Walker", "step"),), False),
        ("when is walk_tree called by TreeWalker", (("walk_tree",), ("TreeWalker",)), False),
        ("where are JSON trees walked", (), False),
        ("Why walk", (), False),
        ("what _private does", (("_private",),), False),
    ],
)
def test_identifiers_are_told_from_words(text, symbols, bare):
    query = read_query(text)
    assert (query.symbols, query.bare) == (symbols, bare)


def test_a_pasted_file_is_cut():
    assert len(read_query("word " * 10_000).terms) <= 2 * MAX_QUERY_WORDS
    assert len(read_query("x" * 100_000).text) <= 2_000


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    query = read_query(text)
    assert all(all(symbol) and symbol for symbol in query.symbols)


@pytest.mark.parametrize(
    ("text", "vague"), [("the of and", True), ("x", True), ("open the file", False), ("_a", False)]
)
def test_words_that_mean_nothing_by_themselves_make_a_query_vague(text: str, vague: bool):
    assert read_query(text).vague is vague
