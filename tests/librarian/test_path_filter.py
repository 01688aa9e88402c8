import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.path_filter import matching


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("src", "src/a.py", True),
        ("src/", "src/deep/a.py", True),
        ("src", "lib/src/a.py", True),
        ("/src", "lib/src/a.py", False),
        ("src/core", "lib/src/core/a.py", False),
        ("src", "source/a.py", False),
        ("*.py", "deep/down/a.py", True),
        ("*.py", "a.pyc", False),
        ("src/*.py", "src/deep/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("**/core", "a/b/core/x.c", True),
        ("src/**", "src/a/b", True),
        ("a?c.py", "abc.py", True),
        ("a?c.py", "a/c.py", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("a.b", "axb", False),
        ("./src/a.py", "src/a.py", True),
    ],
)
def test_patterns_mean_what_they_mean_in_gitignore(pattern, path, expected):
    assert matching([pattern], [path]) == [expected]


def test_one_of_several_is_enough():
    assert matching(["*.py", "docs"], ["docs/a.md", "a.md", "b.py"]) == [True, False, True]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_pattern_can_be_used(pattern, path):
    assert len(matching([pattern], [path])) == 1


names = st.lists(st.text("ab.", min_size=1, max_size=5), min_size=1, max_size=5)


@given(names)
def test_a_path_finds_itself_and_so_do_its_folders(path):
    assert all(matching(["/" + "/".join(path[:length])], ["/".join(path)])[0] for length in range(1, len(path) + 1))


def test_a_pattern_of_many_stars_is_no_slower():
    hostile = "/".join(["**", "*a" * 30 + "b"] * 20)
    started = time.perf_counter()
    assert matching([hostile], ["/".join(["a" * 200] * 20)]) == [False]
    assert time.perf_counter() - started < 1.0
