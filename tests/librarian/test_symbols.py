import pytest

from librarian.symbols import SymbolLookup, likeliest_file
from tests.librarian.searchable import tables_of

FILES = {
    "core/gate.py": "class Gate:\n    def open_wide(self):\n        pass\n\n\ndef gate_keeper():\n    pass\n",
    "core/fence.py": "class Fence:\n    def open_wide(self):\n        pass\n\n\nclass Gateway:\n    pass\n",
    "tests/test_gate.py": "class Gate:\n    pass\n",
}


@pytest.fixture(scope="module")
def lookup():
    tables = tables_of(FILES)
    names = tables.symbols["qualified_name"].to_pylist()
    paths = [
        tables.files["path"][tables.chunks["file"][chunk].as_py()].as_py()
        for chunk in tables.symbols["chunk"].to_pylist()
    ]
    table = SymbolLookup(tables)
    return lambda q, limit=10: [(names[row], paths[row]) for row in table.find(q, limit)]


def test_a_name_comes_before_its_beginning_and_that_before_what_holds_it(lookup):
    assert [name for name, _ in lookup("Gate")] == ["Gate", "Gate", "Gateway", "gate_keeper", "Gate.open_wide"]


def test_code_comes_before_tests(lookup):
    assert [path for _, path in lookup("Gate", 2)] == ["core/gate.py", "tests/test_gate.py"]


def test_a_qualified_name_finds_its_own(lookup):
    assert lookup("Fence.open_wide", 1) == [("Fence.open_wide", "core/fence.py")]
    assert lookup("Fence::open_wide", 1) == [("Fence.open_wide", "core/fence.py")]


@pytest.mark.parametrize("q", ["gate_keeper", "gatekeeper", "GateKeeper", "gk", "gtkeep"])
def test_a_name_is_found_by_other_spellings_initials_and_letters(lookup, q):
    assert lookup(q)[0][0] == "gate_keeper"


def test_nothing_asked_lists_all_and_nonsense_finds_none(lookup):
    assert len(lookup("", 100)) == 8 - 1
    assert lookup("xyzzy") == []


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["tests/test_gate.py", "src/very/deep/down/gate.py"], "src/very/deep/down/gate.py"),
        (["src/deep/gate.py", "src/gate.py"], "src/gate.py"),
        (["b.py", "a.py"], "a.py"),
        (["tests/only.py"], "tests/only.py"),
    ],
)
def test_of_namesakes_code_with_the_shortest_path_is_meant(paths, expected):
    assert likeliest_file(paths) == expected
