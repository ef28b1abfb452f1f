"""The BM25 index."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.text import words

WORDS = st.sampled_from("ant bee cat dog elk fox gnu hen ibis jay".split())
CORPUS = st.lists(st.lists(WORDS, min_size=1, max_size=12), min_size=1, max_size=15)


def chunks(*texts: str) -> list[Chunk]:
    """Chunks without a document name, so that only their text counts."""
    return [Chunk(text, "", number) for number, text in enumerate(texts)]


def test_a_score_is_what_the_formula_says() -> None:
    """By hand: idf = ln((N - n + 0.5) / (n + 0.5)), then f (k1 + 1) / (f + k1 (1 - b + b len / avg))."""
    index = Bm25Index(chunks("ant bee", "cat dog", "elk fox"))
    (hit,) = index.search("ant")
    idf = math.log((3 - 1 + 0.5) / (1 + 0.5))
    assert hit.score == pytest.approx(idf * 1 * (1.5 + 1) / (1 + 1.5 * (1 - 0.75 + 0.75 * 2 / 2)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(corpus=CORPUS, query=st.lists(WORDS, min_size=1, max_size=5), k=st.integers(1, 20))
def test_scores_and_order_are_those_of_rank_bm25(corpus: list[list[str]], query: list[str], k: int) -> None:
    """Same scores, ties in corpus order, and only chunks that share a word."""
    index = Bm25Index(chunks(*(" ".join(text) for text in corpus)))
    tokens = [words(" ".join(text)) for text in corpus]
    asked = words(" ".join(query))
    scores = BM25Okapi(tokens).get_scores(asked)
    matching = [row for row, text in enumerate(tokens) if set(asked) & set(text)]

    hits = index.search(" ".join(query), k=k)

    assert len(hits) == min(k, len(matching))
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.chunk.number], abs=1e-9)
    places = [(-round(hit.score, 9), hit.chunk.number) for hit in hits]
    assert places == sorted(places)


def test_a_true_match_with_score_zero_is_still_a_hit() -> None:
    """Okapi gives a word in half of a tiny corpus the score 0; the reader asked for it all the same."""
    hits = Bm25Index(chunks("ant bee", "cat dog")).search("ant")
    assert [(hit.chunk.text, hit.score) for hit in hits] == [("ant bee", 0.0)]


def test_equal_scores_keep_corpus_order() -> None:
    """The same text twice: the first comes first."""
    hits = Bm25Index(chunks("ant", "bee cat", "ant", "dog elk", "fox gnu")).search("ant")
    assert [hit.chunk.number for hit in hits] == [0, 2]


@pytest.mark.parametrize("query", ["", "the of", "🙂", "zebra", "नेपाली"])
def test_a_question_without_a_shared_word_has_no_hits(query: str) -> None:
    """None is a valid result, never the least bad chunk."""
    assert Bm25Index(chunks("ant bee", "cat dog")).search(query) == []


@pytest.mark.parametrize("texts", [(), ("the of",)], ids=["empty corpus", "only stop words"])
def test_an_index_of_nothing_finds_nothing(texts: tuple[str, ...]) -> None:
    """rank-bm25 divides by zero here."""
    assert Bm25Index(chunks(*texts)).search("ant") == []


def test_headings_and_the_name_of_the_document_are_searched_too() -> None:
    """A section 'Ports' need not say 'port' again."""
    index = Bm25Index([Chunk("It is 8000.", "manual/router.md", 0, ("Ports",)), Chunk("Other things.", "x.md", 0)])
    assert [hit.chunk.document for hit in index.search("port of the router")] == ["manual/router.md"]


def test_k_below_one_is_the_callers_mistake() -> None:
    """The value is named."""
    with pytest.raises(ValueError, match="k must be at least 1, was: 0"):
        Bm25Index(chunks("ant")).search("ant", k=0)
