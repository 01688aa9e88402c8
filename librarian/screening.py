"""Which files of a repository stay out of a library, and why.

Reasons, one short word each:

    bad_path       a name with control or invisible characters, `..`, or that is no UTF-8
    path_too_long  longer than `limits.max_path_bytes`
    too_large      larger than `limits.max_file_bytes`
    empty          nothing, or nothing but white space
    secret_file    kept for its secrets: `.env`, private keys, key stores, credentials of tools
    vendored       other people's code, in a folder made for that
    generated      written by a program, by its name (lock files, protobuf) or by what its first lines say
    minified       code that was packed for browsers
    binary         no text in an encoding that keeps ASCII (UTF-16 and UTF-32 count as binary; Latin-1 is text)
    lfs            the pointer to a file that Git LFS keeps elsewhere
    data           many records in a notation for data, or a drawing: nothing that anybody would read here
    long_lines     a line longer than `limits.max_line_chars`

A path is judged before the file is read, its content after. Both are asked for each file of a repository, so they
are cheap: look-ups in sets first, one pass over the bytes later.
"""

from __future__ import annotations

import re

from librarian.config import IngestLimits


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VENDOR_FOLDERS = _words(
    "vendor _vendor vendored third_party third-party thirdparty 3rdparty node_modules bower_components jspm_packages "
    "web_modules pods carthage godeps site-packages dist-packages __pycache__ .venv .yarn .pnpm-store .git .svn .hg "
    ".tox .nox .gradle .bundle"
)
PACKAGE_ROOTS = frozenset({"java", "kotlin", "scala", "groovy"})
"""Below these a folder is a part of a package's name, and may well be called `vendor`."""

SECRET_NAMES = _words(
    ".env .envrc .npmrc .pypirc .netrc _netrc .htpasswd .pgpass .my.cnf .dockercfg .git-credentials .s3cfg .boto "
    "id_rsa id_dsa id_ecdsa id_ed25519 credentials.json"
)
SECRET_SUFFIXES = (".pem", ".p12", ".pfx", ".ppk", ".jks", ".keystore", ".kdbx", ".key", ".asc", ".gpg")
SECRET_PATHS = (".aws/credentials", ".docker/config.json", ".kube/config", ".config/gcloud/credentials.db")
ENV_TEMPLATES = frozenset({"example", "sample", "template", "dist", "defaults"})

LOCK_FILES = _words(
    "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lockb bun.lock deno.lock composer.lock "
    "gemfile.lock cargo.lock poetry.lock pdm.lock uv.lock pipfile.lock go.sum go.work.sum mix.lock pubspec.lock "
    "podfile.lock package.resolved flake.lock conan.lock gradle.lockfile .terraform.lock.hcl"
)
GENERATED_SUFFIXES = (
    ".pb.go", ".pb.gw.go", ".pb.cc", ".pb.h", ".pb.rs", "_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb.js", "_pb.d.ts",
    "_pb.ts", "_grpc_pb.js", ".g.dart", ".freezed.dart", ".designer.cs", ".g.cs", ".generated.ts", ".generated.js",
    ".generated.go", ".generated.cs", "_generated.go", "_generated.h", "_generated.rs", "_generated.ts",
    ".js.map", ".css.map", ".mjs.map", ".cjs.map", ".d.ts.map", ".snap", ".tsbuildinfo",
)  # fmt: skip
MINIFIED_SUFFIXES = (".min.js", ".min.mjs", ".min.cjs", ".min.css", "-min.js", "-min.css", ".bundle.js")

BINARY_SUFFIXES = _words(
    "png jpg jpeg jpe gif bmp ico icns webp avif tif tiff psd ai eps heic xcf sketch fig pdf ps doc docx xls xlsx ppt "
    "pptx odt ods odp zip gz tgz bz2 xz zst 7z rar tar jar war ear whl egg deb rpm apk ipa dmg iso img exe dll so "
    "dylib a lib o obj pdb class pyc pyo pyd wasm bin dat db sqlite sqlite3 mdb parquet feather arrow avro orc npy "
    "npz pkl pickle h5 hdf5 pt pth onnx tflite gguf mp3 mp4 m4a m4v mov avi mkv webm wav flac ogg ogv woff woff2 "
    "ttf otf eot swf blend fbx glb safetensors"
)
MAX_DATA_BYTES = {
    **dict.fromkeys(("json", "json5", "xml", "yaml", "yml", "sql", "po", "pot", "ipynb", "txt", "log"), 200_000),
    **dict.fromkeys(("jsonl", "ndjson", "geojson", "topojson", "csv", "tsv", "har", "plist", "xlf", "resx"), 50_000),
    **dict.fromkeys(("svg", "drawio", "dot", "obj", "stl", "ply", "xib", "storyboard"), 10_000),
}
"""By suffix: beyond this many bytes it is `data`."""

