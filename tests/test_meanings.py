"""Vectors of chunks. What is around the encoder is tested with a stand-in that counts letters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.documents import Document
from rag.encoder import SIZE, Encoder, Floats
from rag.library import Library
from rag.meanings import Meanings, Vectors
from rag.ranking import Near
from rag.shelf import Shelf

CHUNKS = [
    Chunk("The cat sleeps.", "a.md"),
    Chunk("A kitten naps. The dog barks.", "b.md"),
    Chunk("Taxes rise.", "c.md"),
]


class CountingLetters:
    """A stand-in for an encoder: texts are near each other when they have the same letters."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> Floats:
        """How often each letter stands in each text, as vectors of length 1."""
        self.encoded += texts
        vectors = np.zeros((len(texts), SIZE), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for letter in text.lower():
                row[ord(letter) % SIZE] += 1
        lengths: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-9)
        return lengths


def made(folder: Path | None = None) -> tuple[Meanings, CountingLetters]:
    """Meanings by letters, and the stand-in behind them."""
    encoder = CountingLetters()
    return Meanings(lambda: encoder, save_to=folder), encoder


def test_chunks_are_learnt_once_and_a_few_at_a_time() -> None:
    """So that answering a question never waits long for it."""
    meanings, encoder = made()
    meanings.learn(meanings.missing(CHUNKS)[:2])
    assert meanings.missing(CHUNKS) == CHUNKS[2:]
    meanings.learn(meanings.missing(CHUNKS))
    assert meanings.missing(CHUNKS) == []
    assert encoder.encoded.count("A kitten naps.") == 1


def test_a_chunk_not_learnt_yet_ends_the_comparison() -> None:
    """It would fall behind the others for no fault of its own."""
    meanings, _ = made()
    meanings.learn(CHUNKS[:2])
    assert meanings.nearness("cat", CHUNKS) is None
    assert meanings.nearness("cat", []) is None
    near = meanings.nearness("The cat sleeps.", CHUNKS[:2])
    assert near is not None
    assert near.chunks[0] == pytest.approx(1, abs=1e-2)
    assert near.chunks[0] > near.chunks[1]


def test_a_question_is_thought_of_once() -> None:
    """While other work is done; the search then finds it made."""
    meanings, encoder = made()
    meanings.learn(CHUNKS)
    shelf = Shelf(meaning=meanings.nearness)
    shelf.think_of("Who sleeps?")
    assert shelf.meaning is not None
    assert shelf.meaning("Who sleeps?", CHUNKS) is not None
    assert encoder.encoded.count("Who sleeps?") == 1


def test_a_chunk_is_as_near_as_its_whole_and_its_nearest_sentence() -> None:
    """The mean of both: a sentence says it, or the whole is about it."""
    meanings, encoder = made()
    meanings.learn([CHUNKS[1]])
    question, whole, first, second = encoder.encode(
        ["A kitten naps.", "A kitten naps. The dog barks.", "A kitten naps.", "The dog barks."]
    )
    near = meanings.nearness("A kitten naps.", [CHUNKS[1]])
    assert near is not None
    assert near.sentences == [pytest.approx((question @ first, question @ second), abs=1e-2)]
    assert near.chunks[0] == pytest.approx((question @ whole + max(near.sentences[0])) / 2, abs=1e-2)


def test_a_language_that_the_encoder_does_not_know_is_neither_first_nor_last() -> None:
    """Its vectors would mean nothing; and beside others it must not lose by that."""
    foreign = Chunk("बिरालो सुत्छ।", "d.md", language="ne")
    meanings, encoder = made()
    assert meanings.missing([foreign]) == []
    meanings.learn(CHUNKS)
    near = meanings.nearness("The cat sleeps.", [*CHUNKS, foreign])
    assert near is not None
    assert near.chunks[3] == np.median(near.chunks[:3])
    assert near.sentences[3] == ()
    assert meanings.nearness("बिरालो", [foreign]) is None
    assert "बिरालो सुत्छ।" not in encoder.encoded


