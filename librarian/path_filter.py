"""Which paths a filter lets through: patterns as in .gitignore, without negation."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOKEN = re.compile(r"\*\*/|/\*\*|\*\*|\*|\?|\[[^\]]+\]|.", re.DOTALL)
_MEANING = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def path_pattern(patterns: Sequence[str]) -> re.Pattern[str]:
    """Matches, with fullmatch, the paths that one of the patterns names, or that lie in a folder it names.

    A pattern with a slash before its end starts at the root of the repository, another one matches at any depth.
    """
    return re.compile("|".join(_expression(pattern) for pattern in patterns))


def _expression(pattern: str) -> str:
    body = pattern.removeprefix("./").rstrip("/")
    anchored = "/" in body
    meaning = "".join(_MEANING.get(token) or _literal(token) for token in _TOKEN.findall(body.lstrip("/")))
    return f"{'' if anchored else '(?:.*/)?'}{meaning}(?:/.*)?"


def _literal(token: str) -> str:
    if len(token) > 2 and token.startswith("["):
        inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(token)
