"""Markdown: headings of both kinds, and all that only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.chunker import chunk_file
from librarian.chunks import ChunkedFile

GUIDE = """---
title: Front
# not a heading
---

Before the first heading.

# Guide #

Text.

Setup
-----

```sh
# not a heading
```

### Deep `code`

x

## Second

| a | b |
|---|---|
| # | 2 |
"""


def cut(source: str | bytes) -> ChunkedFile:
    found = chunk_file("docs/guide.md", source.encode() if isinstance(source, str) else source, 10.0)
    assert (found.language, found.problem) == ("markdown", None)
    return found


def names(source: str | bytes) -> list[str]:
    return [each.name for each in cut(source).chunks if each.chunk_type == "section"]


def test_sections_hold_the_sections_of_lower_rank():
    assert [(each.chunk_type, each.qualified_name, each.start_line, each.end_line) for each in cut(GUIDE).chunks] == [
        ("block", "guide", 1, 6),
        ("section", "Guide", 8, 27),
        ("section", "Guide.Setup", 12, 21),
        ("section", "Guide.Setup.Deep code", 19, 21),
        ("section", "Guide.Second", 23, 27),
    ]


def test_a_section_owns_what_stands_before_its_first_inner_heading():
    own = {each.name: each.own_content(GUIDE.encode()) for each in cut(GUIDE).chunks}
    assert own["Guide"] == "# Guide #\n\nText.\n\n"
    assert own["Second"].startswith("## Second\n")


def test_every_section_is_a_symbol():
    found = cut(GUIDE)
    assert [(each.kind, each.name, found.chunks[each.chunk].name) for each in found.symbols] == [
        ("section", name, name) for name in ("Guide", "Setup", "Deep code", "Second")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```\n# a\n```\n",
        "~~~ sh\n# a\n```\n# b\n~~~\n",
        "````\n```\n# a\n````\n",
        "```\n# never closed\n",
        "<!--\n# a\n-->\n",
        "<div>\n# a\n</div>\n",
        "<script>\n\n# a\n\n</script>\n",
        "<pre>\n\nA\n===\n\n</PRE>\n",
        "    # code\n",
        "#hashtag\n",
        "####### seven\n",
        "> # quoted\n",
        "- item\n---\n",
        "- item\n  goes on\n---\n",
        "1. item\n---\n",
        "| a |\n---\n",
        "\n---\n",
        "***\n---\n",
        "===\n",
        "a\n\n===\n",
        "a `# b` c\n",
    ],
)
def test_what_only_looks_like_a_heading_is_none(text: str):
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A", ["A"]),
        ("   # A\n", ["A"]),
        ("#\tA\n", ["A"]),
        ("# A ## \n", ["A"]),
        ("# C#\n", ["C#"]),
        ("#\n", ["untitled"]),
        ("## ##\n", ["untitled"]),
        ("A\n=\n", ["A"]),
        ("A\nB\n-\n", ["A B"]),
        ("*A*\n---\n", ["A"]),
        ("# A\n# A\n", ["A", "A"]),
        ("```a``` is code\n# A\n", ["A"]),
        ("```\n```\n# A\n", ["A"]),
        ("<!-- c -->\n# A\n", ["A"]),
        ("<details>\n\n# A\n\n</details>\n", ["A"]),
        ("<b>\n# A\n", ["A"]),
        ("- item\n\nA\n---\n", ["A"]),
        ("# [Site](https://x.y) **of** `f(*a)` <b>me</b> {#id}\n", ["Site of f(a) me"]),
        ("# ![badge](b.svg)\n", ["badge"]),
        ("# ![](b.svg)\n", ["![](b.svg)"]),
        ("# snake_case and __init__\n", ["snake_case and __init__"]),
    ],
)
def test_headings_and_their_names(text: str, expected: list[str]):
    assert names(text) == expected


def test_windows_files_with_a_byte_order_mark():
    text = b"\xef\xbb\xbfTitle\r\n=====\r\n\r\ntext\r\n\r\n## A\r\n"
    assert [(each.name, each.start_line, each.end_line) for each in cut(text).chunks] == [("Title", 1, 6), ("A", 6, 6)]
    assert names(b"\xef\xbb\xbf---\r\na: 1\r\n---\r\n# A\r\n") == ["A"]


def test_a_carriage_return_alone_ends_no_line():
    assert names(b"old\r# none\r\n# A\n") == ["A"]


def test_front_matter_that_never_ends_is_none():
    assert names("---\n# A\n") == ["A"]


@given(
    st.lists(st.sampled_from(["# a\n", "## b\n", "c\n===\n", "d\n---\n", "```\n", "\n", "text\n", "<div>\n", "- e\n"]))
)
def test_sections_nest_by_rank_and_own_the_file(lines: list[str]):
    data = "".join(lines).encode()
    chunks = cut(data).chunks
    spans = sorted(span for each in chunks for span in each.owned)
    assert b"".join(data[start:end] for start, end in spans) == data
    for outer in chunks:
        for inner in chunks:
            apart = inner.end_byte <= outer.start_byte or outer.end_byte <= inner.start_byte
            inside = outer.start_byte <= inner.start_byte and inner.end_byte <= outer.end_byte
            assert apart or inside or (inner.start_byte <= outer.start_byte and outer.end_byte <= inner.end_byte)
