"""Python: what stands under conditions, stubs, decorators, docstrings of all spellings."""

from librarian.chunker import chunk_file
from librarian.chunks import Chunk

SOURCE = '''#!/usr/bin/env python3
"""Keeps orders.

They are never lost.
"""

from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from orders import Order

    class OnlyTyped:
        """For the checker."""

try:
    import fast
    def decode(data): return fast.decode(data)
except ImportError:
    def decode(data):
        """Slowly."""
        return data

LIMIT = 3
TIMEOUT_S: float = 3.0
low, high = 1, 2
type Pair[T] = tuple[T, T]
by_id = lambda each: each.id


# What there is.
@overload
def read(path: str) -> str: ...
@overload
def read(path: bytes) -> bytes: ...

def read(path):
    """Reads
    a file.
    """
    def inner(part):
        return part
    return inner(path)


@retry(3,
       wait_s=1)
@traced
async def fetch(
    url: str,
    *,
    timeout_s: float = 3.0,
) -> bytes:
    r\'\'\'Gets it.\'\'\'
    return b""


class Store(Base[int],
            metaclass=Meta):
    # Not the docstring.
    "Keeps things."

    size: int = 0
    name = "x"

    def __init__(self): self.a = 1

    @property
    def total(self) -> int:
        """How much."""
        return 1

    @total.setter
    def total(self, value): ...

    @typing.overload
    def get(self, key: int) -> int: ...
    @typing.overload
    def get(self, key: str) -> str: ...
    def get(self, key):
        return key

    class Inner:
        class Deepest:
            def run(self): pass

    if sys.version_info > (3, 8):
        def new(self): pass

    compare = lambda self, other: 0


match LIMIT:
    case 3:
        def in_match(): pass

for each in range(2):
    def in_loop(): pass
'''


def chunks(source: str) -> dict[str, list[Chunk]]:
    found: dict[str, list[Chunk]] = {}
    for each in chunk_file("pkg/orders.py", source.encode(), 10.0).chunks:
        found.setdefault(each.qualified_name, []).append(each)
    return found


def test_functions_methods_and_classes_are_chunks_wherever_they_stand():
    found = chunk_file("pkg/orders.py", SOURCE.encode(), 10.0).chunks
    assert [
        (each.chunk_type, each.qualified_name, each.start_line, each.end_line)
        for each in found
        if each.chunk_type not in ("module", "block")
    ] == [
        ("class", "OnlyTyped", 12, 13),
        ("function", "decode", 15, 17),
        ("function", "decode", 18, 21),
        ("function", "read", 30, 42),
        ("function", "fetch", 45, 54),
        ("class", "Store", 57, 89),
        ("method", "Store.__init__", 65, 65),
        ("method", "Store.total", 67, 70),
        ("method", "Store.total", 72, 73),
        ("method", "Store.get", 75, 80),
        ("class", "Store.Inner", 82, 84),
        ("class", "Store.Inner.Deepest", 83, 84),
        ("method", "Store.Inner.Deepest.run", 84, 84),
        ("method", "Store.new", 87, 87),
        ("function", "in_match", 92, 94),
        ("function", "in_loop", 96, 97),
    ]


def test_assigned_names_and_stubs_are_symbols():
    found = chunk_file("pkg/orders.py", SOURCE.encode(), 10.0).symbols
    rows = {(each.kind, each.qualified_name, each.start_line, each.declaration) for each in found}
    assert {
        ("constant", "LIMIT", 23, False),
        ("constant", "TIMEOUT_S", 24, False),
        ("constant", "low", 25, False),
        ("constant", "high", 25, False),
        ("type", "Pair", 26, False),
        ("function", "by_id", 27, False),
        ("function", "read", 31, True),
        ("function", "read", 33, True),
        ("function", "read", 36, False),
        ("field", "Store.size", 62, False),
        ("field", "Store.name", 63, False),
        ("method", "Store.get", 75, True),
        ("method", "Store.get", 79, False),
        ("method", "Store.compare", 89, False),
    } <= rows


def test_a_symbol_names_the_innermost_chunk_that_holds_it():
    found = chunk_file("pkg/orders.py", SOURCE.encode(), 10.0)
    holders = {each.qualified_name: found.chunks[each.chunk].qualified_name for each in found.symbols}
    assert holders["Store.size"] == "Store"
    assert holders["Store.Inner.Deepest.run"] == "Store.Inner.Deepest.run"
    assert found.chunks[next(each.chunk for each in found.symbols if each.name == "LIMIT")].name == "LIMIT"


def test_signatures_are_without_decorators_and_body():
    found = chunks(SOURCE)
    assert found["fetch"][0].signature == "async def fetch( url: str, *, timeout_s: float = 3.0, ) -> bytes"
    assert found["Store"][0].signature == "class Store(Base[int], metaclass=Meta)"
    assert [each.signature for each in found["Store.total"]] == ["def total(self) -> int", "def total(self, value)"]


def test_docstrings_of_all_spellings():
    found = chunks(SOURCE)
    assert found["read"][0].docstring == "Reads\na file."
    assert found["fetch"][0].docstring == "Gets it."
    assert found["Store"][0].docstring == "Keeps things."
    assert found["decode"][1].docstring == "Slowly."
    assert found["Store.total"][0].docstring == "How much."


def test_the_module_says_what_it_is_for():
    module = chunk_file("pkg/orders.py", SOURCE.encode(), 10.0).chunks[0]
    assert (module.chunk_type, module.name, module.start_line) == ("module", "orders", 1)
    assert module.docstring == "Keeps orders.\n\nThey are never lost."


def test_comments_say_it_where_the_module_has_no_docstring():
    source = "# -*- coding: utf-8 -*-\n# Copyright 2020 A. Nobody\n\n# Sends letters.\n# And parcels.\n\nimport post\n"
    assert chunk_file("a.py", source.encode(), 10.0).chunks[0].docstring == "Sends letters.\nAnd parcels."


def test_a_decorator_named_like_overload_is_none():
    source = "@overload(numpy.sum)\ndef of_sum(x):\n    return x\n\n@overloaded\ndef other(x):\n    return x\n"
    assert [each.name for each in chunk_file("a.py", source.encode(), 10.0).chunks] == ["of_sum", "other"]


def test_bytes_and_formatted_strings_are_no_docstrings():
    source = 'def a():\n    b"""bytes"""\n\n\ndef b():\n    f"""{1}"""\n'
    assert [each.docstring for each in chunk_file("a.py", source.encode(), 10.0).chunks] == ["", ""]


def test_a_syntax_error_hides_only_itself():
    source = "def good():\n    return 1\n\nclass Broken(:\n    pass\n\ndef also_good():\n    return 2\n"
    names = {each.name for each in chunk_file("a.py", source.encode(), 10.0).symbols}
    assert {"good", "also_good"} <= names


def test_windows_line_ends_change_no_docstring():
    source = 'def a():\n    """One.\n\n    Two.\n    """\n'
    unix, windows = (
        chunk_file("a.py", each.encode(), 10.0).chunks[0] for each in (source, source.replace("\n", "\r\n"))
    )
    assert (unix.docstring, unix.signature) == (windows.docstring, windows.signature) == ("One.\n\nTwo.", "def a()")
