"""Keeps an answer's citations true while it is being written: [n] of no source is removed, and so is every link."""

from __future__ import annotations

import re

NUMBERS = re.compile(r"[ \t]?\[[ \t]*\d+(?:[ \t]*,[ \t]*\d+)*[ \t]*\]")
LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)")
TAIL = re.compile(r"\]\([^()\n]*\)?")
REFERENCE = re.compile(r"!?\[([^\[\]\n]*)\]\[[^\[\]\n]*[^\d\[\], \t\n][^\[\]\n]*\]")
DEFINITION = re.compile(r"^[ \t]*\[[^\[\]\n]*\]:[^\n]*", re.MULTILINE)
URL = re.compile(r"<?\b(?:[a-z][a-z0-9+.-]*://|www\.|data:|javascript:)[^\s<>`\"')\]]*>?", re.IGNORECASE)
TAG = re.compile(r"</?[a-z][^<>\n]*>", re.IGNORECASE)
INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Zero width and bidirectional characters and tags: what a reader does not see, or sees elsewhere (Trojan Source)."""

MAX_HELD_CHARS = 4_000


def visible(text: str) -> str:
    return INVISIBLE.sub("", text)


class CitationFilter:
    """Takes the pieces of an answer, gives back what may be shown. sources: texts cited as [1], [2], …, whose URLs
    may be repeated. What comes out is the same however the answer was cut, but for lines over MAX_HELD_CHARS."""

    def __init__(self, sources: list[str]) -> None:
        self._count = len(sources)
        self._known_urls = {
            match.group().strip("<>").rstrip(".,;:") for text in sources for match in URL.finditer(text)
        }
        self._held = ""
        self.cited: set[int] = set()

    def feed(self, delta: str) -> str:
        """Whole lines only: nothing that is cleaned goes over the end of one."""
        self._held += visible(delta)
        end = self._held.rfind("\n") + 1
        if not end and len(self._held) > MAX_HELD_CHARS:
            end = self._held.rfind(" ", 0, self._held.rfind("[") if "[" in self._held else None) + 1
            end = end or len(self._held)
        ready, self._held = self._held[:end], self._held[end:]
        return self._clean(ready)

    def end(self) -> str:
        ready, self._held = self._held, ""
        return self._clean(ready)

    def _clean(self, text: str) -> str:
        # Until nothing changes: what one removal joins together may be the next thing to remove.
        while True:
            cleaned = DEFINITION.sub("", text)
            cleaned = TAIL.sub("]", REFERENCE.sub(r"\1", LINK.sub(r"\1", cleaned)))
            cleaned = TAG.sub("", URL.sub(self._url, cleaned))
            cleaned = NUMBERS.sub(self._citation, cleaned)
            if cleaned == text:
                break
            text = cleaned
        self.cited |= {int(number) for match in NUMBERS.finditer(text) for number in re.findall(r"\d+", match.group())}
        return text

    def _citation(self, match: re.Match[str]) -> str:
        found = match.group()
        numbers = [number for number in re.findall(r"\d+", found) if self._is_source(number)]
        space = found[: len(found) - len(found.lstrip())]
        return f"{space}[{', '.join(str(int(number)) for number in numbers)}]" if numbers else ""

    def _is_source(self, number: str) -> bool:
        return len(number) <= 6 and 1 <= int(number) <= self._count

    def _url(self, match: re.Match[str]) -> str:
        found = match.group()
        return found if found.strip("<>").rstrip(".,;:") in self._known_urls else "(link removed)"
