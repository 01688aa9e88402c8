"""C++ as it is written: templates, methods outside of their class, operators, namespaces behind macros."""

from librarian.chunker import chunk_file

SOURCE = """
LIB_NAMESPACE_BEGIN
namespace outer::inner
{
/// Holds a value.
template <typename T, int N = 3>
class LIB_API Box final : public Base<T> {
 public:
  Box() = default;
  ~Box();
  virtual void draw(int) = 0;
  bool operator==(const Box& other) const { return true; }
  operator bool() const noexcept;
  static constexpr int kMax = 3;
  using value_type = T;
  enum class Color : int { red, green };
  template <class U> U get() const;
  friend std::ostream& operator<<(std::ostream& o, const Box& b) { return o; }
 private:
  int size_;
};
template <typename T, int N> void Box<T, N>::run() { }
Box::~Box() {}
bool Shape::operator<(const Shape& o) { return false; }
class Later;
template <class T> concept Hashable = requires(T a) { a.hash(); };
template <class T> using Vec = std::vector<T>;
inline namespace v1 { void h() {} }
namespace { int hidden() { return 1; } }
}
LIB_NAMESPACE_END
"""


def symbols(source: str) -> dict[str, tuple[str, bool]]:
    return {
        each.qualified_name: (each.kind, each.declaration) for each in chunk_file("a.hpp", source.encode(), 3.0).symbols
    }


def chunks(source: str) -> list[tuple[str, str]]:
    found = chunk_file("a.hpp", source.encode(), 3.0).chunks
    return [(each.chunk_type, each.qualified_name) for each in found if each.chunk_type not in ("module", "block")]


def test_names_are_qualified_with_namespaces_and_classes():
    assert chunks(SOURCE) == [
        ("class", "outer.inner.Box"),
        ("method", "outer.inner.Box.Box"),
        ("method", "outer.inner.Box.operator=="),
        ("class", "outer.inner.Box.Color"),
        ("function", "outer.inner.Box.operator<<"),
        ("method", "outer.inner.Box.run"),
        ("method", "outer.inner.Box.~Box"),
        ("method", "outer.inner.Shape.operator<"),
        ("function", "outer.inner.v1.h"),
        ("function", "outer.inner.hidden"),
    ]


def test_members_aliases_concepts_and_declarations_are_symbols():
    found = symbols(SOURCE)
    expected = {
        "Box": ("class", False),
        "Box.draw": ("method", True),
        "Box.operator bool": ("method", True),
        "Box.kMax": ("field", False),
        "Box.value_type": ("type", False),
        "Box.Color.red": ("constant", False),
        "Box.get": ("method", True),
        "Box.size_": ("field", False),
        "Later": ("class", True),
        "Hashable": ("type", False),
        "Vec": ("type", False),
        "v1": ("namespace", False),
    }
    assert {name: found.get(f"outer.inner.{name}") for name in expected} == expected


def test_signature_and_comment_are_those_of_the_template():
    box = next(each for each in chunk_file("a.hpp", SOURCE.encode(), 3.0).chunks if each.name == "Box")
    assert box.signature == "template <typename T, int N = 3> class LIB_API Box final : public Base<T>"
    assert box.docstring == "Holds a value."


def test_a_class_behind_a_macro_is_a_class():
    source = "LIB_TEMPLATE\nclass thing // explained\n    : public base\n{\n public:\n    LIB_NON_NULL(2)\n"
    source += "    int f() { return 1; }\n};\n"
    assert chunks(source) == [("class", "thing"), ("method", "thing.f")]


def test_lambdas_and_statements_define_nothing():
    assert chunks("void f() {\n  auto g = [](int a) { return a; };\n  if (g(1)) { g(2); }\n}\n") == [("function", "f")]
