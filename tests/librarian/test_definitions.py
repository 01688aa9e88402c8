import pyarrow as pa
import pytest

from librarian.definitions import Definitions, strongest
from librarian.tables import SYMBOLS


def definitions(*rows):
    """Each (qualified name, kind, declaration); the row is the chunk."""
    names = [qualified.replace("::", ".").rpartition(".")[2] for qualified, *_ in rows]
    columns = [
        names,
        [qualified for qualified, *_ in rows],
        [kind for _, kind, *_ in rows],
        list(range(len(rows))),
        [1] * len(rows),
        [2] * len(rows),
        [bool(rest and rest[0]) for _, _, *rest in rows],
    ]
    return Definitions(pa.table(columns, schema=SYMBOLS))


def ranked(known, *symbol):
    credits = known.chunks(symbol)
    return sorted(credits, key=lambda chunk: -credits[chunk])


def test_the_very_spelling_comes_before_others():
    known = definitions(("open_gate", "function"), ("openGate", "function"), ("_openGate", "function"))
    assert ranked(known, "openGate") == [1, 2, 0]


def test_the_implementation_comes_before_the_declaration():
    assert ranked(definitions(("walk", "function", True), ("walk", "function")), "walk") == [1, 0]


def test_a_type_comes_before_a_field_of_its_name():
    assert ranked(definitions(("Shop.Gate", "field"), ("Gate", "class")), "Gate") == [1, 0]


def test_the_named_owner_decides():
    known = definitions(("Door.open", "method"), ("Gate.open", "method"), ("open", "function"))
    assert ranked(known, "Gate", "open")[0] == 1
    assert ranked(known, "open")[0] == 2


@pytest.mark.parametrize("symbol", [("gates",), ("Gate", "missing")])
def test_what_nobody_defines_is_nowhere(symbol):
    assert definitions(("Gate", "class")).chunks(symbol) == {}


def test_of_several_names_the_best_credit_counts():
    assert strongest([{0: 0.5}, {0: 0.75, 2: 1.0}], 3).tolist() == [0.75, 0.0, 1.0]
