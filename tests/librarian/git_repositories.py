"""Small git repositories for tests, made without a work tree: any path and mode can be in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

IDENTITY = "Ada Lovelace <ada@example.org> 1700000000 +0000"
REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = "100644", "100755", "120000", "160000"


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Runs git in `folder`, without the configuration of whoever runs the tests; its output, stripped."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return (
        subprocess.run(["git", *arguments], cwd=folder, input=stdin, env=environment, check=True, capture_output=True)
        .stdout.decode()
        .strip()
    )


def empty_repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main")
    return folder


def commit_files(folder: Path, files: Mapping[str, bytes], branch: str = "main") -> str:
    """Commits exactly `files` to the branch; the commit's id."""
    return commit_entries(folder, ((REGULAR, path, data) for path, data in files.items()), branch)


def commit_entries(folder: Path, entries: Iterable[tuple[str, str, bytes]], branch: str = "main") -> str:
    """(mode, path, content) of each; the content of a submodule is the id of its commit."""
    lines = [f"commit refs/heads/{branch}\ncommitter {IDENTITY}\ndata 4\nmade\ndeleteall\n".encode()]
    for mode, path, data in entries:
        if mode == SUBMODULE:
            lines.append(b"M %s %s %s\n" % (mode.encode(), data, _quoted(path)))
        else:
            lines.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), _quoted(path), len(data), data))
    git(folder, "fast-import", "--quiet", "--force", stdin=b"".join(lines))
    return git(folder, "rev-parse", f"refs/heads/{branch}")


def commit_tree(folder: Path, tree: bytes, branch: str = "main") -> str:
    """Commits a tree given as git stores it, which may hold what git itself would never write; the commit's id."""
    tree_id = git(folder, "hash-object", "--literally", "-t", "tree", "-w", "--stdin", stdin=tree)
    data = f"tree {tree_id}\nauthor {IDENTITY}\ncommitter {IDENTITY}\n\nmade\n".encode()
    commit = git(folder, "hash-object", "-t", "commit", "-w", "--stdin", stdin=data)
    git(folder, "update-ref", f"refs/heads/{branch}", commit)
    return commit


def blob(folder: Path, data: bytes) -> str:
    return git(folder, "hash-object", "-w", "--stdin", stdin=data)


def tree_entry(mode: str, name: bytes, object_id: str) -> bytes:
    return mode.encode() + b" " + name + b"\0" + bytes.fromhex(object_id)


def _quoted(path: str) -> bytes:
    raw = path.encode("utf-8", "surrogateescape")
    return (
        b'"'
        + b"".join(b"\\%03o" % byte if byte < 33 or byte > 126 or byte in b'"\\' else bytes([byte]) for byte in raw)
        + b'"'
    )
