"""Java: types in types, records, enums, annotations; javadoc and annotations belong to what follows."""

from librarian.chunker import chunk_file

SOURCE = """package a.b;
import x.y;

/** Holds things. */
@Anno("x")
public abstract class Store<T> extends Base implements Api {
  /** How many. */
  public static final int MAX = 3, MIN = 2;
  private int size;
  static { boot(); }
  /** Makes one. */
  public Store(int size) { this.size = size; }

  /**
   * Gets it.
   *
   * @param x where
   */
  @Override
  public <U> List<U> get(int x) throws E { return new ArrayList<>() { void hidden() {} }; }
  abstract void later();
  enum Color { RED("x") { void f() {} }, GREEN; private Color() {} int m() { return 1; } }
  record Point(int x, int y) { Point { } static int z = 1; }
  interface Inner { int K = 1; void f(); default int g() { return 1; } }
  @interface Note { String value() default ""; }
}
class Other {}
"""


def test_types_and_methods_are_chunks_however_deep():
    found = chunk_file("Store.java", SOURCE.encode(), 3.0).chunks
    assert [(each.chunk_type, each.qualified_name) for each in found if each.chunk_type not in ("module", "block")] == [
        ("class", "Store"),
        ("method", "Store.Store"),
        ("method", "Store.get"),
        ("method", "Store.later"),
        ("class", "Store.Color"),
        ("method", "Store.Color.RED.f"),
        ("method", "Store.Color.Color"),
        ("method", "Store.Color.m"),
        ("class", "Store.Point"),
        ("method", "Store.Point.Point"),
        ("class", "Store.Inner"),
        ("method", "Store.Inner.f"),
        ("method", "Store.Inner.g"),
        ("class", "Store.Note"),
        ("method", "Store.Note.value"),
        ("class", "Other"),
    ]


def test_fields_and_constants_are_symbols():
    found = {
        each.qualified_name: (each.kind, each.declaration)
        for each in chunk_file("S.java", SOURCE.encode(), 3.0).symbols
    }
    expected = {
        "Store": ("class", False),
        "Store.MAX": ("constant", False),
        "Store.MIN": ("constant", False),
        "Store.size": ("field", False),
        "Store.later": ("method", True),
        "Store.Color": ("enum", False),
        "Store.Color.GREEN": ("constant", False),
        "Store.Inner": ("interface", False),
        "Store.Inner.K": ("constant", False),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_signatures_and_javadoc():
    found = {each.qualified_name: each for each in chunk_file("S.java", SOURCE.encode(), 3.0).chunks}
    store, get = found["Store"], found["Store.get"]
    assert store.docstring == "Holds things."
    assert store.signature == ("public abstract class Store<T> extends Base implements Api")
    assert get.docstring.splitlines()[0].strip() == "Gets it."
    assert get.signature == ("public <U> List<U> get(int x) throws E")
    assert (get.start_line, get.end_line) == (14, 20)
