from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from librarian.snippet import SNIPPET_CHARS, SNIPPET_LINES, snippet

LONG = "\n".join(["class Store:", *(f"    line_{number} = {number}" for number in range(100))])


def test_a_short_text_is_shown_whole():
    assert snippet("def f():\n    return 1\n", ["return"]) == "def f():\n    return 1"


def test_the_lines_that_say_most_of_the_query_are_shown_below_the_first():
    lines = LONG.splitlines()
    lines[60] = "    def read_cache(self, key):"
    lines[62] = "        return self.disk[key]"
    shown = snippet("\n".join(lines), ["cach", "disk", "read"]).splitlines()
    assert shown[:3] == ["class Store:", "…", "    def read_cache(self, key):"]
    assert shown[4] == "        return self.disk[key]"


def test_without_a_match_it_begins_at_the_first_line():
    assert snippet(LONG, ["nowhere"]).splitlines() == LONG.splitlines()[:SNIPPET_LINES]


def test_characters_that_hide_what_code_does_are_left_out():
    assert snippet("if a\u202e == b\u200b:") == "if a == b:"


def test_letters_that_grow_in_lower_case_do_not_shift_lines():
    lines = ["İİİİİİİİ"] * 50 + ["the needle"] + ["x"] * 20
    assert "the needle" in snippet("\n".join(lines), ["needle"])


@given(st.text(), st.lists(st.text(min_size=1, max_size=5), max_size=4))
def test_it_is_never_long_and_never_fails(content: str, terms: list[str]):
    assert len(snippet(content, terms)) <= SNIPPET_CHARS


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "", "x = 1"]), min_size=9, max_size=60))
def test_no_other_window_says_more(lines: list[str]):
    terms = ["alpha", "beta", "gamma"]

    def said(window: list[str]) -> int:
        return sum(any(term in line for line in window) for term in terms)

    best = max(said(lines[start : start + SNIPPET_LINES]) for start in range(len(lines)))
    assert said(snippet("\n".join(lines), terms).splitlines()) >= best
