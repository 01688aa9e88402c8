"""The seam for embedders: texts in, vectors of length 1 out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Plain, blocking functions: called in a thread or a worker. Threads may share one."""

    @property
    def name(self) -> str:
        """With all that its vectors depend on (provider, model, dim, version): stored with each library."""
        ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [len(texts), dim], each row of length 1 (a text without any known word: zeros).

        Raises:
            EmbedderUnavailable
        """
        ...

    def embed_query(self, text: str) -> Vectors:
        """float32 [dim]; some models embed questions in another way than passages.

        Raises:
            EmbedderUnavailable
        """
        ...
