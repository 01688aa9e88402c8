"""Measures how well the librarian ranks, without a server, and what each ingredient of its ranking brings.

    python -m benchmarks.retrieval_offline --corpus DIR --annotations DIR [--ablations] [--hold-out] [--calibrate] [-v]

Each repository DIR/NAME with an annotation file NAME.json is cut up, indexed and searched in this process. Scored is
NDCG@10 over the ten chunks as returned; a target is a file, or lines of a file. --hold-out finds the weights on all
repositories but one, measures on that one, for each: an estimate for repositories that nobody has tuned for.
benchmarks/questions has questions about this repository, for a clone of it at DIR/organism.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from librarian import path_kinds, query, ranking, tokens
from librarian.analysis import SourceFile, analyze
from librarian.config import EmbedderChoice
from librarian.embedder.base import Embedder
from librarian.embedder.opening import open_embedder
from librarian.index.base import Ids, Scores, Vectors
from librarian.ranking import Weights
from librarian.relevance import ANSWERABLE
from librarian.search import Searcher
from librarian.tables import Tables, build_tables

TOP = 10
PARSE_TIMEOUT_S = 3.0
STEPS = (0.0, 0.3, 0.6, 1.5, 2.5)
"""What a weight is multiplied by when better ones are looked for."""

MIN_GAIN = 1e-3
KEPT_SHARE = 0.7
"""Of the queries that one of several searches for weights sees; the mean of their results fits no query too well."""

SEARCHES = 3


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    category: str
    targets: list[Any]


@dataclass(frozen=True, slots=True)
class Repository:
    name: str
    tables: Tables
    vectors: NDArray[np.float16]
    questions: list[Question]


class Flat:
    """All vectors in memory, compared one by one."""

    def __init__(self, vectors: NDArray[np.float16]) -> None:
        self._vectors = vectors.astype(np.float32)

    @property
    def size(self) -> int:
        return len(self._vectors)

    def vectors(self, ids: Ids) -> Vectors:
        return self._vectors[ids]

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        ids = np.arange(self.size) if allowed is None else allowed
        scores = self._vectors[ids] @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return ids[order], scores[order]


class Measured:
    """A repository that can be searched, with where its chunks are."""

    def __init__(self, repository: Repository, embedder: Embedder, weights: Weights) -> None:
        tables = repository.tables
        self.repository = repository
        self.searcher = Searcher(tables, Flat(repository.vectors), embedder, weights)
        self._paths: list[str] = tables.files["path"].to_pylist()
        self._files: list[int] = tables.chunks["file"].to_pylist()
        self._starts: list[int] = tables.chunks["start_line"].to_pylist()
        self._ends: list[int] = tables.chunks["end_line"].to_pylist()

    def score(self, question: Question) -> float:
        return self.ndcg(question, [hit.chunk for hit in self.searcher.search(question.text, TOP).hits])

    def ndcg(self, question: Question, chunks: Sequence[int]) -> float:
        """Of TOP chunks, best first. A target is found once, further chunks of it gain nothing."""
        ranks = set()
        for target in question.targets:
            found = (rank for rank, chunk in enumerate(chunks, start=1) if self._is_hit(target, chunk))
            ranks.add(next(found, None))
        gained = sum(1 / math.log2(rank + 1) for rank in ranks if rank is not None)
        return gained / sum(1 / math.log2(rank + 1) for rank in range(1, min(TOP, len(question.targets)) + 1))

    def _is_hit(self, target: str | dict[str, Any], chunk: int) -> bool:
        path = self._paths[self._files[chunk]]
        if isinstance(target, str):
            return path == target
        shares_lines = self._starts[chunk] <= target["end_line"] and target["start_line"] <= self._ends[chunk]
        return path == target["path"] and shares_lines


def read_repository(root: Path, annotations: Path, embedder: Embedder) -> Repository:
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], check=True, capture_output=True).stdout
    paths = [path for path in listed.decode().split("\0") if path]
    sources = [SourceFile(path, "", (root / path).read_bytes()) for path in paths]
    questions = [
        Question(each["query"], each["category"], each["relevant"] + each.get("secondary", []))
        for each in json.loads(annotations.read_text())
    ]
    return Repository(root.name, *build_tables(analyze(sources, embedder, PARSE_TIMEOUT_S)), questions)


def mean(measured: Iterable[Measured], chosen: Mapping[str, set[int]] | None = None) -> float:
    """Mean over repositories. chosen: the questions to ask of each, None for all."""
    means = []
    for each in measured:
        asked = range(len(each.repository.questions)) if chosen is None else chosen[each.repository.name]
        means.append(statistics.mean(each.score(each.repository.questions[number]) for number in asked))
    return statistics.mean(means)


def report(measured: list[Measured], verbose: bool) -> None:
    by_category: dict[str, list[float]] = {}
    latencies_ms: list[float] = []
    for each in measured:
        scores = []
        for question in each.repository.questions:
            start = time.perf_counter()
            scores.append(each.score(question))
            latencies_ms.append((time.perf_counter() - start) * 1e3)
            by_category.setdefault(question.category, []).append(scores[-1])
            if verbose and scores[-1] < 1:
                print(f"    {scores[-1]:.2f}  {question.text}")
        chunks = each.repository.tables.chunks.num_rows
        print(f"{each.repository.name:18} NDCG@10 {statistics.mean(scores):.3f}   {chunks:6,} chunks")
    print(
        "by category        " + "  ".join(f"{name} {statistics.mean(found):.3f}" for name, found in by_category.items())
    )
    print(f"search             p50 {statistics.median(latencies_ms):.2f} ms")
    print(f"mean NDCG@10       {mean(measured):.4f} over {len(measured)} repositories, {len(latencies_ms)} queries")


def only(*names: str) -> Weights:
    kept = {each.name: getattr(Weights(), each.name) if each.name in names else 0.0 for each in fields(Weights)}
    return Weights(**kept)


def ablations(repositories: list[Repository], embedder: Embedder) -> Iterator[tuple[str, float]]:
    """First what is built up, ingredient by ingredient, then what is missing when one is taken away."""

    def measure(weights: Weights) -> float:
        return mean([Measured(each, embedder, weights) for each in repositories])

    with without_kinds(), every_chunk():
        yield "BM25 over chunks", measure(only("chunk_bm25"))
    yield "vectors alone", statistics.mean(by_vectors(Measured(each, embedder, Weights())) for each in repositories)
    with without_kinds():
        yield "BM25, further chunks of a file later", measure(only("chunk_bm25"))
    ladder = ["chunk_bm25"]
    yield "+ kinds of paths", measure(only(*ladder))
    for label, names in LADDER.items():
        ladder += names
        yield f"+ {label}", measure(only(*ladder))
    for label, names in LADDER.items():
        yield f"all without {label}", measure(replace(Weights(), **dict.fromkeys(names, 0.0)))
    with without_kinds():
        yield "all without kinds of paths", measure(Weights())


def by_vectors(measured: Measured) -> float:
    """What the nearest chunks are worth without anything else."""
    index = measured.searcher.signals
    questions = measured.repository.questions
    found = [np.argsort(-index.similarity(each.text), kind="stable")[:TOP].tolist() for each in questions]
    return statistics.mean(measured.ndcg(each, chunks) for each, chunks in zip(questions, found, strict=True))


LADDER = {
    "cover of the query's words": ["chunk_cover"],
    "names of chunks": ["chunk_name"],
    "definitions": ["chunk_definition", "chunk_mention"],
    "the whole file": ["file_bm25", "file_sum", "file_name"],
    "names of files": ["stem_recall", "stem_balance"],
    "folders": ["folder"],
    "vectors": ["chunk_dense"],
}


@contextmanager
def without_kinds() -> Iterator[None]:
    with (
        patch.object(path_kinds, "KINDS", ()),
        patch.object(path_kinds, "OLDER_VERSION", 1.0),
        patch.object(path_kinds, "IMPLEMENTED_HEADER", 1.0),
    ):
        yield


@contextmanager
def every_chunk() -> Iterator[None]:
    with patch.object(ranking, "SAME_FILE", 1.0):
        yield


@contextmanager
def without_stems() -> Iterator[None]:
    tokens.terms_of.cache_clear()
    with patch.object(tokens, "stem", str), patch.object(query, "stem", str):
        yield
    tokens.terms_of.cache_clear()


def tuned(repositories: list[Repository], embedder: Embedder, seed: int) -> Weights:
    """Weights that are better on a random part of the questions, found one after the other."""
    rng = random.Random(seed)
    chosen = {
        each.name: {number for number in range(len(each.questions)) if rng.random() < KEPT_SHARE} or {0}
        for each in repositories
    }
    measured = [Measured(each, embedder, Weights()) for each in repositories]

    def measure(weights: Weights) -> float:
        for each in measured:
            each.searcher.weights = weights
        return mean(measured, chosen)

    names = [each.name for each in fields(Weights)]
    best = Weights(**dict.fromkeys(names, 1.0))  # not ours, which have seen all repositories
    reached = measure(best)
    for name in [*rng.sample(names, len(names)), *rng.sample(names, len(names))]:
        for step in STEPS:
            tried = replace(best, **{name: getattr(best, name) * step})
            if (score := measure(tried)) > reached + MIN_GAIN:
                best, reached = tried, score
    return best


def held_out(repositories: list[Repository], embedder: Embedder) -> Iterator[tuple[str, float]]:
    for left in repositories:
        others = [each for each in repositories if each is not left]
        found = [tuned(others, embedder, seed) for seed in range(SEARCHES)]
        names = [each.name for each in fields(Weights)]
        weights = Weights(**{name: statistics.mean(getattr(each, name) for each in found) for name in names})
        yield left.name, mean([Measured(left, embedder, weights)])


def calibration(measured: list[Measured]) -> Iterator[tuple[str, float]]:
    """How often the best hit is above ANSWERABLE: for questions to their own repository, and to the others."""
    own, others = [], []
    for each in measured:
        for asked in measured:
            for question in asked.repository.questions:
                hits = each.searcher.search(question.text, 1).hits
                (own if asked is each else others).append(bool(hits) and hits[0].score >= ANSWERABLE)
    yield "questions to their own repository", statistics.mean(own)
    yield "questions to another repository", statistics.mean(others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--hold-out", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true", help="questions whose answer is not at the top")
    options = parser.parse_args()

    embedder = open_embedder(EmbedderChoice(), {})
    files = [
        (options.corpus / file.stem, file)
        for file in sorted(options.annotations.glob("*.json"))
        if (options.corpus / file.stem / ".git").is_dir() and (not options.only or file.stem in options.only)
    ]
    repositories = [read_repository(root, file, embedder) for root, file in files]
    measured = [Measured(each, embedder, Weights()) for each in repositories]
    report(measured, options.verbose)
    if options.ablations:
        show("ablations", ablations(repositories, embedder))
        with without_stems():
            unstemmed = [read_repository(root, file, embedder) for root, file in files]
            show(
                "", [("all without stems of words", mean([Measured(each, embedder, Weights()) for each in unstemmed]))]
            )
    if options.hold_out:
        show("held out", held_out(repositories, embedder), with_mean=True)
    if options.calibrate:
        show(f"best hit above {ANSWERABLE}", calibration(measured))


def show(title: str, rows: Iterable[tuple[str, float]], with_mean: bool = False) -> None:
    if title:
        print(f"\n{title}")
    values = []
    for label, value in rows:
        values.append(value)
        print(f"  {label:40} {value:.4f}", flush=True)
    if with_mean:
        print(f"  {'mean':40} {statistics.mean(values):.4f}")


if __name__ == "__main__":
    main()
