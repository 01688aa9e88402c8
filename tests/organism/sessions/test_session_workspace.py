import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.errors import FileNotInWorkspace, PathRefused
from organism.sessions.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    (tmp_path / "work-secret").mkdir()
    (tmp_path / "work-secret" / "key.txt").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    return root


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace(root)


OUTSIDE = [
    "../outside.txt",
    "..",
    "../work-secret/key.txt",
    "a/../../outside.txt",
    "./../outside.txt",
    "..//outside.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "..\\outside.txt",
    "a\\..\\..\\outside.txt",
    "C:\\secret",
    "x\x00y",
    "../outside.txt\x00.md",
    "a" * 300,
    "a/" * 3000,
    "\udcff",
]


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_paths_that_leave_the_workspace_are_refused_everywhere(workspace, path, tmp_path):
    for use in (
        workspace.resolve,
        workspace.info,
        workspace.exists,
        workspace.listing,
        lambda each: workspace.read_bytes(each, 100),
        lambda each: workspace.write_text(each, "x"),
        lambda each: list(workspace.walk(each)),
    ):
        with pytest.raises(PathRefused) as refused:
            use(path)
        assert str(tmp_path) not in str(refused.value)
    assert (tmp_path / "outside.txt").read_text() == "secret"


@pytest.mark.parametrize("path", ["%2e%2e%2foutside.txt", "..%2foutside.txt", "%2e%2e/outside.txt", "..%5coutside.txt"])
def test_encoded_separators_are_names_like_any_other(workspace, path):
    with pytest.raises(FileNotInWorkspace):
        workspace.info(path)


def test_an_absolute_path_into_the_prefix_twin_is_refused(workspace, tmp_path):
    with pytest.raises(PathRefused):
        workspace.read_text(f"{tmp_path}/work-secret/key.txt", 100)


@pytest.mark.parametrize("target", ["../outside.txt", "../work-secret", "/etc"])
def test_symbolic_links_that_lead_out_are_refused_and_not_listed(workspace, root, target):
    (root / "link").symlink_to(target)
    with pytest.raises(PathRefused):
        workspace.info("link")
    with pytest.raises(PathRefused):
        workspace.read_text("link/key.txt" if target == "../work-secret" else "link", 100)
    with pytest.raises(PathRefused):
        workspace.write_text("link", "x")
    assert workspace.listing() == []
    assert workspace.search("link") == []


def test_links_that_stay_inside_work(workspace, root):
    (root / "real").mkdir()
    (root / "real" / "a.txt").write_text("hello")
    (root / "link").symlink_to("real")
    assert workspace.read_text("link/a.txt", 100) == "hello"
    workspace.write_text("link/a.txt", "new")
    assert (root / "real" / "a.txt").read_text() == "new"
    assert [each.path for each in workspace.walk()] == ["link", "real", "real/a.txt"]


def test_a_circle_of_links_ends(workspace, root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "self").symlink_to(".")
    with pytest.raises(PathRefused):
        workspace.info("a")
    assert [each.path for each in workspace.walk()] == ["self"]


def swap_after_check(monkeypatch, swap):
    """Runs `swap` once, after the real path has been checked and before anything is opened."""
    check = Workspace.resolve
    state = {"swapped": False}

    def resolve(self, path):
        real = check(self, path)
        if not state["swapped"]:
            state["swapped"] = True
            swap()
        return real

    monkeypatch.setattr(Workspace, "resolve", resolve)


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_link_swapped_in_for_the_file_after_the_check_is_not_followed(workspace, root, tmp_path, monkeypatch, write):
    (root / "a.txt").write_text("mine")

    def swap():
        (root / "a.txt").unlink()
        (root / "a.txt").symlink_to(tmp_path / "outside.txt")

    swap_after_check(monkeypatch, swap)
    with pytest.raises((PathRefused, FileNotInWorkspace)):
        workspace.write_text("a.txt", "x") if write else workspace.read_text("a.txt", 100)
    assert (tmp_path / "outside.txt").read_text() == "secret"


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_link_swapped_in_for_a_directory_after_the_check_is_not_followed(
    workspace, root, tmp_path, monkeypatch, write
):
    (root / "d").mkdir()
    (root / "d" / "key.txt").write_text("mine")

    def swap():
        (root / "d").rename(root / "elsewhere")
        (root / "d").symlink_to(tmp_path / "work-secret")

    swap_after_check(monkeypatch, swap)
    with pytest.raises((PathRefused, FileNotInWorkspace)):
        workspace.write_text("d/key.txt", "x") if write else workspace.read_text("d/key.txt", 100)
    assert (tmp_path / "work-secret" / "key.txt").read_text() == "secret"


