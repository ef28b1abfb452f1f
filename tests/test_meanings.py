"""Vectors of chunks. What is around the encoder is tested with a stand-in that counts letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.documents import Document
from rag.encoder import SIZE, Encoder, Floats
from rag.library import Library
from rag.meanings import REST_S, Keeping, Meanings, forget_all_but
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


def test_what_others_kept_meanwhile_stays_and_what_is_kept_is_not_written_again(tmp_path: Path) -> None:
    """Of several processes the one that has the home writes; what it does not know it does not throw away."""
    ours, theirs = made(tmp_path)[0], made(tmp_path)[0]
    theirs.learn(CHUNKS[:2])
    assert theirs.keep(CHUNKS)
    ours.learn(CHUNKS[2:])
    assert not ours.keep(CHUNKS, save=False)
    assert made(tmp_path)[0].missing(CHUNKS) == CHUNKS[2:]
    assert ours.keep(CHUNKS)
    assert made(tmp_path)[0].missing(CHUNKS) == []
    assert not ours.keep(CHUNKS)
    assert not theirs.keep(CHUNKS)


def test_whoever_learns_nothing_deletes_the_vectors_of_what_is_gone(tmp_path: Path) -> None:
    """And those alone, so that switching the meanings off for a while costs nothing."""
    assert not forget_all_but(CHUNKS, home=tmp_path)
    meanings, _ = made(tmp_path)
    meanings.learn(CHUNKS)
    meanings.keep(CHUNKS)
    assert not forget_all_but(CHUNKS, home=tmp_path)
    assert forget_all_but(CHUNKS[:2], home=tmp_path)
    assert made(tmp_path)[0].missing(CHUNKS) == CHUNKS[2:]
    assert forget_all_but([], home=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_and_an_older_version_left_is_deleted(tmp_path: Path) -> None:
    """Both are vectors of texts that may be gone by now."""
    (tmp_path / "meanings.npz.4711.part").write_bytes(b"cut short")
    (tmp_path / "meanings.npz").write_bytes(b"made in another way")
    assert forget_all_but(CHUNKS, home=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change", [{"language": "de"}, {"markdown": False}, {"opening": "```"}], ids=lambda change: next(iter(change))
)
def test_the_same_text_with_other_sentences_has_vectors_of_its_own(change: dict[str, Any], tmp_path: Path) -> None:
    """What tells its sentences apart may change with a setting; a cosine must stay with its sentence."""
    chunk = CHUNKS[1]
    meanings, _ = made(tmp_path)
    meanings.learn([chunk])
    meanings.keep([chunk])
    again, _ = made(tmp_path)
    other = replace(chunk, **change)
    assert again.missing([chunk, replace(chunk, document="renamed.md"), other]) == [other]
    assert again.nearness("kitten", [other]) is None


class Clock:
    """Time that passes when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_after_each_time_the_file_rests_and_what_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    """Whoever has no home yet may have it later; where there is nothing to write, nothing rests."""
    clock, homes = Clock(), {"ours": False}
    meanings, _ = made(tmp_path)
    keeping = Keeping(tmp_path, is_ours=lambda home: homes["ours"], clock=clock)
    meanings.learn(CHUNKS)
    for ours in (False, True):
        homes["ours"] = ours
        assert keeping.is_due
        keeping.unkept = False
        keeping.keep(CHUNKS, meanings)
        assert (keeping.unkept, keeping.is_due) == (not ours, False)
        assert list(tmp_path.iterdir()) == [tmp_path / "meanings.npz"] * ours
        keeping.unkept = True
        clock.now += REST_S - 1
        assert not keeping.is_due
        clock.now += 1
    keeping.keep(CHUNKS, meanings)
    assert keeping.is_due


def test_whatever_keeps_them_from_being_kept_it_is_tried_again_after_a_rest(tmp_path: Path) -> None:
    """Not only what a disk says."""
    clock = Clock()
    meanings, _ = made(tmp_path)
    meanings.learn(CHUNKS)
    meanings.keep = fail  # type: ignore[method-assign]
    keeping = Keeping(tmp_path, is_ours=lambda home: True, clock=clock)
    keeping.unkept = False
    with pytest.raises(ValueError, match="nobody thought of"):
        keeping.keep(CHUNKS, meanings)
    assert (keeping.unkept, keeping.is_due) == (True, False)
    clock.now += REST_S
    assert keeping.is_due


def fail(*_: object, **__: object) -> bool:
    """What nobody thought of."""
    raise ValueError("nobody thought of this")


def test_where_there_is_no_home_what_is_gone_is_forgotten_all_the_same() -> None:
    """Nothing is left to be tried again."""
    meanings, _ = made()
    meanings.learn(CHUNKS)
    keeping = Keeping(None, is_ours=lambda home: False)
    keeping.unkept = False
    keeping.keep(CHUNKS[:1], meanings)
    assert meanings.missing(CHUNKS) == CHUNKS[1:]
    assert not keeping.unkept


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


def test_a_disk_that_was_full_is_tried_again(tmp_path: Path) -> None:
    """What could not be written is not taken for written."""
    place = tmp_path / "file"
    place.write_text("in the way")
    meanings = Meanings(CountingLetters, save_to=place)
    meanings.learn(CHUNKS)
    with pytest.raises(OSError):
        meanings.keep(CHUNKS)
    place.unlink()
    assert meanings.keep(CHUNKS)
    assert [path.name for path in place.iterdir()] == ["meanings.npz"]
