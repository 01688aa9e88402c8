"""C as it is written: typedefs, macros, headers cut by the preprocessor, prototypes."""

from librarian.chunker import chunk_file
from librarian.languages.c_conditionals import without_alternatives
from librarian.languages.c_macros import without_macros


def symbols(source: str, path: str = "a.c") -> dict[str, tuple[str, bool]]:
    return {
        each.qualified_name: (each.kind, each.declaration) for each in chunk_file(path, source.encode(), 3.0).symbols
    }


def chunks(source: str, path: str = "a.c") -> list[tuple[str, str]]:
    found = chunk_file(path, source.encode(), 3.0).chunks
    return [(each.chunk_type, each.qualified_name) for each in found if each.chunk_type not in ("module", "block")]


def test_functions_have_name_signature_and_comment():
    (chunk,) = chunk_file(
        "a.c",
        b"/* Opens it.\n * Never fails.\n */\nstatic inline const char *name(struct foo *f)\n{\n  return 0;\n}\n",
        3.0,
    ).chunks
    assert (chunk.chunk_type, chunk.name, chunk.start_line, chunk.end_line) == ("function", "name", 1, 7)
    assert chunk.signature == "static inline const char *name(struct foo *f)"
    assert [line.strip() for line in chunk.docstring.splitlines()] == ["Opens it.", "Never fails."]


def test_old_style_parameters_and_pointers_to_pointers():
    assert chunks("int old(a, b) int a; char b; { return a; }\nchar **list(void) { return 0; }\n") == [
        ("function", "old"),
        ("function", "list"),
    ]


def test_types_are_called_by_the_name_people_use():
    source = """
struct foo { int a; };
enum color { RED, GREEN = 2 };
union u { int i; float f; };
typedef struct node { struct node *next; } node_t;
typedef struct { int x; } point;
typedef int (*callback)(int, void *);
typedef unsigned long size;
struct later;
"""
    assert chunks(source) == [("class", name) for name in ("foo", "color", "u", "node_t", "point")]
    found = symbols(source)
    assert found["foo"] == ("struct", False)
    assert found["foo.a"] == ("field", False)
    assert found["color.GREEN"] == ("constant", False)
    assert found["u"] == ("union", False)
    assert found["node_t"] == ("struct", False)
    assert found["node"] == found["callback"] == found["size"] == ("type", False)
    assert found["later"] == ("struct", True)


def test_macros_variables_and_constants_are_symbols():
    found = symbols(
        "#define MAX 10\n#define SQ(x) ((x)*(x))\nstatic const int table[] = {1};\n"
        "int n;\nextern int m;\nint (*fp)(int);\n"
    )
    assert found == {
        "MAX": ("macro", False),
        "SQ": ("macro", False),
        "table": ("constant", False),
        "n": ("variable", False),
        "m": ("variable", True),
        "fp": ("variable", False),
    }


def test_a_long_macro_is_a_chunk_of_its_own():
    assert chunks("#define EACH(x) \\\n  do { \\\n    f(x); \\\n    g(x); \\\n  } while (0)\n") == [
        ("function", "EACH")
    ]


def test_an_include_guard_defines_nothing():
    assert symbols("#ifndef A_H\n#define A_H\nint f(void);\n#endif\n", "a.h") == {"f": ("function", True)}


def test_prototypes_are_declarations_and_chunks_where_they_are_explained():
    source = "/*\n * Adds.\n */\nEXPORT_API int add(int a, int b);\nvoid plain(void);\n"
    assert symbols(source, "a.h") == {"add": ("function", True), "plain": ("function", True)}
    assert chunks(source, "a.h") == [("function", "add")]


def test_macros_around_declarations_do_not_hide_them():
    source = """
ZEXTERN int ZEXPORT inflate OF((stream *strm, int flush));
LIB_FUNC(int) lib_open(const char *path);
LIB_API(void)
lib_close(int handle);
DWORD WINAPI run(void *arg) { return 0; }
struct PACKED frame { int size; };
"""
    found = symbols(source)
    assert {"inflate", "lib_open", "lib_close"} <= {name for name, kind in found.items() if kind == ("function", True)}
    assert found["run"] == ("function", False)
    assert found["frame"] == ("struct", False)


def test_a_header_that_the_preprocessor_splits_costs_nothing_behind_it():
    source = (
        "#ifdef X\nint cond(int a)\n#else\nint cond(long a)\n#endif\n{\n  return 1;\n}\nint after(void) { return 2; }\n"
    )
    assert chunks(source) == [("function", "cond"), ("function", "after")]
    source = "int f(int a) {\n#ifdef X\n  if (a) {\n#else\n  if (!a) {\n#endif\n    a++;\n  }\n  return a;\n}\n"
    source += "int g(void) { return 2; }\n"
    assert chunks(source) == [("function", "f"), ("function", "g")]


def test_whole_alternatives_are_both_found():
    assert chunks("#ifdef X\nint f(void) { return 1; }\n#else\nint g(void) { return 2; }\n#endif\n") == [
        ("function", "f"),
        ("function", "g"),
    ]


def test_c_plus_plus_guards_do_not_swallow_a_header():
    source = '#ifdef __cplusplus\nextern "C" {\n#endif\nint f(void);\n#ifdef __cplusplus\n}\n#endif\n'
    assert symbols(source, "a.h") == {"f": ("function", True)}


def test_tests_defined_by_macros_are_called_by_their_names():
    source = "DEFINE_HANDLER(read) {\n  check();\n}\n"
    assert chunks(source) == chunks(source, "a.cc") == [("function", "read")]
    assert chunks("TEST(Suite, opens)\n{\n  check();\n}\n", "a.cc") == [("method", "Suite.opens")]


def test_what_is_blanked_changes_no_offset():
    source = b"A_BEGIN\r\nclass A_API B {\r\n};\r\n#if X\r\nint f(int a) {\r\n#else\r\nint f(long a) {\r\n"
    source += b"#endif\r\n}\r\nA_END\r\n"
    for blanked in (without_macros(source), without_alternatives(source, cplusplus=True)):
        assert [len(line) for line in blanked.splitlines(keepends=True)] == [
            len(line) for line in source.splitlines(keepends=True)
        ]
        assert blanked != source


def test_expressions_keep_their_macros():
    source = b"int x = A |\n  FLAG_B\n  | C;\nenum e {\n  RED,\n  GREEN\n};\nint y = f(\n  SIZE_MAX\n);\n"
    assert without_macros(source) == source


def test_signatures_keep_the_macros_of_their_line():
    source = b"/* One.\n * Two. */\nLIB_FUNC(int) lib_open(const char *path);\n"
    (chunk,) = chunk_file("a.h", source, 3.0).chunks
    assert chunk.signature.startswith("LIB_FUNC(int) lib_open(const char *path)")
