"""Vectors of chunks. The encoder is an extra; what is around it is tested with a stand-in that counts letters."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.encoder import SIZE, Encoder, Floats
from rag.meanings import Meanings

CHUNKS = [Chunk("The cat sleeps.", "a.md"), Chunk("A kitten naps.", "b.md"), Chunk("Taxes rise.", "c.md")]


class CountingLetters:
    """A stand-in for an encoder: texts are near each other when they have the same letters."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, text: str) -> Floats:
        """How often each letter stands in the text, as a vector of length 1."""
        self.encoded.append(text)
        vector = np.zeros(SIZE, dtype=np.float32)
        for letter in text.lower():
            vector[ord(letter) % SIZE] += 1
        length: Floats = vector / np.linalg.norm(vector)
        return length


def made(folder: Path | None = None) -> tuple[Meanings, CountingLetters]:
    """Meanings by letters, and the stand-in behind them."""
    encoder = CountingLetters()
    return Meanings(cast(Encoder, encoder), save_to=folder), encoder


def test_chunks_are_learnt_once_and_a_few_at_a_time() -> None:
    """So that answering a question never waits long for it."""
    meanings, encoder = made()
    meanings.learn(meanings.missing(CHUNKS)[:2])
    assert meanings.missing(CHUNKS) == CHUNKS[2:]
    meanings.learn(meanings.missing(CHUNKS))
    assert meanings.missing(CHUNKS) == []
    assert len(encoder.encoded) == 3


def test_a_chunk_not_learnt_yet_takes_no_part_in_a_comparison() -> None:
    """It would fall behind the others for no fault of its own."""
    meanings, _ = made()
    meanings.learn(CHUNKS[:2])
    assert meanings.closeness("cat", CHUNKS) is None
    assert meanings.closeness("cat", []) is None
    near = meanings.closeness("The cat sleeps.", CHUNKS[:2])
    assert near is not None
    assert near[0] == pytest.approx(1)
    assert near[0] > near[1]


def test_what_was_learnt_is_kept_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    """The next start learns nothing anew; the vector of a deleted text is deleted with it."""
    meanings, _ = made(tmp_path)
    meanings.learn(CHUNKS)
    meanings.keep(CHUNKS[:2])
    again, encoder = made(tmp_path)
    assert again.missing(CHUNKS) == CHUNKS[2:]
    assert not encoder.encoded
    assert [path.name for path in tmp_path.iterdir()] == ["meanings.npz"]
    again.keep([])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04cut short"], ids=["empty", "junk", "cut short"])
def test_broken_vectors_are_learnt_anew(tmp_path: Path, content: bytes) -> None:
    """They are worth some seconds, not an error."""
    (tmp_path / "meanings.npz").write_bytes(content)
    meanings, _ = made(tmp_path)
    assert meanings.missing(CHUNKS) == CHUNKS


def test_meaning_moves_a_hit_up_that_words_put_last() -> None:
    """It counts as much as the three other signals together."""
    index = Bm25Index([Chunk("port port port", "words.md"), Chunk("the port here", "meaning.md"), Chunk("sun", "x.md")])
    assert [hit.chunk.document for hit in index.ranked("port", k=2)] == ["words.md", "meaning.md"]
    nearer = index.ranked(
        "port",
        k=2,
        meaning=lambda _, chunks: np.array([chunk.document == "meaning.md" for chunk in chunks], np.float32),
    )
    assert [hit.chunk.document for hit in nearer] == ["meaning.md", "words.md"]
    unknown = index.ranked("port", k=2, meaning=lambda _, chunks: None)
    assert [hit.chunk.document for hit in unknown] == ["words.md", "meaning.md"]


def test_the_encoder_puts_the_same_meaning_near_and_another_far() -> None:
    """With the real weights, where the extra is installed."""
    encoder = Encoder.installed()
    if encoder is None:
        pytest.skip("the extra requirements-dense.txt is not installed")
    house, building, fruit = map(
        encoder.encode, ["How old is the house?", "What is the age of the building?", "Bananas are yellow."]
    )
    assert np.linalg.norm(house) == pytest.approx(1, abs=1e-5)
    assert house @ building > 0.6 > 0.2 > house @ fruit
    assert encoder.encode("word " * 5000).shape == (SIZE,)
    assert np.isfinite(encoder.encode("")).all()
