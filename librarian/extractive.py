"""An answer without a language model: what the best sources say of themselves, quoted, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from librarian.citations import visible
from librarian.evidence import Evidence, keywords

MAX_QUOTES = 5
MAX_LINES = 2
MAX_QUOTE_CHARS = 300
NOT_FOUND = "Not found: nothing in this library answers the question well enough. Try other words, or a name."


def extract(question: str, evidence: Sequence[Evidence]) -> str:
    """Markdown, a list of quotes. Always as quotes of a place, so that no source speaks with our voice."""
    asked = keywords(question)
    lines = ["From the sources that fit best:"]
    for number, each in enumerate(evidence[:MAX_QUOTES], start=1):
        source = each.source
        quote = " · ".join(_quoted(line) for line in _best_lines(each.text, asked))
        lines.append(f"- {_quoted(source.qualified_name)} in {_quoted(source.file_path)}: {quote} [{number}]")
    return "\n".join(lines)


def _best_lines(text: str, asked: set[str]) -> list[str]:
    """The two with most of the question's words, the first of equals, in their order."""
    lines = [line.strip() for line in text.splitlines() if any(character.isalnum() for character in line)]
    ranked = sorted(range(len(lines)), key=lambda number: -len(asked & keywords(lines[number])))
    return [lines[number] for number in sorted(ranked[:MAX_LINES])]


def _quoted(text: str) -> str:
    plain = re.sub(r"\s+", " ", visible(text)).replace("`", "'").strip()
    cut = plain if len(plain) <= MAX_QUOTE_CHARS else plain[: MAX_QUOTE_CHARS - 1] + "…"
    return f"`{cut}`"
