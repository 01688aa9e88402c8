"""What every embedder must do; the same tests for each."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.config import EmbedderChoice
from librarian.embedder.distill import distill
from librarian.embedder.hashing import HashingEmbedder
from librarian.embedder.minilm_static import MiniLmStatic, open_minilm_static
from librarian.embedder.openai import OpenAiEmbedder
from librarian.embedder.opening import open_embedder
from librarian.embedder.words import ASCII_WORD, WORD, words
from librarian.errors import EmbedderUnavailable, InvalidRequest

KEY = "sk-very-secret"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "parse", "http", "header", "##s", "cookie", "jar", "bread", "s", "##ing"]
TEXTS = ["parse http headers", "", "def parseHTTPHeaders(cookie_jar):", "bread", "parse http header"] * 30


class FakeEndpoint(ThreadingHTTPServer):
    """Speaks /embeddings; `replies` (status, headers, body) come first, then vectors, in reverse order."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.requests = [], []
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        status, headers, reply = self.server.replies.pop(0) if self.server.replies else (200, {}, self._vectors(body))
        data = reply if isinstance(reply, bytes) else orjson.dumps(reply)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _vectors(self, body):
        rows = HashingEmbedder(16).embed(body["input"]).tolist()
        return {"data": [{"index": number, "embedding": row} for number, row in enumerate(rows)][::-1]}

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    with FakeEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def openai(endpoint):
    choice = EmbedderChoice("openai", endpoint.base_url, "m", "THE_KEY")
    embedder = OpenAiEmbedder(choice, {"THE_KEY": KEY}, sleep=lambda _: None)
    yield embedder
    embedder.close()


@pytest.fixture(params=["hashing", "minilm-static", "openai"])
def embedder(request):
    if request.param == "openai":
        return request.getfixturevalue("openai")
    if request.param == "hashing":
        return HashingEmbedder()
    table = np.random.default_rng(1).standard_normal((len(PIECES), 32)).astype(np.float32)
    return MiniLmStatic(PIECES, table)


def test_vectors_have_length_one_and_unknown_texts_are_zeros(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.allclose(lengths, [1.0 if text else 0.0 for text in TEXTS], atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_a_vector_does_not_depend_on_the_batch(embedder):
    whole = embedder.embed(TEXTS)
    assert whole.tobytes() == np.stack([embedder.embed([text])[0] for text in TEXTS]).tobytes()
    assert whole[:7].tobytes() == embedder.embed(TEXTS[:7]).tobytes()
    assert embedder.embed_query(TEXTS[0]).tobytes() == whole[0].tobytes()


def test_like_texts_are_nearer(embedder):
    code, prose, other = embedder.embed([TEXTS[2], TEXTS[0], TEXTS[3]])
    assert code @ prose > code @ other


def test_the_name_tells_the_dimensions(embedder):
    assert str(embedder.dim) in embedder.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parseHTTPResponse2_ok", ["parse", "http", "response", "2", "ok"]),
        ("naïve Größe __init__ 日本", ["naive", "große", "init", "日本"]),
        ("a.b->C::dE", ["a", "b", "c", "d", "e"]),
    ],
)
def test_identifiers_are_taken_apart(text, expected):
    assert words(text) == expected


def test_a_word_is_split_into_its_longest_known_pieces():
    embedder = MiniLmStatic(PIECES, np.eye(len(PIECES), dtype=np.float32))
    assert np.flatnonzero(embedder.embed_query("parse headers cookieing")).tolist() == [4, 6, 7, 8, 12]
    assert not embedder.embed_query("parsed").any()


def test_failures_that_may_pass_are_tried_again(openai, endpoint):
    endpoint.replies += [(500, {}, {}), (429, {"Retry-After": "1"}, {})]
    assert openai.embed(["cookie"]).shape == (1, 16)
    path, headers, body = endpoint.requests[-1]
    assert (path, headers["Authorization"], body["model"]) == ("/v1/embeddings", f"Bearer {KEY}", "m")


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([(401, {}, {"error": f"bad key {KEY}"})], "status 401"),
        ([(503, {}, {})] * 4, "4 attempts"),
        ([(200, {}, b"<html>")], "no list of embeddings"),
        ([(200, {}, {"data": []})], "not one vector"),
    ],
)
def test_an_endpoint_that_fails_is_told_without_the_key(openai, endpoint, replies, said):
    endpoint.replies += replies
    with pytest.raises(EmbedderUnavailable, match=said) as caught:
        openai.embed(["cookie"])
    assert KEY not in str(caught.value)


def test_settings_that_cannot_work_are_refused():
    for choice in (
        EmbedderChoice("word2vec"),
        EmbedderChoice("openai", model="m"),
        EmbedderChoice("openai", base_url="http://localhost/v1"),
    ):
        with pytest.raises(InvalidRequest):
            open_embedder(choice, {})
    with pytest.raises(EmbedderUnavailable, match="THE_KEY"):
        open_embedder(EmbedderChoice("openai", "http://localhost/v1", "m", "THE_KEY"), {})
    assert open_embedder(EmbedderChoice("hashing"), {}).dim == 256


def test_a_missing_or_damaged_file_of_vectors_is_told(tmp_path):
    with pytest.raises(EmbedderUnavailable, match="distill"):
        open_minilm_static(tmp_path / "minilm-static.npz")
    (tmp_path / "minilm-static.npz").write_bytes(b"PK rubbish")
    with pytest.raises(EmbedderUnavailable, match="damaged"):
        open_minilm_static(tmp_path / "minilm-static.npz")


def test_distilling_is_deterministic_and_its_file_can_be_opened(tmp_path):
    _write_bert(tmp_path)
    first, second = (distill(tmp_path, tmp_path / name, dim=4) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    embedder = open_minilm_static(first)
    assert embedder.dim == 4
    assert np.isclose(np.linalg.norm(embedder.embed_query("cookies")), 1)


def _write_bert(folder, hidden=8, inner=16):
    random = np.random.default_rng(2)
    shapes = {
        "embeddings.word_embeddings.weight": (len(PIECES), hidden),
        "embeddings.position_embeddings.weight": (8, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    layer = "encoder.layer.0"
    sizes = {f"{layer}.attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
    sizes |= {f"{layer}.attention.output.dense": (hidden, hidden), f"{layer}.intermediate.dense": (inner, hidden)}
    sizes |= {f"{layer}.output.dense": (hidden, inner)}
    for name, shape in sizes.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.weight": (hidden,), f"{name}.LayerNorm.bias": (hidden,)}
    header, data = {}, b""
    for name, shape in shapes.items():
        part = random.standard_normal(shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    head = orjson.dumps(header)
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    (folder / "config.json").write_text('{"num_attention_heads": 2, "layer_norm_eps": 1e-12}')
    (folder / "vocab.txt").write_text("\n".join(PIECES))


@given(st.text(st.characters(max_codepoint=127)))
def test_the_faster_pattern_for_ascii_finds_the_same(text):
    assert ASCII_WORD.findall(text) == WORD.findall(text)
