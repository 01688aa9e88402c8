import pytest

from librarian.path_kinds import OLDER_VERSION, PathKinds

CODE = "src/engine/walker.py"


def factors(paths, *keywords):
    return dict(zip(paths, PathKinds(paths).factors(keywords).tolist(), strict=True))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("tests/walker.py", "test"),
        ("src/engine/test_walker.py", "test"),
        ("pkg/walker_test.go", "test"),
        ("lib/walker.test.mts", "test"),
        ("src/tests.rs", "test"),
        ("src/main/WalkerTest.java", "test"),
        ("base/walker_test.cc", "test"),
        ("benches/walk.rs", "benchmark"),
        ("examples/walk.c", "example"),
        ("docs_src/walk.py", "example"),
        ("third_party/zlib/inflate.c", "vendored"),
        ("api/walker.pb.go", "generated"),
        ("dist/walker.min.js", "generated"),
        ("pkg/_compat.py", "legacy"),
        ("src/locales/fr.ts", "translation"),
        ("types/walker.d.ts", "typing"),
        ("README.md", "prose"),
        ("package.json", "data"),
        (".github/build.yml", "data"),
    ],
)
def test_kinds_are_told_by_the_path(path, kind):
    kinds = PathKinds([CODE, path])
    assert kinds.of(1) == [kind]
    assert kinds.of(0) == []
    code, other = kinds.factors(()).tolist()
    assert code == 1.0 > other


@pytest.mark.parametrize(
    "path",
    [
        "src/latest.py",
        "src/contest/rules.py",
        "output/walker.cc",
        "src/inspect.py",
        "testing.py",
        "src/Latest.java",
        "CMakeLists.txt",
        "a/lang/b.py",
    ],
)
def test_names_that_only_look_alike_are_code(path):
    assert PathKinds([path]).of(0) == []


def test_a_query_that_asks_for_a_kind_lifts_its_penalty():
    paths = [CODE, "tests/test_walker.py", "examples/walk.py"]
    found = factors(paths, "test", "walk")
    assert found["tests/test_walker.py"] == 1.0 > found["examples/walk.py"]


def test_of_versions_side_by_side_the_latest_is_meant():
    paths = ["pkg/v1/api.ts", "pkg/v2/api.ts", "pkg/v10/api.ts", "pkg/other.ts"]
    assert [path for path, factor in factors(paths).items() if factor == 1.0] == ["pkg/v10/api.ts", "pkg/other.ts"]


def test_a_version_that_the_query_names_is_meant():
    paths = ["pkg/v1/api.ts", "pkg/v2/api.ts"]
    assert factors(paths, "v1") == pytest.approx({"pkg/v1/api.ts": 1.0, "pkg/v2/api.ts": OLDER_VERSION})


def test_a_version_alone_is_not_old():
    assert factors(["pkg/v1/api.ts", "pkg/api.ts"]) == {"pkg/v1/api.ts": 1.0, "pkg/api.ts": 1.0}


def test_a_header_steps_back_behind_its_implementation_only():
    found = factors(["include/list.h", "src/list.c", "include/only.h"])
    assert found["include/list.h"] < found["src/list.c"] == found["include/only.h"] == 1.0


def test_no_files_have_no_factors():
    assert PathKinds([]).factors(()).shape == (0,)
