import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.chunks import Chunk
from librarian.tokens import MAX_WORD_CHARS, chunk_terms, parts, terms_of, words


def chunk(name="walk", **fields):
    return Chunk(name, fields.pop("qualified_name", name), "function", 1, 2, 0, 10, ((0, 10),), **fields)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("openHTTPTunnel", ("open", "http", "tunnel")),
        ("read_all_bytes", ("read", "all", "bytes")),
        ("XMLParser2", ("xml", "parser", "2")),
        ("__init__", ("init",)),
        ("größe_maß", ("größe", "maß")),
        ("___", ()),
    ],
)
def test_identifiers_are_split_where_a_reader_would(identifier, expected):
    assert parts(identifier) == expected


def test_spellings_of_one_identifier_share_their_terms():
    assert set(terms_of("openTunnel")) == set(terms_of("open_tunnel")) == {"open", "tunnel", "opentunnel"}


def test_neighbouring_parts_are_a_term_and_so_is_the_whole():
    assert set(terms_of("walkSyntaxTree")) == {"walk", "syntax", "tree", "walksyntax", "syntaxtree", "walksyntaxtree"}


def test_data_is_no_word():
    assert words("abc " + "x" * (MAX_WORD_CHARS + 1)) == ["abc"]


def test_a_name_counts_more_than_a_mention():
    named = chunk_terms("a.py", chunk("merge"), "")
    mentioned = chunk_terms("a.py", chunk("other"), "merge")
    assert named["merg"] > mentioned["merg"] > 0


def test_the_path_says_something_of_every_chunk():
    counts = chunk_terms("very/deep/folders/of/storage/engine.py", chunk(), "")
    assert {"storag", "engin"} <= counts.keys()
    assert "veri" not in counts


@given(st.text(max_size=200), st.text(min_size=1, max_size=40), st.text(max_size=60))
def test_any_text_has_terms_of_positive_weight(text, name, path):
    counts = chunk_terms(path or "x", chunk(name), text)
    assert all(weight > 0 and term and term == term.strip() for term, weight in counts.items())
