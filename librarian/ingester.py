"""Changes libraries: ingests, their jobs, deletion. One process at a time for a root folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from librarian.config import EmbedderChoice, SourceRules
from librarian.values import Job


class Ingester:
    """A LibraryIngester (ref.py).

        async with Ingester(root="…", rules=…, embedder=EmbedderChoice(), environ=os.environ) as ingester:
            await ingester.ingest(git_url, None, None)

    root, cache_folder: as of Reader. on_progress: told of each change of a job, in the event loop, at most a few times
    a second for one job; must not block. analyze_large: what analyzes large repositories, `ray_ingest.analyze_packs`;
    None: every repository in this process.
    """

    def __init__(
        self,
        *,
        root: str,
        rules: SourceRules,
        embedder: EmbedderChoice,
        environ: Mapping[str, str],
        on_progress: Callable[[Job], None] | None = None,
        analyze_large: Any = None,
        cache_folder: str | None = None,
    ) -> None: ...
