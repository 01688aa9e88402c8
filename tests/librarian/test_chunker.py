from pathlib import Path

import pytest
from chunk_checks import check
from hypothesis import given
from hypothesis import strategies as st

from librarian.chunker import chunk_file
from librarian.languages import LANGUAGES

HERE = Path(__file__).parents[2]
EXTENSIONS = (*LANGUAGES, "txt")
SCRAPS = (
    "class A", "{", "}", "(", ")", ";", "\n", "\n\n", "def f():\n  pass\n", "function f() {}", "# h\n", "===\n",
    "```\n", "// c\n", "/* c */", '"""d"""', "\t", "@d\n", "fn g() {}", "impl X for Y {", "#define M 1\n", "#ifdef A\n",
    "#endif\n", "func (t *T) M() {}", "type T struct {", "const x = () => 1", "export default ", "namespace n {",
    "template<class T>", "\0", "\r\n", "struct S { int a; } s;", "module.exports = {", "a: function() {},", "é",
)  # fmt: skip


@pytest.mark.parametrize("extension", EXTENSIONS)
@given(scraps=st.lists(st.sampled_from(SCRAPS), max_size=14), tail=st.binary(max_size=8))
def test_every_byte_is_owned_once_whatever_the_text(extension: str, scraps: list[str], tail: bytes):
    data = "".join(scraps).encode() + tail
    path = f"d/x.{extension}"
    check(path, data, chunk_file(path, data, 10.0))


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n \n",
        b"a\0b\n",
        b"x = " + b"(" * 5_000 + b")" * 5_000,
        b"{" * 5_000,
        b"class A {" * 2_000,
        b"\xff\xfe\n",
    ],
    ids=["empty", "blank", "nul", "parentheses", "braces", "classes", "no UTF-8"],
)
def test_odd_files_are_cut_like_others(extension: str, data: bytes):
    path = f"d/x.{extension}"
    check(path, data, chunk_file(path, data, 10.0))


@pytest.mark.parametrize("folder", ["librarian", "serve_app", "docs", "README.md"])
def test_real_files_are_covered(folder: str):
    place = HERE / folder
    for file in [place] if place.is_file() else sorted(place.rglob("*.[pm][yd]"))[:40]:
        data = file.read_bytes()
        check(file.name, data, chunk_file(file.name, data, 10.0))


def test_what_takes_too_long_is_cut_as_text_and_says_so():
    data = b"x = (1 + 2)\n" * 50_000
    chunked = chunk_file("slow.py", data, 0.0)
    assert chunked.problem is not None
    assert {chunk.chunk_type for chunk in chunked.chunks} == {"block"}
    check("slow.py", data, chunked)


def test_scraps_between_definitions_are_no_chunks():
    chunked = chunk_file("m.py", b"try:\n    def f(): pass\nexcept E:\n    def f(): return 1\n", 10.0)
    assert [chunk.name for chunk in chunked.chunks] == ["f", "f"]


def test_stubs_belong_to_what_they_announce():
    data = b"@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: str) -> str: ...\ndef f(a):\n    return a\n"
    chunked = chunk_file("m.py", data, 10.0)
    assert [(chunk.name, chunk.start_line, chunk.end_line) for chunk in chunked.chunks] == [("f", 1, 6)]
    assert sorted(symbol.declaration for symbol in chunked.symbols) == [False, True, True]


def test_a_function_made_by_a_call_is_a_function():
    data = b'export const Kind = core.make("Kind", (self) => {\n  self.a = 1\n})\n'
    chunked = chunk_file("m.ts", data, 10.0)
    assert [(chunk.name, chunk.chunk_type) for chunk in chunked.chunks] == [("Kind", "function")]


def test_what_a_module_exports_without_a_name_is_called_after_the_file():
    chunked = chunk_file("src/plugin.js", b"export default (a) => {\n  return a\n}\n", 10.0)
    assert [(chunk.name, chunk.chunk_type) for chunk in chunked.chunks] == [("plugin", "function")]
