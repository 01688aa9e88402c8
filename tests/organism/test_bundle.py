"""The organism's folder, packed and unpacked."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from organism import bundle
from organism.bundle import pack, unpack, unpacked_folder
from organism.errors import BundleError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "hello"
    _write(root, "organism.yaml", "organism: {name: hello}\n")
    _write(root, "handlers/__init__.py", "")
    _write(root, "handlers/hello.py", "x = 1\n")
    return root


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def _zip(**files: str) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def test_what_is_packed_is_unpacked(folder):
    digest, content = pack(folder)
    unpacked = unpack(content, digest)
    assert unpacked.name == digest
    assert (unpacked / "handlers" / "hello.py").read_text() == "x = 1\n"
    assert _names(content) == ["handlers/__init__.py", "handlers/hello.py", "organism.yaml"]


def test_equal_folders_give_equal_bundles(folder, tmp_path):
    other = tmp_path / "other"
    for name in ("handlers/hello.py", "organism.yaml", "handlers/__init__.py"):
        _write(other, name, (folder / name).read_text())
    os.utime(other / "organism.yaml", (0, 0))
    (other / "organism.yaml").chmod(0o600)
    assert pack(other) == pack(folder)


def test_any_change_gives_another_digest(folder):
    before = pack(folder).digest
    _write(folder, "handlers/hello.py", "x = 2\n")
    changed = pack(folder).digest
    (folder / "handlers" / "hello.py").rename(folder / "handlers" / "hallo.py")
    assert len({before, changed, pack(folder).digest}) == 3


def test_secrets_databases_and_what_can_be_made_again_stay_at_home(folder):
    before = pack(folder)
    for name in (
        ".env", ".env.local", ".git/HEAD", ".venv/bin/x", ".organism/organism.db", "node_modules/a/b.js",
        "handlers/__pycache__/hello.pyc", "data.db", "data.db-wal", "data.sqlite3", "envs/mine/pyvenv.cfg",
        "envs/mine/lib/x.py",
    ):  # fmt: skip
        _write(folder, name, "secret")
    assert pack(folder) == before


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "again.py").symlink_to(folder / "handlers" / "hello.py")
    (folder / "more").symlink_to(folder / "handlers")
    names = _names(pack(folder).content)
    assert {"again.py", "more/hello.py"} < set(names)


@pytest.mark.parametrize("target", ["/etc/hostname", "..", "nowhere", "loop"])
def test_a_link_out_of_the_folder_or_to_nowhere_is_refused(folder, target):
    (folder / "loop").symlink_to(target)
    with pytest.raises(BundleError, match="loop"):
        pack(folder)


def test_a_link_to_a_folder_around_it_is_refused(folder):
    (folder / "handlers" / "up").symlink_to(folder)
    with pytest.raises(BundleError, match="a folder that it lies in"):
        pack(folder)


def test_a_link_does_not_carry_secrets_out(folder):
    _write(folder, ".env", "A=1")
    before = pack(folder)
    (folder / "settings").symlink_to(folder / ".env")
    assert pack(folder) == before


def test_a_folder_too_large_is_told_with_its_largest_files(folder, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    _write(folder, "model.bin", "x" * 2000)
    with pytest.raises(BundleError, match=r"the largest files are model\.bin"):
        pack(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleError, match="is no folder"):
        pack(tmp_path / "nowhere")


def test_pipes_and_sockets_are_left_out(folder):
    before = pack(folder)
    os.mkfifo(folder / "pipe")
    assert pack(folder) == before


def test_a_name_that_is_no_utf8_is_refused(folder):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(BundleError, match="cannot travel"):
        pack(folder)


def test_unpacking_twice_is_unpacking_once(folder):
    digest, content = pack(folder)
    first = unpack(content, digest)
    made = (first / "organism.yaml").stat().st_ino
    assert unpack(content, digest) == first
    assert (first / "organism.yaml").stat().st_ino == made


def test_a_file_that_was_cleaned_away_comes_back(folder):
    digest, content = pack(folder)
    (unpack(content, digest) / "handlers" / "hello.py").unlink()
    assert (unpack(content, digest) / "handlers" / "hello.py").is_file()


def test_many_unpack_at_a_time(folder):
    for number in range(50):
        _write(folder, f"module_{number}.py", "x")
    digest, content = pack(folder)
    with ThreadPoolExecutor(16) as threads:
        targets = set(threads.map(lambda _: _unpack_and_count(content, digest), range(64)))
    assert targets == {53}
    assert [each.name for each in unpacked_folder().iterdir()] == [digest]


def _unpack_and_count(content: bytes, digest: str) -> int:
    return sum(each.is_file() for each in unpack(content, digest).rglob("*"))


def test_processes_unpack_at_a_time(folder, tmp_path):
    digest, content = pack(folder)
    (tmp_path / "bundle.zip").write_bytes(content)
    code = (
        "import pathlib, sys; from organism.bundle import unpack; "
        "unpack(pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2])"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    arguments = [sys.executable, "-c", code, str(tmp_path / "bundle.zip"), digest]
    running = [subprocess.Popen(arguments, env=environment) for _ in range(3)]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    assert [each.name for each in unpacked_folder().iterdir()] == [digest]


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "a\\..\\evil.py"])
def test_a_bundle_that_would_write_elsewhere_is_refused(name):
    content, digest = _zip(**{name: "x"})
    with pytest.raises(BundleError, match="outside"):
        unpack(content, digest)
    assert not any(unpacked_folder().iterdir())


def test_a_bundle_with_a_link_in_it_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with pytest.raises(BundleError, match="outside"):
        unpack(buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest())


def test_a_bundle_of_another_digest_is_refused(folder):
    with pytest.raises(BundleError, match="digest"):
        unpack(pack(folder).content, "0" * 64)


def test_what_is_no_zip_is_refused():
    with pytest.raises(BundleError, match="no zip"):
        unpack(b"x", hashlib.sha256(b"x").hexdigest())


def test_a_zip_that_grows_beyond_the_limit_is_refused(folder, monkeypatch):
    digest, content = pack(folder)
    monkeypatch.setattr(bundle, "MAX_BYTES", 10)
    with pytest.raises(BundleError, match="unpacks to more"):
        unpack(content, digest)


def test_only_the_user_can_read_what_is_unpacked(folder):
    digest, content = pack(folder)
    assert unpack(content, digest).parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_somebody_else_has_put_there_is_refused(folder, tmp_path):
    unpacked_folder().symlink_to(tmp_path)
    digest, content = pack(folder)
    with pytest.raises(BundleError, match="belongs to somebody else"):
        unpack(content, digest)