def test_what_was_learnt_is_kept_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    """The next start learns nothing anew; the vector of a deleted text is deleted with it."""
    meanings, _ = made(tmp_path)
    meanings.learn(CHUNKS)
    before = meanings.nearness("kitten", CHUNKS[:2])
    meanings.keep(CHUNKS[:2])
    again, encoder = made(tmp_path)
    assert again.missing(CHUNKS) == CHUNKS[2:]
    assert not encoder.encoded
    after = again.nearness("kitten", CHUNKS[:2])
    assert before is not None
    assert after is not None
    assert np.array_equal(before.chunks, after.chunks)
    assert [path.name for path in tmp_path.iterdir()] == ["meanings.npz"]
    again.keep([])
    assert not list(tmp_path.iterdir())


def test_vectors_of_another_encoder_are_learnt_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their cosines with a question would be noise."""
    meanings, _ = made(tmp_path)
    meanings.learn(CHUNKS)
    meanings.keep(CHUNKS)
    monkeypatch.setattr("rag.meanings.NAME", "another one")
    assert made(tmp_path)[0].missing(CHUNKS) == CHUNKS


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04cut short"], ids=["empty", "junk", "cut short"])
def test_broken_vectors_are_learnt_anew(tmp_path: Path, content: bytes) -> None:
    """They are worth some seconds, not an error."""
    (tmp_path / "meanings.npz").write_bytes(content)
    meanings, _ = made(tmp_path)
    assert meanings.missing(CHUNKS) == CHUNKS


def test_meaning_moves_a_hit_up_that_words_put_last() -> None:
    """It counts twice as much as the three other signals together."""
    index = Bm25Index([Chunk("port port port", "words.md"), Chunk("the port here", "meaning.md"), Chunk("sun", "x.md")])
    assert [hit.chunk.document for hit in index.ranked("port", k=2)] == ["words.md", "meaning.md"]
    nearer = index.ranked(
        "port",
        k=2,
        meaning=lambda _, chunks: Near(
            np.array([chunk.document == "meaning.md" for chunk in chunks], np.float32), [(0.5,) for _ in chunks]
        ),
    )
    assert [hit.chunk.document for hit in nearer] == ["meaning.md", "words.md"]
    assert nearer[0].near == (0.5,)
    unknown = index.ranked("port", k=2, meaning=lambda _, chunks: None)
    assert [hit.chunk.document for hit in unknown] == ["words.md", "meaning.md"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The real one."""
    return Encoder()


def test_the_encoder_puts_the_same_meaning_near_and_another_far(encoder: Encoder) -> None:
    """In one language and across two."""
    house, building, haus, fruit = encoder.encode(
        ["How old is the house?", "What is the age of the building?", "Wie alt ist das Haus?", "Bananas are yellow."]
    )
    assert np.linalg.norm(house) == pytest.approx(1, abs=1e-5)
    assert house @ building > 0.6 > 0.2 > house @ fruit
    assert house @ haus > 0.6


def test_the_encoder_takes_any_text(encoder: Encoder) -> None:
    """Empty, long and odd ones."""
    assert encoder.encode([]).shape == (0, SIZE)
    vectors = encoder.encode(["", "word " * 100_000, "\x00\ud800 \U0001f680"])
    assert vectors.shape == (3, SIZE)
    assert np.isfinite(vectors).all()


