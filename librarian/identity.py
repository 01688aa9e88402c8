"""The id of a library: the same for the same repository and branch, whatever it is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable


def default_name(git_url: str) -> str:
    """The repository's own: `click` for https://host/pallets/click.git."""
    last = re.split(r"[/:]", git_url.rstrip("/"))[-1]
    return last.removesuffix(".git") or "repository"


def library_id(git_url: str, branch: str, name: str, there: Iterable[str]) -> str:
    """`there`: ids of the libraries that there are; one of this repository and branch keeps its id."""
    mark = "-" + hashlib.sha256(f"{git_url}\n{branch}".encode()).hexdigest()[:8]
    for known in there:
        if known.endswith(mark):
            return known
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "library"
    return slug + mark
