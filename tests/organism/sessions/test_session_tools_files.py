import asyncio

import pytest

from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.edit_file import EditFile
from organism.sessions.tools.list_files import ListFiles
from organism.sessions.tools.read_file import ReadFile
from organism.sessions.tools.results import BoundedTool, bounded
from organism.sessions.tools.search_files import SearchFiles
from organism.sessions.tools.write_file import WriteFile
from organism.sessions.workspace import Workspace


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "work"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return root


@pytest.fixture
def context(root):
    return ToolContext("s", Workspace(root))


async def test_read_file_gives_all_or_the_lines_asked_for(context, root):
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    read = ReadFile(1000, 1000)
    assert await read.call({"path": "a.txt"}, context) == "one\ntwo\nthree\n"
    part = await read.call({"path": "a.txt", "first_line": 2, "max_lines": 1}, context)
    assert part == "two\n\n[lines 2 to 2 of 3; read on with first_line 3]"
    with pytest.raises(ToolFailed, match="3 lines"):
        await read.call({"path": "a.txt", "first_line": 9}, context)


async def test_read_file_gives_as_many_lines_as_a_result_may_hold(context, root):
    (root / "a.txt").write_text("12345678\n" * 100)
    text = await ReadFile(10_000, 100).call({"path": "a.txt"}, context)
    assert text.endswith("[lines 1 to 10 of 100; read on with first_line 11]")


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "gone.txt", "."])
async def test_refused_and_missing_files_are_told_without_the_hosts_path(context, path, tmp_path):
    for tool in (ReadFile(1000, 1000), EditFile(1000), WriteFile(1000), SearchFiles(1000)):
        if path in (".", "gone.txt") and isinstance(tool, WriteFile | SearchFiles):
            continue
        arguments = {"path": path, "content": "x", "old_text": "a", "new_text": "b", "query": "x"}
        with pytest.raises(ToolFailed) as failed:
            await tool.call(arguments, context)
        assert str(tmp_path) not in str(failed.value)


async def test_write_file_makes_directories_and_minds_the_size(context, root):
    write = WriteFile(10)
    assert await write.call({"path": "d/a.txt", "content": "hello"}, context) == "wrote 5 bytes to d/a.txt"
    with pytest.raises(ToolFailed, match="at most 10"):
        await write.call({"path": "d/a.txt", "content": "x" * 11}, context)
    assert (root / "d" / "a.txt").read_text() == "hello"


async def test_edit_file_replaces_what_is_there_exactly_once(context, root):
    (root / "a.txt").write_text("a b a")
    edit = EditFile(1000)
    with pytest.raises(ToolFailed, match="2 times"):
        await edit.call({"path": "a.txt", "old_text": "a", "new_text": "x"}, context)
    with pytest.raises(ToolFailed, match="not in the file"):
        await edit.call({"path": "a.txt", "old_text": "z", "new_text": "x"}, context)
    await edit.call({"path": "a.txt", "old_text": "b", "new_text": "x"}, context)
    assert (root / "a.txt").read_text() == "a x a"


async def test_edits_of_one_file_side_by_side_all_stay(context, root):
    (root / "a.txt").write_text(" ".join(f"<{number}>" for number in range(20)))
    edit = EditFile(1000)
    edits = ({"path": "a.txt", "old_text": f"<{n}>", "new_text": f"[{n}]"} for n in range(20))
    await asyncio.gather(*(edit.call(each, context) for each in edits))
    assert "<" not in (root / "a.txt").read_text()


async def test_list_files_lists_flat_and_below(context, root):
    assert await ListFiles().call({}, context) == "(empty)"
    (root / "d").mkdir()
    (root / "d" / "b.txt").write_text("xx")
    (root / "a.txt").write_text("x")
    assert await ListFiles().call({}, context) == "d/\na.txt  1"
    assert await ListFiles().call({"recursive": True}, context) == "d/\na.txt  1\nd/b.txt  2"


async def test_search_files_finds_text_and_expressions(context, root):
    (root / "a.txt").write_text("one\nTwo 22\n")
    (root / "binary").write_bytes(b"two\x00")
    search = SearchFiles(1000)
    assert await search.call({"query": "two"}, context) == "a.txt:2: Two 22"
    assert await search.call({"query": r"\d+$", "is_regex": True}, context) == "a.txt:2: Two 22"
    assert await search.call({"query": r"nine", "is_regex": True}, context) == "nothing found"
    with pytest.raises(ToolFailed, match="no regular expression"):
        await search.call({"query": "(", "is_regex": True}, context)


async def test_an_expression_that_never_ends_does_not_hold_the_loop(context, root, monkeypatch):
    monkeypatch.setattr("organism.sessions.tools.search_files.REGEX_TIMEOUT_S", 0.5)
    (root / "a.txt").write_text("a" * 60 + "!")
    search = asyncio.create_task(SearchFiles(1000).call({"query": "(a+)+$", "is_regex": True}, context))
    ticks = 0
    while not search.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 10
    with pytest.raises(ToolFailed, match="simpler"):
        await search


def test_results_are_cut_and_are_json():
    assert bounded("x" * 100, 10).startswith("x" * 10 + "\n[cut: 90 of 100")
    assert bounded({"a": (1, {2})}, 100) == {"a": [1, [2]]}
    assert bounded(["x" * 100], 10).startswith('["xxx')
    assert bounded("\ud800", 10) == "?"
    with pytest.raises(ToolFailed):
        bounded(object(), 10)


async def test_a_failures_text_is_cut_too(context):
    class Failing:
        spec = ListFiles.spec

        async def call(self, arguments, context):
            raise ToolFailed("x" * 1000)

    with pytest.raises(ToolFailed) as failed:
        await BoundedTool(Failing(), 10).call({}, context)
    assert len(str(failed.value)) < 100