def test_pipes_sockets_and_devices_are_refused_without_waiting(workspace, root, monkeypatch):
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("pipe", "socket"):
            with pytest.raises(PathRefused):
                workspace.info(name)
            with pytest.raises(PathRefused):
                workspace.read_bytes(name, 100)
            with pytest.raises(PathRefused):
                workspace.write_text(name, "x")
        assert workspace.listing() == []


def test_a_missing_root_is_an_empty_workspace_until_the_first_write(tmp_path):
    workspace = Workspace(tmp_path / "later" / "work")
    assert workspace.info(".").type == "directory"
    assert workspace.listing() == []
    assert workspace.search("x") == []
    assert not workspace.exists("a.txt")
    assert workspace.write_text("deep/a.txt", "hello").path == "deep/a.txt"
    assert workspace.read_text("deep/a.txt", 100) == "hello"


def test_listing_has_folders_first_then_names(workspace, root):
    for name in ("b.txt", "a.txt"):
        (root / name).write_text("x")
    (root / "z").mkdir()
    assert [(each.name, each.type) for each in workspace.listing()] == [
        ("z", "directory"),
        ("a.txt", "file"),
        ("b.txt", "file"),
    ]
    assert [each.name for each in workspace.listing(max_entries=1)] == ["z"]


def test_info_tells_size_time_and_relative_path(workspace, root):
    (root / "d").mkdir()
    (root / "d" / "a.txt").write_text("hello")
    entry = workspace.info("d/./a.txt")
    modified = (root / "d" / "a.txt").stat().st_mtime_ns // 1_000_000
    assert entry == ("a.txt", "file", 5, modified, "d/a.txt")


def test_a_path_below_a_file_is_not_there(workspace, root):
    (root / "a.txt").write_text("x")
    with pytest.raises(FileNotInWorkspace):
        workspace.info("a.txt/b")
    with pytest.raises(FileNotInWorkspace):
        workspace.write_text("a.txt/b", "x")


def test_what_cannot_be_read_says_why(workspace, root):
    (root / "big").write_text("x" * 101)
    (root / "binary").write_bytes(b"a\x00b")
    (root / "latin").write_bytes(b"\xe9t\xe9")
    (root / "d").mkdir()
    for path, reason in (
        ("big", "larger than 100"),
        ("binary", "binary"),
        ("latin", "UTF-8"),
        ("d", "directory"),
        (".", "directory"),
    ):
        with pytest.raises(PathRefused, match=reason):
            workspace.read_text(path, 100)
    for path in ("d", "."):
        with pytest.raises(PathRefused, match="directory"):
            workspace.write_text(path, "x")


def test_writing_replaces_at_once_keeps_permissions_and_leaves_nothing_behind(workspace, root):
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o750)
    with (root / "run.sh").open() as reader:
        workspace.write_text("run.sh", "new")
        assert reader.read() == "old"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750
    assert [each.name for each in root.iterdir()] == ["run.sh"]


def test_text_that_is_not_unicode_is_refused(workspace, root):
    with pytest.raises(PathRefused):
        workspace.write_text("a.txt", "\ud800")
    assert not (root / "a.txt").exists()


def test_search_ranks_names_before_paths_before_letters(workspace, root):
    for path in ("read.py", "src/reader.py", "read/other.py", "r/e/a/d.txt", "node_modules/read.py", ".git/read"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    assert [each.path for each in workspace.search("read", "file")] == [
        "read.py", "src/reader.py", "read/other.py", "r/e/a/d.txt",
    ]  # fmt: skip
    assert [each.path for each in workspace.search("READ", "directory")] == ["read"]
    assert len(workspace.search("", limit=2)) == 2


def test_a_walk_ends_at_its_limit(workspace, root):
    for number in range(10):
        (root / f"{number}.txt").write_text("x")
    assert len(list(workspace.walk(max_entries=4))) == 4


@given(st.text(alphabet=st.sampled_from([".", "/", "a", "\\", "~", "%", " "]), max_size=12))
def test_no_path_leads_out(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp() / "any"
    root.mkdir(exist_ok=True)
    try:
        real = Workspace(root).resolve(path)
    except PathRefused:
        return
    assert real == root or root in real.parents
