from hypothesis import given
from hypothesis import strategies as st

from librarian.chunks import Chunk
from librarian.windows import WINDOW_CHARS, embedding_windows


def method(**fields):
    return Chunk("walkTree", "Visitor.walkTree", "method", 1, 2, 0, 10, ((0, 10),), **fields)


def test_a_window_begins_with_what_the_chunk_is():
    (window,) = embedding_windows("src/core/tree.py", method(docstring="Visits all.", signature="def f(x)"), "return 1")
    assert window.splitlines() == ["src core tree", "method visitor walk tree", "def f(x)", "Visits all.", "return 1"]


def test_a_chunk_without_text_has_a_window():
    assert len(embedding_windows("a.py", method(), "  \n")) == 1


@given(st.text(st.characters(codec="utf-8"), max_size=5_000))
def test_windows_are_short_and_leave_nothing_out(text):
    windows = embedding_windows("a.py", method(), text)
    header = embedding_windows("a.py", method(), "")[0] + "\n"
    bodies = [window.removeprefix(header) for window in windows]
    assert all(len(body) <= WINDOW_CHARS or body == header.strip() for body in bodies)
    if text.strip():
        assert "".join(bodies).split() == text.split()
