"""Makes the vectors of minilm_static.py from all-MiniLM-L6-v2, with numpy alone; the same bytes every time:

    python -m librarian.embedder.distill MODEL_FOLDER OUT_FOLDER

MODEL_FOLDER has model.safetensors, config.json and vocab.txt. Each piece of the vocabulary goes through the model as
[CLS] piece [SEP]; the mean of the last layer is reduced to 256 dimensions (PCA) and weighted by how rare the piece is
(SIF, Arora et al. 2017, the rank in the vocabulary standing for the frequency as in Zipf's law), so that a text's
vector is the plain sum of its pieces'. Kept as 8-bit numbers, a scale each row.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from librarian.embedder.base import Vectors

Tensors = Mapping[str, Vectors]
DIM = 256
SIF_A = 1e-4
BATCH_PIECES = 512
DTYPES = {"F32": "<f4", "F16": "<f2"}
MAX_HEADER_BYTES = 100_000_000


def read_safetensors(path: Path) -> dict[str, Vectors]:
    """Floating point tensors as float32, others left out.

    Raises:
        OSError, ValueError: no such file, or none of this format.
    """
    data = path.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    if not 2 <= header_bytes <= min(len(data) - 8, MAX_HEADER_BYTES):
        raise ValueError(f"{path.name} is no safetensors file")
    tensors: dict[str, Vectors] = {}
    for name, entry in json.loads(data[8 : 8 + header_bytes]).items():
        if name == "__metadata__" or entry["dtype"] not in DTYPES:
            continue
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        flat = np.frombuffer(data[start:end], DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).astype(np.float32)
    return tensors


def encode(tensors: Tensors, ids: NDArray[np.int64], heads: int, epsilon: float) -> Vectors:
    """BERT: float32 [n, hidden], the mean of the last layer over the tokens `ids` [n, length], none of them padding."""
    hidden = (
        tensors["embeddings.word_embeddings.weight"][ids]
        + tensors["embeddings.position_embeddings.weight"][: ids.shape[1]]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = _normed(hidden, tensors, "embeddings.LayerNorm", epsilon)
    layer = 0
    while (name := f"encoder.layer.{layer}") + ".output.dense.weight" in tensors:
        attended = _dense(
            _attention(hidden, tensors, f"{name}.attention.self", heads), tensors, f"{name}.attention.output.dense"
        )
        hidden = _normed(hidden + attended, tensors, f"{name}.attention.output.LayerNorm", epsilon)
        inner = _gelu(_dense(hidden, tensors, f"{name}.intermediate.dense"))
        hidden = _normed(
            hidden + _dense(inner, tensors, f"{name}.output.dense"), tensors, f"{name}.output.LayerNorm", epsilon
        )
        layer += 1
    return hidden.mean(axis=1)


def _attention(hidden: Vectors, tensors: Tensors, name: str, heads: int) -> Vectors:
    count, length, width = hidden.shape

    def split(part: str) -> Vectors:
        return _dense(hidden, tensors, f"{name}.{part}").reshape(count, length, heads, -1).transpose(0, 2, 1, 3)

    scores = split("query") @ split("key").swapaxes(-1, -2) / np.float32(math.sqrt(width // heads))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights @ split("value")).transpose(0, 2, 1, 3).reshape(count, length, width)


def _dense(hidden: Vectors, tensors: Tensors, name: str) -> Vectors:
    return hidden @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def _normed(hidden: Vectors, tensors: Tensors, name: str, epsilon: float) -> Vectors:
    centered = hidden - hidden.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return centered / spread * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _gelu(x: Vectors) -> Vectors:
    """x Φ(x), Φ interpolated between steps of 1/512: off by less than 1e-6. numpy has no erf."""
    steps = np.linspace(-8, 8, 8_193)
    phi = np.array([0.5 * (1 + math.erf(step / math.sqrt(2))) for step in steps])
    return (x * np.interp(x, steps, phi)).astype(np.float32)


def reduce(vectors: Vectors, dim: int) -> Vectors:
    """PCA; the sign of each axis is fixed by its largest part, so that it does not depend on the linear algebra."""
    centered = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1][:, :dim]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return (centered @ axes).astype(np.float32)


def sif_weights(count: int) -> Vectors:
    chance = 1.0 / np.arange(2, count + 2)
    return (SIF_A / (SIF_A + chance / chance.sum())).astype(np.float32)


def quantize(vectors: Vectors) -> tuple[NDArray[np.int8], Vectors]:
    """Codes int8 [n, dim] and scales float32 [n]: a row is its codes times its scale."""
    scales = np.abs(vectors).max(axis=1) / 127
    codes = np.rint(vectors / np.where(scales, scales, 1)[:, None]).astype(np.int8)
    return codes, scales.astype(np.float32)


def distill(model_folder: Path, out_folder: Path, dim: int = DIM) -> Path:
    """The file written.

    Raises:
        OSError, ValueError, KeyError: the folder holds no BERT.
    """
    config = json.loads((model_folder / "config.json").read_bytes())
    vocabulary = (model_folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tensors = read_safetensors(model_folder / "model.safetensors")
    start, end = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    parts: list[Vectors] = []
    for first in range(0, len(vocabulary), BATCH_PIECES):
        pieces = np.arange(first, min(first + BATCH_PIECES, len(vocabulary)))
        ids = np.stack([np.full_like(pieces, start), pieces, np.full_like(pieces, end)], axis=1)
        parts.append(encode(tensors, ids, heads, epsilon))
    codes, scales = quantize(reduce(np.concatenate(parts), dim) * sif_weights(len(vocabulary))[:, None])
    out_folder.mkdir(parents=True, exist_ok=True)
    path = out_folder / "minilm-static.npz"
    words = np.frombuffer("\n".join(vocabulary).encode(), np.uint8)
    np.savez(path, vocabulary=words, codes=codes, scales=scales)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_folder", type=Path)
    parser.add_argument("out_folder", type=Path)
    asked = parser.parse_args()
    distill(asked.model_folder, asked.out_folder)


if __name__ == "__main__":
    main()
