"""What comments say of a definition, and of the file that they begin."""

import time

import pytest

from librarian.chunker import chunk_file

LICENCE = "/*\n * Copyright 2020 A. Nobody\n *\n * Licensed under the Something License.\n */\n\n"


def module_docstring(path: str, source: str) -> str:
    first = chunk_file(path, source.encode(), 10.0).chunks[0]
    assert first.chunk_type == "module"
    return first.docstring


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a.c", LICENCE + "/* Draws lines. */\n\n#include <lines.h>\n#include <points.h>\n"),
        ("a.cpp", "// Draws lines.\n\n#include <lines.h>\n#include <points.h>\n"),
        ("a.go", LICENCE + '// Draws lines.\npackage lines\n\nimport "points/of/all/kinds"\n'),
        ("a.java", LICENCE + "/** Draws lines. */\npackage a.lines.of.all.kinds;\n"),
        ("a.rs", "#![no_std]\n//! Draws lines.\n\nuse points::of::all::kinds;\n"),
        ("a.js", "// Draws lines.\n\nimport 'points-of-all-kinds'\n"),
        ("a.py", "# Draws lines.\n\nimport points, of, all, kinds\n"),
    ],
    ids=["c", "cpp", "go", "java", "rust", "javascript", "python"],
)
def test_the_first_comment_that_is_no_licence_describes_the_file(path: str, source: str):
    assert module_docstring(path, source) == "Draws lines."


def test_what_is_said_of_a_rust_module_is_not_said_of_its_first_function():
    source = "//! Draws lines, points, and whatever else there is to draw.\npub fn draw() {}\n"
    found = chunk_file("a.rs", source.encode(), 10.0).chunks
    assert [(each.chunk_type, each.docstring) for each in found] == [
        ("module", "Draws lines, points, and whatever else there is to draw."),
        ("function", ""),
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "// SPDX-License-Identifier: MIT",
        "// Copyright (c) 2020 A. Nobody. All rights reserved.",
        "/* THE SOFTWARE COMES WITHOUT WARRANTY OF ANY KIND */",
        "//go:build linux",
        "// +build linux",
        "// -----------",
        "/* -*- mode: c -*- */",
    ],
)
def test_licences_and_orders_to_tools_describe_nothing(comment: str):
    assert module_docstring("a.go", f"{comment}\n\npackage points_of_all_kinds\n") == ""


def test_a_file_that_starts_with_a_definition_describes_it_and_not_itself():
    found = chunk_file("a.go", b"// Adds.\nfunc add() {}\n\nvar points, of, all, kinds = 1, 2, 3, 4\n", 10.0).chunks
    assert (found[0].name, found[0].docstring) == ("add", "Adds.")
    assert all(each.docstring == "" for each in found[1:])


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("/** One. */", "One."),
        ("/**\n * One.\n *   * two\n */", "One.\n  * two"),
        ("/*\n   One.\n   Two.\n*/", "One.\n   Two."),
        ("/// One.\n/// Two.", "One.\nTwo."),
        ("// One.\r\n// Two.\r", "One.\nTwo."),
        ("/***** One. *****/", "One."),
        ("/**/", ""),
        ("//", ""),
    ],
)
def test_markers_are_not_what_a_comment_says(comment: str, expected: str):
    (found,) = chunk_file("a.c", f"{comment}\nint add(int a) {{ return a; }}\n".encode(), 10.0).chunks
    assert found.docstring == expected


@pytest.mark.parametrize("path", ["a.c", "a.js", "a.rs", "a.go", "A.java"])
def test_a_comment_of_a_megabyte_takes_no_time(path: str):
    data = b"/** " + b" " * 1_000_000 + b"x */\nint f() { return 1; }\nfunction g() { return 1 }\n"
    before_s = time.process_time()
    chunk_file(path, data, 10.0)
    assert time.process_time() - before_s < 2.0
