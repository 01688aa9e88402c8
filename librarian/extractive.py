"""An answer without a language model: what the best sources say of themselves, quoted, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from librarian.citations import visible
from librarian.evidence import Evidence, keywords

MAX_QUOTES = 5
MAX_SENTENCES = 2
MAX_LINES = 2
MAX_QUOTE_CHARS = 300
NEARLY_AS_GOOD = 0.4
"""Sources below this share of the best one's relevance are left out."""

NOT_FOUND = "Not found: nothing in this library answers the question well enough. Try other words, or a name."

_PARAGRAPH_END = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(:@])")


def extract(question: str, evidence: Sequence[Evidence]) -> str:
    """Markdown, a list: name and place, signature, and the sentences of its documentation that answer best, of what has
    none the lines. Always as quotes of a place, so that no source speaks with our voice."""
    asked = keywords(question)
    least = NEARLY_AS_GOOD * max((each.source.relevance_score for each in evidence), default=0.0)
    lines = ["From the sources that fit best:"]
    told: set[tuple[str, ...]] = set()
    for number, each in enumerate(evidence[: 2 * MAX_QUOTES], start=1):
        quotes = _quotes(each, asked)
        if each.source.relevance_score < least or tuple(quotes) in told or len(told) == MAX_QUOTES:
            continue
        told.add(tuple(quotes))
        source = each.source
        place = f"{source.file_path}:{source.start_line}-{source.end_line}"
        shown = " · ".join(_quoted(quote) for quote in quotes)
        lines.append(f"- {_quoted(source.qualified_name)} in {_quoted(place)}: {shown} [{number}]")
    return "\n".join(lines)


def _quotes(evidence: Evidence, asked: set[str]) -> list[str]:
    signature = [evidence.signature] if evidence.signature else []
    if evidence.docstring:
        return signature + _best(_sentences(evidence.docstring), asked, MAX_SENTENCES)
    lines = [line.strip() for line in evidence.text.splitlines() if any(character.isalnum() for character in line)]
    head = evidence.signature.replace(" ", "")
    others = [line for line in lines if line.rstrip("{: ").replace(" ", "") not in head] if head else lines
    return signature + _best(others, asked, MAX_LINES)


def _sentences(text: str) -> list[str]:
    paragraphs = (" ".join(paragraph.split()) for paragraph in _PARAGRAPH_END.split(text))
    sentences = [sentence for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph)]
    return [each for each in sentences if any(character.isalnum() for character in each) and not each.startswith(":")]


def _best(pieces: list[str], asked: set[str], count: int) -> list[str]:
    """Those with most of the question's words, the first of equals, in their order."""
    ranked = sorted(range(len(pieces)), key=lambda number: -len(asked & keywords(pieces[number])))
    return [pieces[number] for number in sorted(ranked[:count])]


def _quoted(text: str) -> str:
    plain = re.sub(r"\s+", " ", visible(text)).replace("`", "'").strip()
    cut = plain if len(plain) <= MAX_QUOTE_CHARS else plain[: MAX_QUOTE_CHARS - 1] + "…"
    return f"`{cut}`"