@pytest.mark.anyio
async def test_a_synonym_puts_the_right_chunk_first(tmp_path: Path, encoder: Encoder) -> None:
    """From the folder to the hit, as the chat does it; an upload takes part and is forgotten with its conversation."""
    (tmp_path / "a.md").write_text("# Cars\n\nThe automobile of the firm costs forty euros a day and has a radio.")
    (tmp_path / "b.md").write_text(
        "# Coffee\n\nThe price of a cup in the kitchen is a day's smile, said the price list."
    )
    library = Library(tmp_path, by_meaning=True, language="en")
    question = "What is the price of a vehicle per day?"
    try:
        await library.refresh()
        assert [hit.chunk.document for hit in library.search(question)] == ["b.md", "a.md"]
        await library.learn()
        assert [hit.chunk.document for hit in library.search(question)] == ["a.md", "b.md"]
        upload = Document(
            "upload/c.md", "A lorry, the biggest vehicle, can be hired at a price of ninety euros per day."
        )
        together = library.with_uploads([upload])
        assert {hit.chunk.document for hit in together.search(question)} == {"a.md", "b.md", "upload/c.md"}
        assert together.meaning is not None
        assert isinstance(together.index, Bm25Index)
        assert together.meaning(question, list(together.index.chunks)) is not None
        assert library.shelf.meaning is not None
        assert library.shelf.meaning(question, list(together.index.chunks)) is None
        library.forget([upload])
        assert not library._own_vectors
    finally:
        await library.close()


@pytest.mark.anyio
async def test_the_vectors_of_a_folder_that_was_emptied_are_deleted(tmp_path: Path) -> None:
    """Nothing of a deleted text stays on the disk."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("The port of the chat is 8000.")
    library = Library(docs, by_meaning=True, language="en", save_to=tmp_path / "index")
    try:
        await library.refresh()
        await library.learn()
        assert list((tmp_path / "index").rglob("meanings.npz"))
        (docs / "a.md").unlink()
        await library.refresh()
        await library.learn()
        assert not list((tmp_path / "index").rglob("meanings.npz"))
    finally:
        await library.close()


@pytest.mark.anyio
async def test_what_was_learnt_is_kept_by_the_one_who_learns_alone(tmp_path: Path) -> None:
    """Closing keeps it; whoever only looks in, or gives a list instead of the folder, forgets nothing of it."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("The port of the chat is 8000.")
    place = tmp_path / "index"

    async def used(library: Library, *, most: int | None, started: bool = False) -> None:
        try:
            await library.refresh()
            if started:
                library.start()
            await library.learn(most=most)
        finally:
            await library.close()

    await used(Library(docs, by_meaning=True, language="en", save_to=place), most=None, started=True)
    (kept,) = place.rglob("meanings.npz")
    content = kept.read_bytes()
    await used(Library(docs, by_meaning=True, language="en", save_to=place, chunk_words=20), most=0)
    await used(Library(docs, by_meaning=True, language="en", save_to=place, inline=["Other text."]), most=None)
    assert kept.read_bytes() == content


@pytest.mark.anyio
async def test_an_upload_that_came_before_the_meanings_takes_part_and_leaves_nothing(tmp_path: Path) -> None:
    """Whenever it came, and whenever its conversation ended."""
    (tmp_path / "a.md").write_text("The port of the chat is 8000.")
    library = Library(tmp_path, by_meaning=True, language="en")
    upload = Document("upload/b.md", "The port of the door is red.")
    try:
        await library.refresh()
        assert library.with_uploads([upload]).meaning is None
        await library.learn()
        assert library.with_uploads([upload]).meaning is not None
        library.forget([upload])

        assert library._meanings is not None
        learnt = library._meanings.learnt

        def late(chunks: Sequence[Chunk]) -> dict[bytes, Vectors]:
            library.forget([upload])  # the tab is closed while it is learnt
            return learnt(chunks)

        library._meanings.learnt = late  # type: ignore[method-assign]
        library.with_uploads([upload])
        assert not library._own_vectors
        assert not library._with_uploads
    finally:
        await library.close()


def test_a_disk_that_was_full_is_tried_again(tmp_path: Path) -> None:
    """What could not be written is not taken for written."""
    place = tmp_path / "file"
    place.write_text("in the way")
    meanings = Meanings(CountingLetters, save_to=place)
    meanings.learn(CHUNKS)
    meanings.keep(CHUNKS)
    place.unlink()
    meanings.keep(CHUNKS)
    assert [path.name for path in place.iterdir()] == ["meanings.npz"]
