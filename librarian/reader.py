"""Reads libraries: search, answers, chunks, files, symbols. Runs in the search replicas, and knows no ingest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from librarian.config import EmbedderChoice


class Reader:
    """A LibraryReader (ref.py). Libraries are opened when first asked for, and again when a new version is published.

        async with Reader(root="…", embedder=EmbedderChoice(), environ=os.environ) as reader:
            await reader.search(…)

    root: folder of the libraries, or URI of one on a pyarrow filesystem (s3://bucket/libraries). cache_folder: where
    copies of a remote root's files are kept; None: below the system's temporary folder. writer: the language model of
    answers (answer.py), None: they are extractive. models: names that a client may ask for. max_memory_bytes: of open
    libraries; the ones that were not asked for longest are closed beyond it.
    """

    def __init__(
        self,
        *,
        root: str,
        embedder: EmbedderChoice,
        environ: Mapping[str, str],
        writer: Any = None,
        models: tuple[str, ...] = (),
        cache_folder: str | None = None,
        max_memory_bytes: int = 2_000_000_000,
    ) -> None: ...
