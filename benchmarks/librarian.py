"""The librarian as clients meet it: through HAProxy, over REST, beside BM25 alone (bm25s) over the same chunks.

    python benchmarks/librarian.py [--json] [--corpus DIR] [--annotations DIR] [--no-lib]

ndcg10                   quality of search, mean over the annotated repositories, as ../shared/bench/retrieval.py counts
bm25_ndcg10              the same of bm25s
search_p50_ms            POST …/search; bm25_p50_ms: bm25s in this process, without any server
search_inner_p50_ms      took_ms of the answers
ingest_mean_s            POST /librarian/libraries of each repository, mean; ingest_max_s: of the slowest
reingest_s               the same repository again, nothing changed; changed_s: one file changed
lib_s, lib_files_per_s   ingest of the standard library of this Python, committed to a repository;
                         lib_1_worker_s: with one Ray worker instead of two
false_citations          of 1,000 random chunks, whose lines are not those of the blob in git

DIR of --corpus is laid out by ../shared/bench/corpus.sh where it is not given, which needs package registries.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import bm25s
import httpx

from benchmarks.api import HOST, free_port, organism

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
TOP = 10
CITATIONS = 1000
INGEST_TIMEOUT_S = 1800.0
ORGANISM = "organism: {name: benchmark, port: 8000}\nlibrarian: {workers: %d}\n"


class Question(NamedTuple):
    """targets: paths, or spans of lines {path, start_line, end_line}."""

    text: str
    targets: list[Any]


class Librarian:
    """Its API."""

    def __init__(self, port: int) -> None:
        self._http = httpx.Client(
            base_url=f"http://{HOST}:{port}/api/v1/librarian", timeout=INGEST_TIMEOUT_S, trust_env=False
        )

    def ingest(self, folder: Path) -> tuple[dict[str, Any], float]:
        """The answer, and how many seconds it took."""
        started_s = time.perf_counter()
        body = {"git_url": f"file://{folder.resolve()}", "library_name": folder.name}
        answer = self._http.post("/libraries", json=body)
        return answer.raise_for_status().json(), time.perf_counter() - started_s

    def search(self, library: str, query: str) -> tuple[dict[str, Any], float]:
        started_s = time.perf_counter()
        answer = self._http.post(f"/libraries/{library}/search", json={"query": query, "max_chunks": TOP})
        return answer.raise_for_status().json(), time.perf_counter() - started_s

    def get(self, path: str) -> dict[str, Any]:
        return self._http.get(path).raise_for_status().json()

    def chunks(self, library: str) -> list[dict[str, Any]]:
        """All of a library, without their content."""
        files = self.get(f"/libraries/{library}")["files"]
        return [chunk for path in files for chunk in self.get(f"/libraries/{library}/files/{path}")["chunks"]]


@contextmanager
def librarian(folder: Path, workers: int = 2) -> Iterator[Librarian]:
    """A running one, both of whose sides are warm."""
    folder.mkdir()
    (folder / "organism.yaml").write_text(ORGANISM % workers)
    port = free_port()
    with organism(folder, port):
        server = Librarian(port)
        small = commit(folder / "small", {"a.py": "def first():\n    return 1\n"})
        deadline_s = time.monotonic() + 60
        made, _ = server.ingest(small)
        while True:
            try:
                server.search(made["library_id"], "first")
                break
            except httpx.HTTPStatusError:  # the replica that searches starts behind the API
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
        yield server


def commit(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Commits these files, or whatever is there, to the repository `folder`."""
    folder.mkdir(exist_ok=True)
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "commit.gpgsign=false", "-C", str(folder)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "benchmark"], check=True)
    return folder


def questions(file: Path) -> list[Question]:
    return [
        Question(entry["query"], [*entry["relevant"], *entry.get("secondary", [])])
        for entry in json.loads(file.read_text())
    ]


def ndcg(targets: Sequence[Any], sources: Sequence[dict[str, Any]]) -> float:
    """Each target counts once, at the rank of the first source that hits it."""
    ranks = {rank for target in targets if (rank := _rank(target, sources[:TOP])) is not None}
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(TOP, len(targets)) + 1))
    return sum(1 / math.log2(rank + 1) for rank in ranks) / ideal


def _rank(target: Any, sources: Sequence[dict[str, Any]]) -> int | None:
    return next((rank for rank, source in enumerate(sources, start=1) if _hits(target, source)), None)


def _hits(target: Any, source: dict[str, Any]) -> bool:
    if isinstance(target, str):
        return source["file_path"] == target
    return (
        source["file_path"] == target["path"]
        and source["start_line"] <= target["end_line"]
        and target["start_line"] <= source["end_line"]
    )


class Bm25:
    """bm25s with its own tokens over the same chunks."""

    def __init__(self, chunks: Sequence[dict[str, Any]], contents: Sequence[str]) -> None:
        self._chunks = chunks
        self._index = bm25s.BM25()
        self._index.index(bm25s.tokenize(list(contents), show_progress=False), show_progress=False)

    def search(self, query: str) -> tuple[list[dict[str, Any]], float]:
        started_s = time.perf_counter()
        tokens = bm25s.tokenize([query], show_progress=False)
        rows, _ = self._index.retrieve(tokens, k=min(TOP, len(self._chunks)), show_progress=False)
        return [self._chunks[row] for row in rows[0]], time.perf_counter() - started_s


