"""The embedder that the configuration names."""

from __future__ import annotations

from collections.abc import Mapping

from librarian.config import EmbedderChoice
from librarian.embedder.base import Embedder
from librarian.embedder.hashing import HashingEmbedder
from librarian.embedder.minilm_static import open_minilm_static
from librarian.embedder.openai import OpenAiEmbedder
from librarian.errors import InvalidRequest


def open_embedder(choice: EmbedderChoice, environ: Mapping[str, str]) -> Embedder:
    """
    Raises:
        InvalidRequest: no such provider, or a setting that it needs is missing.
        EmbedderUnavailable: the key or the file of vectors is missing.
    """
    match choice.provider:
        case "minilm-static":
            return open_minilm_static()
        case "hashing":
            return HashingEmbedder(choice.dim or 256)
        case "openai":
            return OpenAiEmbedder(choice, environ)
    problem = f"no provider {choice.provider!r}; there are minilm-static, hashing, openai"
    raise InvalidRequest("librarian.embedder.provider", problem)
