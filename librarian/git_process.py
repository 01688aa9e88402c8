"""Runs git so that neither the repository, its server nor this machine's own configuration can make it do more.

Every setting comes from one file that is written here (git's "global" configuration; there is no system one), because
what runs on the other end of a file:// URL, git-upload-pack, takes no `-c`. Secrets come in through variables, where
no other user sees them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import resource
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from librarian.config import GitCredential, IngestLimits, SourceRules
from librarian.errors import LibraryStorageError, SourceRefused, SourceUnavailable
from librarian.git_url import GitUrl

NO_GIT = "the program git cannot be started; install git 2.37 or newer"
_PINS_SINCE = (2, 37)
_MAX_STDERR_BYTES = 64_000
_READ_BYTES = 1 << 18
_SMALL_FILES_BYTES = 1 << 24

_INHERITED = (
    "PATH", "TMPDIR", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_EXEC_PATH",
    "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "LD_LIBRARY_PATH",
)  # fmt: skip
"""Where programs, keys, certificates and the operator's proxy are."""

_HARMLESS_FAULTS = (
    "zeroPaddedFilemode", "badTimezone", "missingSpaceBeforeDate", "fullPathname", "hasDot", "hasDotdot", "hasDotgit",
    "treeNotSorted", "duplicateEntries", "gitmodulesUrl", "gitmodulesPath", "gitmodulesName", "gitmodulesParse",
    "gitmodulesUpdate", "gitmodulesSymlink", "nullSha1", "emptyName",
)  # fmt: skip
"""Faults of old histories, and traps for work trees and submodules, of which a library has none."""


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What git said. truncated: it was stopped because it said more than allowed."""

    returncode: int
    stdout: bytes
    stderr: str
    truncated: bool = False


def base_environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """No configuration but the file `gitconfig` in `home` if there is one, no prompts, no hooks."""
    config = home / "gitconfig"
    return {
        **{name: environ[name] for name in _INHERITED if name in environ},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": str(config) if config.exists() else os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "none",
    }


def source_environment(
    url: GitUrl, addresses: Sequence[str], rules: SourceRules, environ: Mapping[str, str], home: Path
) -> dict[str, str]:
    """For commands that talk to the repository at `url`. Writes `home`/gitconfig.

    Raises SourceRefused, LibraryStorageError.
    """
    try:
        (home / "gitconfig").write_text(_configuration(url), encoding="utf-8")
    except OSError as error:
        raise LibraryStorageError(str(home), error.strerror or str(error)) from error
    settings: list[tuple[str, str]] = []
    if url.scheme == "https":
        if addresses:
            pinned = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
            settings.append(("http.curloptResolve", f"{url.host}:{url.port}:{pinned}"))
        settings += _credentials(url, rules.credentials, environ)
    environment = base_environment(environ, home)
    environment["GIT_ALLOW_PROTOCOL"] = url.scheme
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for position, (key, value) in enumerate(settings):
        environment[f"GIT_CONFIG_KEY_{position}"] = key
        environment[f"GIT_CONFIG_VALUE_{position}"] = value
    if url.scheme == "ssh":
        environment["GIT_SSH_COMMAND"] = _ssh_command(url, addresses)
        environment["GIT_SSH_VARIANT"] = "ssh"
    return environment


async def run_git(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path,
    limits: IngestLimits,
    stdin: bytes = b"",
    max_stdout_bytes: int = 64_000_000,
    watch: Callable[[], Awaitable[None]] | None = None,
) -> GitOutput:
    """One git command in `folder`. `watch` runs beside it, and what it raises stops the command.

    However this ends, also by cancellation, git and all that it started are dead afterwards.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "git", *arguments, cwd=folder, env=dict(environment), start_new_session=True, limit=_READ_BYTES,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        raise SourceUnavailable("git", NO_GIT) from None
    try:
        _limit_resources(process.pid, limits)
        return await _communicate(process, stdin, max_stdout_bytes, watch)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def check_git_can_pin(url: GitUrl, environment: Mapping[str, str], folder: Path, limits: IngestLimits) -> None:
    """An older git would ignore the addresses to connect to. Raises SourceRefused."""
    output = await run_git(["version"], environment, folder=folder, limits=limits)
    found = re.search(rb"(\d+)\.(\d+)", output.stdout)
    if found is None or (int(found[1]), int(found[2])) < _PINS_SINCE:
        raise SourceRefused(url.url, "git is too old to read from the network safely; install git 2.37 or newer")


