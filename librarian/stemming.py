"""Word stems, so that "compilation", "compiling" and "compiled" are one search term.

The algorithm is M. F. Porter's, "An algorithm for suffix stripping", Program 14(3), 1980, written down here as tables
of suffixes. Its measure m counts the vowel-consonant sequences of a stem.
"""

from __future__ import annotations

import re
from functools import lru_cache

STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
}  # fmt: skip
STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip

_SEQUENCE = re.compile(r"V+C+")
_FORMS = str.maketrans("abcdefghijklmnopqrstuvwxz", "VCCCVCCCVCCCCCVCCCCCVCCCC")


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a word in lower case; words of fewer than three letters, or with others than a-z, are their own."""
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    word = _without_plural(word)
    word = _without_tense(word)
    if word.endswith("y") and "V" in _form(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, STEP_2)
    word = _replaced(word, STEP_3)
    word = _without_suffix(word)
    return _without_final_e(word)


def _form(part: str) -> str:
    """V for each vowel, C for each consonant; y is a vowel behind a consonant."""
    form = part.translate(_FORMS)
    while "y" in form:
        place = form.index("y")
        kind = "V" if place and form[place - 1] == "C" else "C"
        form = form[:place] + kind + form[place + 1 :]
    return form


def _measure(part: str) -> int:
    return len(_SEQUENCE.findall(_form(part)))


def _ends_short(part: str) -> bool:
    """Consonant, vowel, consonant, the last none of w, x, y: "hop", not "snow"."""
    return _form(part).endswith("CVC") and part[-1] not in "wxy"


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _without_tense(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            part = word[: -len(suffix)]
            return _mended(part) if "V" in _form(part) else word
    return word


def _mended(part: str) -> str:
    """What "ed" or "ing" was taken from: "hopp" is "hop", "fil" is "file"."""
    if part.endswith(("at", "bl", "iz")):
        return part + "e"
    if len(part) > 1 and part[-1] == part[-2] and _form(part)[-1] == "C" and part[-1] not in "lsz":
        return part[:-1]
    return part + "e" if _measure(part) == 1 and _ends_short(part) else part


def _replaced(word: str, suffixes: dict[str, str]) -> str:
    for length in range(min(7, len(word)), 1, -1):
        suffix = word[-length:]
        if suffix in suffixes:
            part = word[:-length]
            return part + suffixes[suffix] if _measure(part) else word
    return word


def _without_suffix(word: str) -> str:
    for length in range(min(5, len(word)), 1, -1):
        suffix = word[-length:]
        if suffix in STEP_4:
            part = word[:-length]
            taken = _measure(part) > 1 and (suffix != "ion" or part[-1] in "st")
            return part if taken else word
    return word


def _without_final_e(word: str) -> str:
    if word.endswith("e"):
        part = word[:-1]
        if _measure(part) > 1 or (_measure(part) == 1 and not _ends_short(part)):
            word = part
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
