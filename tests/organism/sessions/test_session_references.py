import pytest

from organism.sessions.references import expand, find_references
from organism.sessions.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    root = tmp_path / "work"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "b c.txt").write_text("beta")
    (root / "src" / "one.py").write_text("print(1)")
    (root / "src" / "deep" / "two.py").write_text("print(2)")
    (root / "binary").write_bytes(b"\x00\x01")
    (tmp_path / "secret.txt").write_text("secret")
    return Workspace(root)


async def expanded(query, workspace, max_bytes=1000, max_total_bytes=10_000):
    return await expand(query, workspace, max_bytes=max_bytes, max_total_bytes=max_total_bytes)


@pytest.mark.parametrize("query", ["hello", "me@file:a.txt", "@file: a.txt", "", [{"type": "image_url"}]])
async def test_a_query_without_references_expands_to_nothing(workspace, query):
    assert await expanded(query, workspace) is None


@pytest.mark.parametrize(
    "query",
    ["read @file:a.txt", "(@file:a.txt)", "Is it @file:a.txt?", '@file:"a.txt".',
     [{"type": "text", "text": "@file:a.txt"}]],
    ids=str,
)  # fmt: skip
async def test_a_file_is_told_with_its_text(workspace, query):
    event = await expanded(query, workspace)
    assert event.content == '<file path="a.txt">\nalpha\n</file>'
    assert event.description == "Expanded context from a.txt"
    assert event.metadata == {"references": [{"type": "file", "path": "a.txt", "bytes": 5}]}


async def test_a_quoted_path_may_hold_spaces(workspace):
    assert "beta" in (await expanded('@file:"b c.txt"', workspace)).content


async def test_a_directory_is_told_as_tree_and_files(workspace):
    content = (await expanded("@dir:src", workspace)).content
    assert content.startswith('<directory path="src">\nsrc/deep/\nsrc/one.py\nsrc/deep/two.py')
    assert "print(1)" in content
    assert "print(2)" in content


async def test_each_reference_is_told_once(workspace):
    assert len(find_references("@file:a.txt @file:a.txt")) == 1


@pytest.mark.parametrize("path", ["gone.txt", "../secret.txt", "/etc/passwd", "binary", "src", "a.txt/x"])
async def test_what_cannot_be_read_is_said_and_the_rest_is_told(workspace, path, tmp_path):
    event = await expanded(f"@file:{path} @file:a.txt", workspace)
    assert "error" in event.metadata["references"][0]
    assert "alpha" in event.content
    assert "secret\n" not in event.content
    assert str(tmp_path) not in event.content


async def test_limits_hold_for_each_and_for_all(workspace):
    event = await expanded("@file:a.txt @dir:src", workspace, max_bytes=4)
    assert "larger than 4 bytes" in event.content
    assert "print" not in event.content
    event = await expanded('@file:a.txt @file:"b c.txt" @dir:src', workspace, max_total_bytes=5)
    assert "alpha" in event.content
    assert "beta" not in event.content
    assert event.content.count("left out") == 2
