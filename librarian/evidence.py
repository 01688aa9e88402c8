"""What an answer is made from, and whether it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from librarian.embedder.words import words
from librarian.stemming import stem
from librarian.values import Source

MIN_RELEVANCE = 0.2
MIN_COVERAGE = 0.3
STOP_WORDS = {
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "get", "has", "have",
    "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or", "that", "the", "their",
    "there", "these", "they", "this", "to", "use", "used", "using", "was", "we", "what", "when", "where", "which",
    "who", "why", "will", "with", "work", "works", "you", "your",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """A source with its whole text, and, where it has them, signature and documentation."""

    source: Source
    text: str
    signature: str = ""
    docstring: str = ""


def keywords(question: str) -> set[str]:
    """Stems of the words that say something."""
    return {stem(word) for word in words(question) if word not in STOP_WORDS and len(word) > 1}


def is_enough(question: str, evidence: Sequence[Evidence]) -> bool:
    """Whether the best source is relevant, and the sources together have enough of the question's words."""
    if not evidence or max(each.source.relevance_score for each in evidence) < MIN_RELEVANCE:
        return False
    asked = keywords(question)
    there: set[str] = set()
    for each in evidence:
        there |= asked & keywords(f"{each.source.file_path} {each.source.qualified_name} {each.text}")
    return not asked or len(there) >= MIN_COVERAGE * len(asked)
