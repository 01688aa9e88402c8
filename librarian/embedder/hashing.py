"""Vectors from hashes of words and their parts: like texts get like vectors, without any file. For tests."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from librarian.embedder.base import Vectors
from librarian.embedder.words import words


class HashingEmbedder:
    def __init__(self, dim: int = 256) -> None:
        self.dim = dim

    @property
    def name(self) -> str:
        return f"hashing-{self.dim}-v1"

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = [self.embed_query(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_query(self, text: str) -> Vectors:
        vector = np.zeros(self.dim, np.float64)
        for word in words(text):
            for feature in (word, *(f"#{word[start : start + 3]}" for start in range(len(word) - 2))):
                number = crc32(feature.encode())
                vector[(number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        length = np.linalg.norm(vector)
        return (vector / length if length else vector).astype(np.float32)