class Repository:
    """One of the corpus, in the server and beside it."""

    def __init__(self, server: Librarian, folder: Path) -> None:
        made, self.ingest_s = server.ingest(folder)
        self.id: str = made["library_id"]
        self.folder = folder
        self._server = server
        self.chunks = server.chunks(self.id)
        self.blobs: dict[str, list[bytes]] = {}

    def lines(self, chunk: dict[str, Any]) -> list[bytes]:
        """Of the blob in git."""
        blob = chunk["blob_id"]
        if blob not in self.blobs:
            shown = subprocess.run(
                ["git", "-C", str(self.folder), "cat-file", "blob", blob], capture_output=True, check=True
            )
            self.blobs[blob] = shown.stdout.split(b"\n")
        return self.blobs[blob][chunk["start_line"] - 1 : chunk["end_line"]]

    def content(self, chunk: dict[str, Any]) -> str:
        return b"\n".join(self.lines(chunk)).decode("utf-8", "replace")

    def is_true(self, chunk: dict[str, Any]) -> bool:
        """Whether what the server shows for a chunk are these lines of that blob, at that path."""
        shown = self._server.get(f"/libraries/{self.id}/chunks/{chunk['chunk_id']}")
        stored = subprocess.run(
            ["git", "-C", str(self.folder), "rev-parse", f"{shown['commit']}:{shown['file_path']}"],
            capture_output=True,
            text=True,
            check=True,
        )
        is_blob = stored.stdout.strip() == shown["blob_id"]
        return is_blob and shown["content"].strip().splitlines() == self.content(shown).strip().splitlines()


def quality(server: Librarian, corpus: Path, annotations: Path) -> dict[str, float]:
    repositories: dict[str, Repository] = {}
    ours: list[float] = []
    plain: list[float] = []
    times: dict[str, list[float]] = {"rest": [], "inner": [], "bm25": []}
    for file in sorted(annotations.glob("*.json")):
        repository = repositories[file.stem] = Repository(server, corpus / file.stem)
        bm25 = Bm25(repository.chunks, [repository.content(chunk) for chunk in repository.chunks])
        scores: list[float] = []
        plain_scores: list[float] = []
        for question in questions(file):
            found, took_s = server.search(repository.id, question.text)
            scores.append(ndcg(question.targets, found["sources"]))
            rows, bm25_s = bm25.search(question.text)
            plain_scores.append(ndcg(question.targets, rows))
            times["rest"].append(took_s)
            times["inner"].append(found["took_ms"] / 1000)
            times["bm25"].append(bm25_s)
        ours.append(statistics.mean(scores))
        plain.append(statistics.mean(plain_scores))
        print(
            f"{file.stem:16} ndcg10 {ours[-1]:.3f}  bm25s {plain[-1]:.3f}  ingested in {repository.ingest_s:.2f} s",
            file=sys.stderr,
        )
    ingests_s = [each.ingest_s for each in repositories.values()]
    return {
        "ndcg10": round(statistics.mean(ours), 4),
        "bm25_ndcg10": round(statistics.mean(plain), 4),
        "search_p50_ms": _p50_ms(times["rest"]),
        "search_inner_p50_ms": _p50_ms(times["inner"]),
        "bm25_p50_ms": _p50_ms(times["bm25"]),
        "ingest_mean_s": round(statistics.mean(ingests_s), 2),
        "ingest_max_s": round(max(ingests_s), 2),
        "false_citations": false_citations(list(repositories.values())),
    }


def _p50_ms(times_s: Sequence[float]) -> float:
    return round(statistics.median(times_s) * 1000, 2)


def false_citations(repositories: Sequence[Repository]) -> int:
    all_chunks = [(repository, chunk) for repository in repositories for chunk in repository.chunks]
    chosen = random.Random(0).sample(all_chunks, min(CITATIONS, len(all_chunks)))
    return sum(not repository.is_true(chunk) for repository, chunk in chosen)


def again(server: Librarian, original: Path, folder: Path) -> dict[str, float]:
    shutil.copytree(original, folder, symlinks=True)
    server.ingest(folder)
    unchanged_s = server.ingest(folder)[1]
    changed = next(path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts)
    changed.write_text(changed.read_text() + "\n")
    commit(folder)
    return {"reingest_s": round(unchanged_s, 2), "changed_s": round(server.ingest(folder)[1], 2)}


def standard_library(folder: Path) -> Path:
    """Its Python files, committed to a repository."""
    ignored = shutil.ignore_patterns(
        "__pycache__", "site-packages", "*.so", "*.pyc", "*.a", "config-*", "idlelib/Icons"
    )
    shutil.copytree(sysconfig.get_paths()["stdlib"], folder, ignore=ignored)
    return commit(folder)


def run(corpus: Path, annotations: Path, folder: Path, with_lib: bool) -> dict[str, float]:
    lib = standard_library(folder / "Lib") if with_lib else None
    with librarian(folder / "two") as server:
        result = quality(server, corpus, annotations)
        largest = max((each for each in corpus.iterdir() if each.is_dir()), key=lambda each: len(list(each.rglob("*"))))
        result |= again(server, largest, folder / largest.name)
        if lib is not None:
            made, took_s = server.ingest(lib)
            result |= {"lib_s": round(took_s, 1), "lib_files_per_s": round(made["files_processed"] / took_s, 1)}
            result |= {"lib_files": made["files_processed"], "lib_chunks": made["chunks_created"]}
            result["lib_reingest_s"] = round(server.ingest(lib)[1], 2)
    if lib is not None:
        with librarian(folder / "one", workers=1) as server:
            result["lib_1_worker_s"] = round(server.ingest(lib)[1], 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--annotations", type=Path, default=BENCH / "annotations")
    parser.add_argument("--no-lib", action="store_true", help="leave the standard library out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus: Path = arguments.corpus or folder / "corpus"
        if arguments.corpus is None:
            subprocess.run(["bash", BENCH / "corpus.sh", corpus], check=True, stdout=sys.stderr)
        result = run(corpus, arguments.annotations, folder, not arguments.no_lib)
    for key, value in result.items():
        print(f"{key:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