PACKED_SUFFIXES = _words(
    "js mjs cjs jsx ts mts cts tsx css py pyi c h cc cpp cxx hh hpp hxx go rs java php rb cs kt swift scala lua"
)
MAX_AVERAGE_LINE_BYTES = 300
MIN_PACKED_BYTES = 1_000

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
SNIFFED_BYTES = 8_000
HEADER_BYTES = 1_500
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"
MAX_CONTROL_SHARE = 0.05
GENERATED_HEADER = re.compile(
    rb"^[ \t]*(?://|\#|/?\*|--|;|<!--|%|rem\b)[^\n]*(?:"
    rb"(?<![\w.])@generated(?:[ \t]|[^\w.]*$)"  # what code review tools look for
    rb"|generated[ ,:-](?:[^\n]{0,200})\bdo[ ]not[ ](?:edit|modify|change)"
    rb"|\bdo[ ]not[ ](?:edit|modify|change)\b[^\n]{0,100}generated"
    rb"|\bgenerated[ ]by[ ]the[ ]protocol[ ]buffer[ ]compiler"
    rb"|\bthis[ ](?:file|code|source[ ]file)[ ](?:is|was|has[ ]been)[ ](?:auto-?|automatically[ ]|machine[ -])generated"
    rb"|\bautomatically[ ]generated[ ](?:file|code|from|by)"
    rb"|\bautogenerated[ ](?:file|code|from|by)"
    rb")",
    re.IGNORECASE | re.MULTILINE,
)


def skip_by_path(path: str, size: int, limits: IngestLimits) -> str | None:
    """Why a file of `size` bytes is left out without being read; None where it must be read to know."""
    if (problem := _bad_path(path, limits)) is not None:
        return problem
    *folders, name = path.lower().split("/")
    suffix = name.rpartition(".")[2]
    if _keeps_secrets(path.lower(), name):
        return "secret_file"
    if _is_vendored(folders):
        return "vendored"
    if name in LOCK_FILES or name.endswith(GENERATED_SUFFIXES) or name.startswith("zz_generated."):
        return "generated"
    if name.endswith(MINIFIED_SUFFIXES):
        return "minified"
    if suffix in BINARY_SUFFIXES and "." in name:
        return "binary"
    if size == 0:
        return "empty"
    if size > limits.max_file_bytes:
        return "too_large"
    if size > MAX_DATA_BYTES.get(suffix, size):
        return "data"
    return None


def skip_by_content(path: str, data: bytes, limits: IngestLimits) -> str | None:
    """Why a file that `skip_by_path` let pass is left out after all, or None: it belongs into the library."""
    if data.startswith(LFS_POINTER):
        return "lfs"
    if _is_binary(data):
        return "binary"
    if not data.strip():
        return "empty"
    if len(data) > limits.max_file_bytes:
        return "too_large"
    if GENERATED_HEADER.search(data[:HEADER_BYTES]):
        return "generated"
    return _long_lines(path, data, limits)


def _bad_path(path: str, limits: IngestLimits) -> str | None:
    if not path.isprintable() or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return "bad_path"
    return "path_too_long" if len(path.encode()) > limits.max_path_bytes else None


def _keeps_secrets(path: str, name: str) -> bool:
    if name.startswith(".env."):
        return name.rpartition(".")[2] not in ENV_TEMPLATES
    return name in SECRET_NAMES or name.endswith(SECRET_SUFFIXES) or path.endswith(SECRET_PATHS)


def _is_vendored(folders: list[str]) -> bool:
    for folder in folders:
        if folder in PACKAGE_ROOTS:
            return False
        if folder in VENDOR_FOLDERS:
            return True
    return False


def _is_binary(data: bytes) -> bool:
    if b"\0" in data:
        return True
    head = data[:SNIFFED_BYTES]
    return len(head) - len(head.translate(None, CONTROL_BYTES)) > len(head) * MAX_CONTROL_SHARE


def _long_lines(path: str, data: bytes, limits: IngestLimits) -> str | None:
    lines = data.splitlines()
    packed = len(data) > MIN_PACKED_BYTES and len(data) > len(lines) * MAX_AVERAGE_LINE_BYTES
    if packed and path.lower().rpartition(".")[2] in PACKED_SUFFIXES:
        return "minified"
    longest = max(lines, key=len)
    # Only a line with that many bytes can have that many characters.
    if len(longest) > limits.max_line_chars and len(longest.decode("utf-8", "replace")) > limits.max_line_chars:
        return "long_lines"
    return None
