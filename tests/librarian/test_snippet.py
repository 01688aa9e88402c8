from hypothesis import given
from hypothesis import strategies as st

from librarian.query import read_query
from librarian.snippet import SNIPPET_CHARS, SNIPPET_LINES, snippet

CODE = (
    "def walk(tree):\n" + "".join(f"    step_{number}(tree)\n" for number in range(30)) + "    return harvest(tree)\n"
)


def test_a_short_chunk_is_shown_whole():
    assert snippet("def walk():\n    return 1\n") == "def walk():\n    return 1"


def test_a_long_one_from_its_beginning():
    assert snippet(CODE).splitlines() == CODE.splitlines()[:SNIPPET_LINES]


def test_the_lines_that_say_the_query_are_shown_below_the_first():
    lines = snippet(CODE, read_query("where is it harvested").terms.keys()).splitlines()
    assert lines[:2] == ["def walk(tree):", "…"]
    assert lines[-1] == "    return harvest(tree)"


def test_characters_that_hide_or_turn_text_are_left_out():
    assert snippet("a\u202eb\u200bc\ufeff") == "abc"


@given(st.text(max_size=3_000), st.sets(st.text("abc", max_size=3)))
def test_a_snippet_is_short_whatever_it_is_of(content, terms):
    shown = snippet(content, terms)
    assert len(shown) <= SNIPPET_CHARS
    assert len(shown.split("\n")) <= SNIPPET_LINES + 2
