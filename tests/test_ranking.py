"""The second look at hits, and the groups of letters it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.grams import Grams, grams_of, hashes_of
from rag.ranking import second_look
from rag.segment import Segment
from rag.text import likeness

WORD = st.text(st.characters(codec="utf-8", exclude_characters=" "), min_size=1, max_size=12)


def look(asked: list[str], corpus: list[list[str]]) -> tuple[list[float], list[float]]:
    """The two scores of all texts of a corpus, every word telling as much as any other."""
    segment = Segment.build(corpus)
    letters, windows = second_look(asked, [(segment, np.arange(len(corpus)))], idf=lambda _: 1.0, size=len(corpus))
    return letters.tolist(), windows.tolist()


def test_words_near_each_other_count_more_than_the_same_words_far_apart() -> None:
    """The window is about a sentence; the share of the question in the best one counts."""
    near = ["x", "reset", "button", *["filler"] * 40]
    far = ["x", "reset", *["filler"] * 40, "button"]
    _, windows = look(["reset", "button"], [near, far, ["other"]])
    assert windows == pytest.approx([1.0, 0.5, 0.0])


def test_a_window_does_not_reach_into_the_next_text() -> None:
    """The last word of one text and the first of the next are not near each other."""
    _, windows = look(["reset", "button"], [["filler", "reset"], ["button", "filler"]])
    assert windows == pytest.approx([0.5, 0.5])


def test_words_that_look_alike_count_in_part() -> None:
    """As much as their groups of letters agree; nothing below the least likeness."""
    letters, windows = look(["norman"], [["normandi"], ["roman"], ["zebra"]] + [["filler"]] * 5)
    assert windows[0] == pytest.approx(likeness("norman", "normandi"))
    assert letters[0] > letters[1] >= letters[2] == 0
    assert windows[2] == 0


def test_the_right_chunk_comes_first_where_plain_bm25_puts_it_second() -> None:
    """Both have the words once; only one has them in one sentence."""
    boats = "Boats come and go all day long on the wide river below. " * 3
    apart = Chunk(f"The port is old. {boats} The chat is here. {boats} A default is set.", "a.md")
    together = Chunk(f"{boats} The default port of the chat is 8000. {boats} Ships come too.", "b.md")
    others = [Chunk(f"Other text number {number}.", f"{number}.md") for number in range(8)]
    index = Bm25Index([apart, together, *others])
    question = "What is the default port of the chat?"
    assert [hit.chunk.document for hit in index.search(question, k=1)] == ["a.md"]
    assert [hit.chunk.document for hit in index.ranked(question, k=1)] == ["b.md"]


def test_ranked_hits_keep_their_bm25_scores_and_share_a_word() -> None:
    """The second look orders what BM25 found; it finds nothing of its own and changes no score."""
    index = Bm25Index(
        [Chunk(f"port {'chat ' * number}", f"{number}.md") for number in range(5)] + [Chunk("sun", "s.md")]
    )
    plain = {hit.chunk.document: hit.score for hit in index.search("chat port", k=9)}
    ranked = index.ranked("chat port", k=9)
    assert {hit.chunk.document: hit.score for hit in ranked} == plain
    assert [hit.closeness for hit in ranked] == sorted((hit.closeness for hit in ranked), reverse=True)
    assert index.ranked("zebra") == []
    with pytest.raises(ValueError, match="k must be at least 1, was: 0"):
        index.ranked("port", k=0)


def test_ranking_is_the_same_whether_an_index_grew_or_was_built_at_once() -> None:
    """What was added later is measured with the same statistics; only letters are counted roughly."""
    chunks = [Chunk(f"The {word} listens on port {number}.", f"{word}.md") for number, word in enumerate(
        "alpha beta gamma delta epsilon zeta eta theta".split())]  # fmt: skip
    at_once = Bm25Index(chunks)
    grown = Bm25Index(chunks[:6]).updated({chunk.document: [chunk] for chunk in chunks[6:]})
    for question in ("theta port", "Which port has the alpha?", "listening eta"):
        assert [hit.chunk for hit in grown.ranked(question, k=1)] == [
            hit.chunk for hit in at_once.ranked(question, k=1)
        ]


def test_a_typing_error_finds_the_word_that_looks_most_alike() -> None:
    """Only words that no document has are replaced, and only by something alike."""
    index = Bm25Index([Chunk("Open the firewall.", "ports.md"), Chunk("Water the tomatoes.", "garden.md")])
    assert [hit.chunk.document for hit in index.guessed("firewwall")] == ["ports.md"]
    assert [hit.chunk.document for hit in index.guessed("tomatos please")] == ["garden.md"]
    assert index.guessed("zzzzzz") == []
    assert Bm25Index([]).guessed("anything") == []


@given(st.lists(WORD, max_size=8))
def test_each_word_has_its_groups_whatever_stands_beside_it(words: list[str]) -> None:
    """n - 1 groups for n letters, one for one letter; the same for a word alone and in a list."""
    hashes, starts = hashes_of(words)
    assert len(starts) == len(words) + 1
    for at, word in enumerate(words):
        alone, _ = hashes_of([word])
        assert hashes[starts[at] : starts[at + 1]].tolist() == alone.tolist()
        assert len(alone) == max(1, len(word) - 1)


def test_groups_are_counted_by_the_rows_of_their_words() -> None:
    """Never too few; made once for a segment."""
    segment = Segment.build([["port", "ports"], ["port"], ["sun"]])
    grams = grams_of(segment)
    assert grams is grams_of(segment)
    assert Grams(segment).rows_with(hashes_of(["port"])[0]).min() >= 2
    assert grams.average == pytest.approx((3 + 4 + 3 + 2) / 3)


def test_function_words_of_the_question_are_not_looked_for_in_another_language() -> None:
    """One English sentence in a German document must not take over every English question."""
    english = [Chunk(f"Text {number} is about the router and the port.", f"{number}.md") for number in range(20)]
    licence = Chunk("Was hier steht: this is what the owner of the software has said.", "lizenz.md", language="de")
    right = Chunk("The default port of the router is 8000.", "router.md")
    index = Bm25Index([*english, licence, right])
    hits = index.ranked("What is the default port of the router?", k=3)
    assert hits[0].chunk.document == "router.md"
    assert "lizenz.md" not in [hit.chunk.document for hit in hits]
    assert index.words("the what of") != []
