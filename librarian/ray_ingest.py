"""Large repositories, analyzed by all workers of a Ray cluster: packs → one fused map → rows of Arrow bytes.

Workers read the blobs themselves, so the folder of the repository must be where all of them can read it: on one
machine it is; on several, `librarian.root` must be on a disk that they share.
"""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data

from librarian.embedder.base import Embedder
from librarian.embedder.opening import open_embedder
from librarian.errors import LibrarianError
from librarian.packs import AnalyzedPack, Pack, Work, analyze_pack
from librarian.parts import part_from_bytes, part_to_bytes
from librarian.values import FileError, Skipped

RESULT = pa.schema(
    [
        ("files", pa.int32()),
        ("part", pa.large_binary()),
        ("skipped", pa.string()),
        ("errors", pa.string()),
        ("failure", pa.binary()),
    ]
)


def analyze_on_ray(packs: Sequence[Pack], work: Work, workers: int | None = None) -> Generator[AnalyzedPack]:
    """Blocks; in any order. Closing it drops what is left. Ray must be running; a worker that is killed is replaced,
    and its packs are analyzed again. Where no CPU is free for a worker, this process does it.

    Args:
        workers: at most so many at once; None: one per CPU of the cluster.

    Raises:
        EmbedderUnavailable
        SourceUnavailable
    """
    if not packs:
        return
    if ray.available_resources().get("CPU", 0) < 1:  # agents hold all of them, perhaps for good
        embedder = _embedder(work.embedder, tuple(work.environ.items()))
        yield from (analyze_pack(pack, work, embedder) for pack in packs)
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"files": json.dumps(pack.files)} for pack in packs]
    found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        functools.partial(_analyze_batch, work=work), batch_size=1, batch_format="pyarrow", concurrency=workers
    )
    batches = iter(found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    with closing(cast("Generator[pa.Table]", batches)) as tables:  # else the work goes on until it is collected
        for table in tables:
            for row in table.to_pylist():
                if row["failure"] is not None:
                    raise pickle.loads(row["failure"])
                yield _from_row(row)


def _analyze_batch(batch: pa.Table, work: Work) -> pa.Table:
    try:
        embedder = _embedder(work.embedder, tuple(work.environ.items()))
        rows = [_to_row(analyze_pack(_pack(files), work, embedder)) for files in batch["files"].to_pylist()]
    except LibrarianError as error:  # raised, it would arrive wrapped, without its type
        rows = [{"failure": pickle.dumps(error)}]
    return pa.Table.from_pylist(rows, schema=RESULT)


@functools.lru_cache(1)
def _embedder(choice: Any, environ: tuple[tuple[str, str], ...]) -> Embedder:
    """Opened once in each worker's process."""
    return open_embedder(choice, dict(environ))


def _pack(files: str) -> Pack:
    return Pack(tuple((path, blob_id) for path, blob_id in json.loads(files)))


def _to_row(pack: AnalyzedPack) -> dict[str, Any]:
    return {
        "files": pack.files,
        "part": part_to_bytes(pack.part),
        "skipped": json.dumps([asdict(each) for each in pack.skipped]),
        "errors": json.dumps([asdict(each) for each in pack.errors]),
    }


def _from_row(row: dict[str, Any]) -> AnalyzedPack:
    return AnalyzedPack(
        row["files"],
        part_from_bytes(row["part"]),
        [Skipped(**each) for each in json.loads(row["skipped"])],
        [FileError(**each) for each in json.loads(row["errors"])],
    )
