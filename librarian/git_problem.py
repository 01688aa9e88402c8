"""What git says when it fails, in sentences that tell what to do, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from librarian.errors import LibrarianError, LibraryStorageError, SourceUnavailable
from librarian.git_process import GitOutput
from librarian.git_url import GitUrl, without_credentials

_MAX_QUOTED_CHARS = 300
_AUTHORIZATION = re.compile(r"(?i)(authorization:?\s*)(basic|bearer)?\s*\S+")

_SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"Host key verification failed",
        "the key of host {host} is not known; add it to ~/.ssh/known_hosts (ssh-keyscan)",
    ),
    (
        r"could not read Username|Authentication failed|Permission denied|returned error: 40[13]|"
        r"terminal prompts disabled|unable to read askpass",
        "access denied, or there is no such repository; configure librarian.credentials for host {host}",
    ),
    (
        r"returned error: 30[1278]|unable to update url base from redirection",
        "the server redirects; give the final URL",
    ),
    (
        r"repository '.*' not found|returned error: 404|[Rr]epository not found",
        "there is no such repository",
    ),
    (r"does not appear to be a git repository|not a git repository", "there is no git repository in that place"),
    (r"dubious ownership", "the repository belongs to another user, and git refuses to read it"),
    (r"transport '.*' not allowed", "its protocol is not allowed"),
    (r"Could not resolve host", "the host {host} has no address; check its name"),
    (
        r"Failed to connect|Connection refused|Connection timed out|Couldn't connect|No route to host|"
        r"Network is unreachable",
        "the host {host} does not answer",
    ),
    (r"SSL certificate|certificate verif|server certificate|CAfile", "the certificate of host {host} is not trusted"),
    (r"Operation too slow|transfer closed|early EOF|unexpected disconnect|hung up", "the connection broke; send again"),
    (r"fsck error|fsck_error|broken object|bad object", "the repository is damaged: git refuses what it holds"),
)


def git_error(url: GitUrl, output: GitOutput, environment: Mapping[str, str]) -> LibrarianError:
    """LibraryStorageError where this machine's disk is to blame, SourceUnavailable otherwise."""
    if "No space left on device" in output.stderr:
        return LibraryStorageError(environment.get("HOME", "the folder for copies"), "the disk is full")
    return SourceUnavailable(url.url, git_problem(url, output, environment))


def git_problem(url: GitUrl, output: GitOutput, environment: Mapping[str, str]) -> str:
    """One sentence; the words of git where no rule knows better."""
    for pattern, sentence in _SENTENCES:
        if re.search(pattern, output.stderr):
            return sentence.format(host=url.host or "this machine")
    if output.returncode < 0:
        return f"git was stopped by signal {-output.returncode}"
    said = " ".join(masked(output.stderr, environment).split())[:_MAX_QUOTED_CHARS]
    return f"git failed with status {output.returncode}: {said or 'it said nothing'}"


def masked(text: str, environment: Mapping[str, str]) -> str:
    """Without the secrets that git was given and without what looks like one."""
    for name, value in environment.items():
        if name.startswith("GIT_CONFIG_VALUE_") and "Authorization" in value:
            text = text.replace(value.rpartition(" ")[2], "***")
    return without_credentials(_AUTHORIZATION.sub(r"\1***", text))
