"""Go: methods with their receivers, grouped declarations, generics."""

from librarian.chunker import chunk_file

SOURCE = """// Package a does things.
package a

// T holds.
type T[K any] struct {
	// A is explained.
	A, b int
	*Embedded
}

type (
	// I does.
	I interface {
		Do(x int) error
	}
	Alias = string
)

type Handler func(int)

// M does.
func (t *T[K]) M(x int) error { return nil }

func (T) N() {}

func Gen[A any](x A) A { return x }

const (
	// First is first.
	First = iota
	Second
)

const Z, Y = 1, 2

var (
	ErrA = 1
	_ I = (*T)(nil)
)
"""


def test_functions_methods_and_types_are_chunks():
    found = chunk_file("a.go", SOURCE.encode(), 3.0).chunks
    assert [(each.chunk_type, each.qualified_name) for each in found if each.chunk_type not in ("module", "block")] == [
        ("class", "T"),
        ("class", "I"),
        ("class", "Alias"),
        ("class", "Handler"),
        ("method", "T.M"),
        ("method", "T.N"),
        ("function", "Gen"),
    ]


def test_fields_constants_and_variables_are_symbols():
    found = {
        each.qualified_name: (each.kind, each.declaration) for each in chunk_file("a.go", SOURCE.encode(), 3.0).symbols
    }
    expected = {
        "T": ("struct", False),
        "T.A": ("field", False),
        "T.b": ("field", False),
        "I": ("interface", False),
        "I.Do": ("method", True),
        "Alias": ("type", False),
        "Handler": ("type", False),
        "First": ("constant", False),
        "Second": ("constant", False),
        "Y": ("constant", False),
        "ErrA": ("variable", False),
        "T.M": ("method", False),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "_" not in found


def test_signatures_and_comments():
    found = {each.qualified_name: each for each in chunk_file("a.go", SOURCE.encode(), 3.0).chunks}
    assert (found["T"].signature, found["T"].docstring) == ("type T[K any] struct", "T holds.")
    assert (found["T.M"].signature, found["T.M"].docstring) == ("func (t *T[K]) M(x int) error", "M does.")
    assert (found["I"].signature, found["I"].docstring) == ("I interface", "I does.")


def test_an_error_of_the_grammar_hides_nothing():
    found = chunk_file("a.go", b"package a\nconst ( A = iota; B )\nfunc f() {}\n", 3.0)
    assert {"A", "B", "f"} <= {each.name for each in found.symbols}
