"""Files as nobody should write them: each is cut, whatever its language, and its lines are those of git."""

import time
from collections.abc import Callable

import pytest
from chunk_checks import check
from hypothesis import given
from hypothesis import strategies as st

from librarian import chunker
from librarian.chunker import chunk_file

ONE_OF_EACH = ("py", "js", "ts", "tsx", "c", "cpp", "rs", "go", "java", "md", "txt")
TIMEOUT_S = 0.5

SAMPLES = {
    "py": "import os\n\n\nclass A:\n    '''Says.'''\n\n    def f(self):\n        return 1\n\n\nLIMIT = 1\n",
    "js": "// Says.\n\nimport a from 'a'\n\nexport class A {\n  f() { return 1 }\n}\n\nconst g = () => 1\n",
    "ts": "interface I {\n  a: string\n}\n\nexport function f(a: I): void {\n}\n\nenum E { A }\n",
    "tsx": "export const A = () => {\n  return <a>1</a>\n}\n\ntype P = { a: string }\n",
    "c": "#include <a.h>\n#define LIMIT 1\n\nstruct s {\n  int a;\n};\n\nint f(int a) {\n  return a;\n}\n",
    "cpp": "namespace n {\nclass A {\n public:\n  int f() { return 1; }\n};\n}  // n\n\nint g() { return 1; }\n",
    "rs": "//! Says.\n\nstruct S {\n    a: u8,\n}\n\nimpl S {\n    fn f(&self) -> u8 {\n        1\n    }\n}\n",
    "go": "package a\n\n// Says.\ntype T struct {\n\tA int\n}\n\nfunc (t *T) F() int {\n\treturn 1\n}\n",
    "java": "package a;\n\n/** Says. */\nclass A {\n  int a;\n\n  int f() {\n    return a;\n  }\n}\n",
    "md": "Before.\n\n# A\n\ntext\n\nB\n---\n\n```\n# c\n```\n",
    "txt": "One.\n\nTwo.\n",
}

SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "windows": lambda data: data.replace(b"\n", b"\r\n"),
    "line ends mixed": lambda data: data.replace(b"\n\n", b"\r\n\n").replace(b"{\n", b"{\r\n"),
    "carriage returns only": lambda data: data.replace(b"\n", b"\r"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "form feeds": lambda data: data.replace(b"\n\n", b"\n\f\n"),
    "other line ends of Unicode": lambda data: data.replace(b"\n\n", "\n\u2028\x85\x0b\n".encode()),
    "no newline at the end": lambda data: data.rstrip(),
    "latin 1": lambda data: data.replace(b"a", b"\xe4"),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "surrogates": lambda data: data.replace(b"a", b"\xed\xa0\x80"),
    "NULs": lambda data: data.replace(b" ", b"\0"),
    "all blank": lambda data: b"\r\n \t\f\n" * 3,
    "cut short": lambda data: data[: len(data) * 2 // 3],
    "twice": lambda data: data + data,
}


@pytest.mark.parametrize("extension", ONE_OF_EACH)
@pytest.mark.parametrize("spoilt", SPOILT)
def test_spoilt_files_are_cut_and_their_lines_are_those_between_newlines(extension: str, spoilt: str):
    data = SPOILT[spoilt](SAMPLES[extension].encode())
    path = f"src/a.{extension}"
    check(path, data, chunk_file(path, data, 10.0))


@pytest.mark.parametrize("extension", ["py", "js", "ts", "c", "cpp", "rs", "go", "java", "md"])
@pytest.mark.parametrize("spoilt", ["windows", "byte order mark", "no newline at the end", "form feeds", "twice"])
def test_harmless_oddities_hide_no_definition(extension: str, spoilt: str):
    sane, odd = (
        {each.qualified_name for each in chunk_file(f"a.{extension}", data, 10.0).symbols}
        for data in (SAMPLES[extension].encode(), SPOILT[spoilt](SAMPLES[extension].encode()))
    )
    assert sane <= odd


@pytest.mark.parametrize("extension", ONE_OF_EACH)
@given(data=st.data())
def test_bytes_lost_doubled_or_strewn_in_change_nothing_of_that(extension: str, data: st.DataObject):
    sample = SAMPLES[extension].encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sample)))
        gone = data.draw(st.integers(0, 12))
        new = data.draw(
            st.sampled_from([b"", b"\0", b"\r", b"\n", b"\xff", b"}", b"{", b"(", b'"', b"*/", b"/*", b"\f\n"])
        )
        sample = sample[:at] + new + sample[at + gone :]
    check(f"a.{extension}", sample, chunk_file(f"a.{extension}", sample, 10.0))


@pytest.mark.parametrize("extension", ONE_OF_EACH)
def test_a_line_of_ten_megabytes_is_one_chunk(extension: str):
    data = b"x" * 10_000_000
    before_s = time.process_time()
    chunked = chunk_file(f"a.{extension}", data, TIMEOUT_S)
    assert time.process_time() - before_s < 10 * TIMEOUT_S
    assert [(each.start_line, each.end_line) for each in chunked.chunks] == [(1, 1)]


@pytest.mark.parametrize("extension", ONE_OF_EACH)
@pytest.mark.parametrize(
    "data",
    [
        b"x = " + b"(" * 100_000 + b")" * 100_000,
        b"[" * 100_000,
        b"class A {" * 60_000,
        b"namespace a { void f() {} " * 30_000,
        b"# " + b" " * 1_000_000 + b"x\n",
        b"/* " + b" " * 1_000_000 + b"*/\nint f() { return 1; }\n",
        b"@overload\ndef f(): ...\n" * 40_000,
        b"const a = 1;\n" * 80_000,
    ],
    ids=["parentheses", "brackets", "classes", "namespaces", "blanks", "comment", "stubs", "constants"],
)
def test_a_megabyte_that_is_hard_to_read_is_done_with_in_time(extension: str, data: bytes):
    """All that is not parsing takes less than that, and a little patience for a machine that has other work."""
    before_s = time.process_time()
    chunked = chunk_file(f"a.{extension}", data, TIMEOUT_S)
    assert time.process_time() - before_s < 6 * TIMEOUT_S
    assert chunked.chunks


@pytest.mark.parametrize("part", ["_markdown", "_code", "outline"])
def test_rules_that_fail_leave_text_and_a_reason(part: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(chunker, part, fail)
    path, data = ("a.md", b"# A\n\ntext\n") if part == "_markdown" else ("a.py", b"def f():\n    return 1\n")
    chunked = chunk_file(path, data, 10.0)
    assert chunked.problem is not None
    assert "RecursionError" in chunked.problem
    assert "cut as plain text" in chunked.problem
    check(path, data, chunked)
