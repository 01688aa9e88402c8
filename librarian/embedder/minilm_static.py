"""A vector for each piece of a word, distilled from all-MiniLM-L6-v2 by distill.py; a text is their sum.

No model runs and nothing is downloaded: the vectors are a file of the package.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from librarian.embedder.base import Vectors
from librarian.embedder.words import cased_words
from librarian.errors import EmbedderUnavailable

WEIGHTS = Path(__file__).with_name("weights") / "minilm-static.npz"
MAX_WORD_CHARS = 100
"""Longer ones are unknown, as in BERT."""

MAX_REMEMBERED_WORDS = 200_000
BATCH_PIECES = 16_384
"""Pieces whose vectors are gathered at once: 16 MB of 256 dimensions."""


class MiniLmStatic:
    """vocabulary: pieces, those inside a word with ## before them. table: float32 [pieces, dim], already weighted."""

    def __init__(self, vocabulary: Sequence[str], table: Vectors) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        self._table = table
        self._remembered: dict[str, tuple[int, ...]] = {}

    @property
    def name(self) -> str:
        return f"minilm-static-{self.dim}-v1"

    @property
    def dim(self) -> int:
        return self._table.shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        made = np.zeros((len(texts), self.dim), np.float32)
        first = 0
        pieces: list[int] = []
        counts: list[int] = []
        for position, text in enumerate(texts):
            found = self._pieces(text)
            pieces += found
            counts.append(len(found))
            if len(pieces) >= BATCH_PIECES or position == len(texts) - 1:
                made[first : position + 1] = self._sums(pieces, counts)
                first, pieces, counts = position + 1, [], []
        return made

    def embed_query(self, text: str) -> Vectors:
        return self.embed([text])[0]

    def _sums(self, pieces: list[int], counts: list[int]) -> Vectors:
        """Each text is added up by itself, so that its vector is the same in any company."""
        sums = np.zeros((len(counts), self.dim), np.float32)
        gathered = self._table[np.array(pieces, np.int64)]
        for row, (end, count) in enumerate(zip(accumulate(counts), counts, strict=True)):
            if count:
                total = gathered[end - count : end].sum(axis=0)
                length = np.sqrt(np.square(total, dtype=np.float64).sum())
                sums[row] = total / length if length else total
        return sums

    def _pieces(self, text: str) -> list[int]:
        remembered = self._remembered
        found: list[int] = []
        for word in cased_words(text):
            numbers = remembered.get(word)
            if numbers is None:
                if len(remembered) >= MAX_REMEMBERED_WORDS:
                    # Another dict, as another thread may read the old one; forgetting costs time only.
                    self._remembered = remembered = {}
                numbers = remembered[word] = self._split(word.lower())
            found += numbers
        return found

    def _split(self, word: str) -> tuple[int, ...]:
        """The longest known piece first, then the longest of the rest (WordPiece); () where some part is unknown."""
        if len(word) > MAX_WORD_CHARS:
            return ()
        numbers: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._numbers.get(prefix + word[start:end])
                if number is not None:
                    numbers.append(number)
                    start = end
                    break
            else:
                return ()
        return tuple(numbers)


def open_minilm_static(path: Path = WEIGHTS) -> MiniLmStatic:
    """
    Raises:
        EmbedderUnavailable: the file is not there, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            vocabulary = file["vocabulary"].tobytes().decode().split("\n")
            codes, scales = file["codes"], file["scales"]
    except FileNotFoundError:
        raise EmbedderUnavailable(
            "minilm-static",
            f"its file {path.name} is not in this installation; make it from a folder with all-MiniLM-L6-v2 by "
            "`python -m librarian.embedder.distill MODEL_FOLDER librarian/embedder/weights`, or set "
            "librarian.embedder.provider to another one",
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise EmbedderUnavailable("minilm-static", f"its file {path.name} is damaged; install again") from error
    if codes.ndim != 2 or codes.dtype != np.int8 or len(vocabulary) != len(codes) or scales.shape != (len(codes),):
        raise EmbedderUnavailable("minilm-static", f"its file {path.name} is damaged; install again")
    return MiniLmStatic(vocabulary, codes.astype(np.float32) * scales.astype(np.float32)[:, None])
