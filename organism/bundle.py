"""The organism's folder as one value: packed where organism.yaml lies, unpacked wherever its handlers are needed."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from organism.errors import BundleError

MAX_BYTES = 64 * 1024 * 1024
LARGEST_SHOWN = 5

_EXCLUDED_FOLDERS = {"node_modules", "__pycache__"}
_EXCLUDED_FILES = ("*.pyc", "*.db*", "*.sqlite*")
_TIMESTAMP = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the earliest a zip can hold; the same for all, so that equal folders give equal zips


class Bundle(NamedTuple):
    """A packed folder: `content` is a zip, `digest` the SHA-256 of it in hex. Equal folders give equal bundles."""

    digest: str
    content: bytes


class PackedFile(NamedTuple):
    """A file that belongs to a bundle."""

    name: str  # relative to the folder, with slashes
    path: Path
    size_bytes: int


def pack(folder: Path) -> Bundle:
    """Packs `folder` without hidden files, virtual environments, caches and databases.

    Raises:
        BundleError: the folder cannot be read, is too large, or holds a link that leads out of it.
    """
    if not folder.is_dir():
        raise BundleError(str(folder), "is no folder", "Give the folder of organism.yaml")
    root = folder.resolve()
    try:
        files = packed_files(root)
        _check_size(folder, files)
        content = _zip(files)
    except OSError as error:
        raise BundleError(str(error.filename or folder), f"cannot be read: {error.strerror}", "Check it") from error
    return Bundle(hashlib.sha256(content).hexdigest(), content)


def packed_files(root: Path) -> list[PackedFile]:
    """The files of the folder `root` (an absolute path without links) that a bundle holds, by name."""
    return sorted(_files(root, root, (root,)))


def unpack(content: bytes, digest: str) -> Path:
    """The folder with the files of a bundle; unpacked once for a user and a digest, however many ask at a time.

    Raises:
        BundleError: the content does not belong to the digest, is no bundle, or cannot be written.
    """
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(f"bundle {digest[:12]}", "does not have this digest", "Fetch it again")
    try:
        target = _own_folder(unpacked_folder()) / digest
        with _opened(content, digest) as archive:
            if not _is_complete(target, archive):
                _unpack_to(target, archive)
    except OSError as error:
        place = str(error.filename or unpacked_folder())
        remedy = "Make room there, or set TMPDIR to another folder"
        raise BundleError(place, f"cannot be written: {error.strerror}", remedy) from error
    return target


def unpacked_folder() -> Path:
    """The folder that holds this user's unpacked bundles, each in a folder named by its digest."""
    return Path(tempfile.gettempdir()) / f"organism-bundles-{os.getuid()}"


def _files(root: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[PackedFile]:
    for entry in folder.iterdir():
        if _is_excluded(entry):
            continue
        real = _link_target(root, entry) if entry.is_symlink() else entry.resolve()
        if real is None:
            continue
        if real in above:
            raise BundleError(str(entry), "is a link to a folder that it lies in", "Remove the link")
        if entry.is_dir():
            yield from _files(root, entry, (*above, real))
        elif entry.is_file():
            yield PackedFile(_portable_name(root, entry), entry, entry.stat().st_size)


def _is_excluded(entry: Path) -> bool:
    if entry.name.startswith("."):
        return True
    if entry.is_dir():
        return entry.name in _EXCLUDED_FOLDERS or (entry / "pyvenv.cfg").exists()
    return any(fnmatch(entry.name, pattern) for pattern in _EXCLUDED_FILES)


def _link_target(root: Path, link: Path) -> Path | None:
    """Where a link inside `root` leads, None where that is excluded itself (a link to .env must not carry it out)."""
    remedy = "Put a copy in its place, or remove it"
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise BundleError(str(link), "is a link that leads nowhere", remedy) from error
    if not target.is_relative_to(root):
        raise BundleError(str(link), f"is a link out of the folder, to {target}", remedy)
    on_the_way = [target, *target.parents]
    inside = on_the_way[: on_the_way.index(root)]
    return None if any(_is_excluded(each) for each in inside) else target


def _portable_name(root: Path, entry: Path) -> str:
    name = entry.relative_to(root).as_posix()
    if "\\" in name or not name.isprintable():  # bytes that are no UTF-8 come as surrogates, which do not print
        raise BundleError(repr(name), "has a name that cannot travel", "Rename it with plain characters")
    return name


def _check_size(folder: Path, files: list[PackedFile]) -> None:
    total = sum(each.size_bytes for each in files)
    if total <= MAX_BYTES:
        return
    largest = sorted(files, key=lambda each: each.size_bytes, reverse=True)[:LARGEST_SHOWN]
    named = ", ".join(f"{each.name} ({_megabytes(each.size_bytes)})" for each in largest)
    problem = f"holds {_megabytes(total)}, more than {_megabytes(MAX_BYTES)}; the largest files are {named}"
    raise BundleError(str(folder), problem, "Move them out of the folder, or into a hidden one (.data/)")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.1f} MiB"


def _zip(files: list[PackedFile]) -> bytes:
    """Without compression: deflate gives other bytes with another zlib, and another digest with them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for each in files:
            with suppress(FileNotFoundError):  # an editor's temporary file, gone since it was listed
                content = each.path.read_bytes()
                entry = zipfile.ZipInfo(each.name, _TIMESTAMP)
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    return buffer.getvalue()


@contextmanager
def _opened(content: bytes, digest: str) -> Iterator[zipfile.ZipFile]:
    """The zip, when every name in it stays inside the folder and all of it together within the limit."""
    place, remedy = f"bundle {digest[:12]}", "Make it with organism.bundle.pack"
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise BundleError(place, "is no zip", remedy) from error
    with archive:
        entries = archive.infolist()
        if sum(each.file_size for each in entries) > MAX_BYTES:
            raise BundleError(place, f"unpacks to more than {_megabytes(MAX_BYTES)}", remedy)
        for each in entries:
            path = PurePosixPath(each.filename)
            is_link = (each.external_attr >> 16) & 0o170000 == 0o120000
            if path.is_absolute() or ".." in path.parts or "\\" in each.filename or is_link:
                raise BundleError(place, f"holds {each.filename!r}, which would lie outside of it", remedy)
        yield archive


def _own_folder(folder: Path) -> Path:
    """Makes `folder` for this user alone, and refuses one that somebody else has put there: code is run from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise BundleError(str(folder), "belongs to somebody else", "Remove it, or set TMPDIR to another folder")
    folder.chmod(0o700)
    return folder


def _is_complete(target: Path, archive: zipfile.ZipFile) -> bool:
    """Whether all files are there: cleaners of the temporary folder take away single ones."""
    return target.is_dir() and all(
        (path := target / each.filename).is_file() and path.stat().st_size == each.file_size
        for each in archive.infolist()
    )


def _unpack_to(target: Path, archive: zipfile.ZipFile) -> None:
    """Unpacks beside `target` and renames, so that whoever sees `target` sees all of it."""
    fresh = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        archive.extractall(fresh)
        _put_in_place(fresh, target, archive)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put_in_place(fresh: Path, target: Path, archive: zipfile.ZipFile) -> None:
    while True:
        try:
            fresh.rename(target)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return
        if _is_complete(target, archive):
            return  # somebody else was faster
        _set_aside(target)


def _set_aside(target: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=target.parent))
    with suppress(FileNotFoundError):  # somebody else did it
        target.rename(aside / target.name)
    shutil.rmtree(aside, ignore_errors=True)
