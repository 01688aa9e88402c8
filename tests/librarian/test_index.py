"""What every vector index must do; the same tests for each, and for both ways of FAISS."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from librarian.index.exact import ExactFile, ExactIndex
from librarian.index.faiss import FaissFile

SIZE, DIM = 500, 16
PROVIDERS = {"exact": ExactFile, "faiss-flat": FaissFile, "faiss-codes": lambda: FaissFile(flat_until=100)}


@pytest.fixture(params=PROVIDERS)
def provider(request):
    return PROVIDERS[request.param]()


@pytest.fixture
def vectors():
    made = np.random.default_rng(1).standard_normal((SIZE, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def index(provider, vectors, tmp_path):
    provider.write(tmp_path, vectors)
    return provider.open(tmp_path, SIZE, DIM)


def test_the_nearest_come_first(index, vectors):
    ids, scores = index.search(vectors[7], 10)
    expected, expected_scores = ExactIndex(vectors).search(vectors[7], 10)
    assert ids.tolist() == expected.tolist()
    assert np.allclose(scores, expected_scores, atol=1e-6)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32


def test_only_allowed_ones_are_found(index, vectors):
    allowed = np.arange(3, SIZE, 7, dtype=np.int64)
    ids, _ = index.search(vectors[7], 10, allowed)
    assert ids.tolist() == ExactIndex(vectors).search(vectors[7], 10, allowed)[0].tolist()
    assert index.search(vectors[7], 10, allowed[:3])[0].size == 3
    assert index.search(vectors[7], 10, allowed[:0])[0].size == 0


@pytest.mark.parametrize("k", [0, 1, SIZE, SIZE + 5])
def test_any_number_may_be_asked_for(index, vectors, k):
    ids, scores = index.search(vectors[0], k)
    assert len(ids) == len(scores) == min(k, SIZE)
    assert len(set(ids.tolist())) == len(ids)


def test_ties_come_by_number(provider, tmp_path):
    vectors = np.zeros((300, 4), np.float32)
    vectors[:, 0] = 1
    provider.write(tmp_path, vectors)
    ids, _ = provider.open(tmp_path, 300, 4).search(vectors[0], 5, np.arange(100, 300, dtype=np.int64))
    assert ids.tolist() == [100, 101, 102, 103, 104]


def test_vectors_come_back_as_given(index, vectors):
    ids = np.array([4, 0, 4], np.int64)
    assert (index.vectors(ids) == vectors[ids]).all()
    assert index.size == SIZE


def test_an_empty_one_finds_nothing(provider, tmp_path):
    provider.write(tmp_path, np.zeros((0, 0), np.float32))
    index = provider.open(tmp_path, 0, DIM)
    assert index.size == 0
    assert index.search(np.zeros(DIM, np.float32), 5)[0].size == 0


def test_the_same_vectors_make_the_same_bytes(provider, vectors, tmp_path):
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written.append([path.read_bytes() for path in provider.write(tmp_path / name, vectors)])
    assert written[0] == written[1]


def test_threads_may_search_at_once(index, vectors):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: index.search(vectors[n], 1)[0][0], range(SIZE)))
    assert found == list(range(SIZE))


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "missing"])
def test_a_damaged_file_is_refused(provider, vectors, tmp_path, damage):
    path = provider.write(tmp_path, vectors)[0]
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "longer": data + b"x", "empty": b""}[damage])
    with pytest.raises((OSError, ValueError)):
        provider.open(tmp_path, SIZE, DIM)


@pytest.mark.parametrize(("size", "dim"), [(SIZE + 1, DIM), (SIZE, DIM + 1), (SIZE - 1, DIM)])
def test_files_of_another_index_are_refused(provider, vectors, tmp_path, size, dim):
    provider.write(tmp_path, vectors)
    with pytest.raises((OSError, ValueError)):
        provider.open(tmp_path, size, dim)


@pytest.mark.parametrize("provider", [FaissFile(), FaissFile(100)])
def test_a_header_of_rubbish_is_refused(provider, vectors, tmp_path):
    path = provider.write(tmp_path, vectors)[0]
    data = bytearray(path.read_bytes())
    for start in range(0, 40, 4):
        path.write_bytes(bytes(data[:start]) + b"\xff\xff\xff\x7f" + bytes(data[start + 4 :]))
        try:
            provider.open(tmp_path, SIZE, DIM)
        except ValueError:
            continue
        assert start >= 16  # fields that are not used