async def _communicate(
    process: asyncio.subprocess.Process,
    stdin: bytes,
    max_stdout_bytes: int,
    watch: Callable[[], Awaitable[None]] | None,
) -> GitOutput:
    watching = asyncio.ensure_future(watch()) if watch else None
    try:
        talking = asyncio.ensure_future(_talk(process, stdin, max_stdout_bytes))
        try:
            await asyncio.wait({talking, watching} if watching else {talking}, return_when=asyncio.FIRST_COMPLETED)
            if watching and watching.done() and not talking.done():
                watching.result()
            return await talking
        finally:
            await _stop(talking)
    finally:
        if watching:
            await _stop(watching)


async def _stop(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _talk(process: asyncio.subprocess.Process, stdin: bytes, max_stdout_bytes: int) -> GitOutput:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process.stdin, stdin))
        errors = group.create_task(_read(process.stderr, _MAX_STDERR_BYTES, keep_reading=True))
        stdout, truncated = await _read(process.stdout, max_stdout_bytes, keep_reading=False)
        if truncated:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    returncode = await process.wait()
    return GitOutput(returncode, stdout, errors.result()[0].decode("utf-8", "replace"), truncated)


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    if stream.is_closing():  # git has ended already: uvloop, which Ray runs actors in, raises RuntimeError for a write
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
        stream.close()
        await stream.wait_closed()


async def _read(stream: asyncio.StreamReader, max_bytes: int, *, keep_reading: bool) -> tuple[bytes, bool]:
    """The first `max_bytes` and whether there were more; the rest is thrown away, or left where it is."""
    kept = bytearray()
    truncated = False
    while piece := await stream.read(_READ_BYTES):
        kept += piece[: max_bytes - len(kept)] if len(kept) + len(piece) > max_bytes else piece
        truncated = truncated or len(kept) >= max_bytes
        if truncated and not keep_reading:
            break
    return bytes(kept), truncated


def _limit_resources(pid: int, limits: IngestLimits) -> None:
    """A second bound behind the watched size of the folder, and where the system has no prlimit none. Inherited."""
    if not hasattr(resource, "prlimit"):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        largest = 2 * limits.max_clone_bytes + _SMALL_FILES_BYTES
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, largest))


def _configuration(url: GitUrl) -> str:
    faults = "\n".join(f"\t{fault} = ignore" for fault in _HARMLESS_FAULTS)
    # The path is quoted as git's configuration wants it. Only git-upload-pack is run there, which is made for
    # repositories that nobody vouches for.
    safe = (
        f'[safe]\n\tdirectory = "{_escaped(url.path)}"\n\tdirectory = "{_escaped(url.path / ".git")}"\n'
        if url.path
        else ""
    )
    return (
        "[core]\n\thooksPath = /dev/null\n\tfsync = none\n\taskPass = false\n\tfsmonitor = false\n"
        "[transfer]\n\tfsckObjects = true\n\tcredentialsInUrl = die\n"
        f"[fetch]\n\tfsckObjects = true\n[fetch \"fsck\"]\n{faults}\n"
        "[credential]\n\thelper =\n"
        "[http]\n\tfollowRedirects = false\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 20\n\tsslVerify = true\n"
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[submodule]\n\trecurse = false\n"
        "[pack]\n\twindow = 0\n\twriteReverseIndex = false\n[uploadpack]\n\tallowFilter = true\n"
        "[protocol]\n\tversion = 2\n[init]\n\tdefaultBranch = main\n" + safe
    )  # fmt: skip


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")


def _credentials(
    url: GitUrl, credentials: Sequence[GitCredential], environ: Mapping[str, str]
) -> list[tuple[str, str]]:
    for credential in credentials:
        if credential.host.lower() != url.host:
            continue
        token = environ.get(credential.token_env, "")
        if not token:
            problem = f"the environment variable {credential.token_env} of librarian.credentials is not set"
            raise SourceRefused(url.url, problem)
        basic = base64.b64encode(f"{credential.username}:{token}".encode()).decode()
        return [(f"http.https://{url.host}:{url.port}/.extraHeader", f"Authorization: Basic {basic}")]
    return []


def _ssh_command(url: GitUrl, addresses: Sequence[str]) -> str:
    """Host keys must be known (ssh-keyscan HOST >> ~/.ssh/known_hosts): nobody is there to look at a new one."""
    options = {
        "BatchMode": "yes", "StrictHostKeyChecking": "yes", "ConnectTimeout": "20", "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3", "ForwardAgent": "no", "ClearAllForwardings": "yes", "PermitLocalCommand": "no",
        "CheckHostIP": "no", "ControlMaster": "no", "ControlPath": "none",
    }  # fmt: skip
    if addresses:
        options |= {"HostName": addresses[0], "HostKeyAlias": str(url.host)}
    return shlex.join(
        ["ssh", "-F", os.devnull, *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    )
