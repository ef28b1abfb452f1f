"""Postings: the best rows exactly, although most are never scored."""

from __future__ import annotations

import threading
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from rag import okapi, segment
from rag.segment import Ints, Segment

# A few words that are common and many that are not: an index of a byte's range for each word.
WORD = st.integers(0, 255).map(lambda draw: f"w{draw * draw // 1500}")
CORPUS = st.lists(st.lists(WORD, max_size=14), min_size=1, max_size=60).filter(any)
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


def check(rows: Ints, scores: Ints, wanted: Ints, matching: list[int], k: int) -> None:
    """
    These are the first `k` of a stable sort of rank-bm25's scores of the texts that share a word.

    rank-bm25 adds up the idf of its vocabulary in an order of its own, so that the last bit of a score may differ and
    with it the order of what ties; where our scores are equal, rows are in order.
    """
    best = sorted(matching, key=lambda row: (-wanted[row], row))[:k]
    assert scores.tolist() == pytest.approx(wanted[best].tolist(), rel=1e-9, abs=1e-12)
    assert scores.tolist() == pytest.approx(wanted[rows].tolist(), rel=1e-9, abs=1e-12)
    assert len(set(rows.tolist())) == len(rows)
    assert set(rows.tolist()) <= set(matching)
    assert list(zip((-scores).tolist(), rows.tolist(), strict=True)) == sorted(zip(-scores, rows, strict=True))


def sharing(corpus: list[list[str]], asked: list[str]) -> list[int]:
    """The rows that have one of the words."""
    return [row for row, text in enumerate(corpus) if set(asked) & set(text)]


def zipfian(n_rows: int, n_words: int, seed: int) -> list[list[str]]:
    """Made-up texts in which a few words are in most rows, and most words in few."""
    random = np.random.default_rng(seed)
    share = 1 / (np.arange(n_words) + 3)
    return [
        [f"w{word}" for word in random.choice(n_words, size, p=share / share.sum())]
        for size in random.integers(5, 40, n_rows).tolist()
    ]


@pytest.mark.parametrize("small", [0, 1_000_000], ids=["bounds", "every match"])
@SETTINGS
@given(corpus=CORPUS, asked=st.lists(WORD, min_size=1, max_size=7), k=st.integers(1, 70))
def test_the_best_rows_are_those_of_rank_bm25(small: int, corpus: list[list[str]], asked: list[str], k: int) -> None:
    """Same rows, same order, same scores; words twice in the query count twice, and empty texts count too."""
    with patch.object(segment, "_SMALL", small):
        rows, scores = Segment.build(corpus).top(asked, k)
    check(rows, scores, BM25Okapi(corpus).get_scores(asked), sharing(corpus, asked), k)


@pytest.mark.parametrize("n_words", [40, 400, 20_000])
@pytest.mark.parametrize("k", [1, 5, 60, 2_500])
def test_a_large_corpus_has_the_same_best_rows(n_words: int, k: int) -> None:
    """Here most rows are passed over, with words rare, common, and in more than half of the rows."""
    corpus = zipfian(3_000, n_words, seed=n_words)
    built, reference = Segment.build(corpus), BM25Okapi(corpus)
    random = np.random.default_rng(k)
    for _ in range(25):
        asked = [corpus[row][0] for row in random.integers(0, len(corpus), random.integers(1, 9)).tolist()]
        rows, scores = built.top(asked, k)
        check(rows, scores, reference.get_scores(asked), sharing(corpus, asked), k)


def test_rows_that_tie_keep_their_order_however_many_they_are() -> None:
    """Bounds cannot tell them apart, so all of them are scored."""
    corpus = [["ant", "bee"], ["cat"]] * 4_000 + [["dog"]] * 9_000
    rows, scores = Segment.build(corpus).top(["ant", "cat"], 5)
    assert rows.tolist() == [1, 3, 5, 7, 9]
    assert len(set(scores.tolist())) == 1


@SETTINGS
@given(corpus=CORPUS, data=st.data(), average=st.floats(0.5, 60), k=st.integers(1, 20))
def test_removed_rows_and_another_average_change_scores_exactly(
    corpus: list[list[str]], data: st.DataObject, average: float, k: int
) -> None:
    """Bounds were made with the segment's own average length; they still hold for another."""
    with patch.object(segment, "_SMALL", 0):
        built = Segment.build(corpus)
        removed = np.array(sorted(data.draw(st.sets(st.integers(0, len(corpus) - 1)))), dtype=np.int64)
        rank = np.array(data.draw(st.permutations(range(len(corpus)))))
        asked = [(word, 1.0 + word % 3) for word in data.draw(st.lists(st.sampled_from(range(len(built.words)))))]
        rows, scores = built.best(asked, k, average=average, removed=removed, rank=rank)

    wanted = {}
    for row in set(range(len(corpus))) - set(removed.tolist()):
        text = corpus[row]
        counts = np.array([text.count(built.names[word]) for word, _ in asked])
        if counts.any():
            gains = okapi.impacts(counts, np.array(len(text)), average)
            wanted[row] = float(sum(idf * gain for (_, idf), gain in zip(asked, gains.tolist(), strict=True)))
    best = sorted(wanted, key=lambda row: (-wanted[row], rank[row]))[:k]
    assert scores.tolist() == pytest.approx([wanted[row] for row in best], rel=1e-9)
    assert rows.tolist() == best


@SETTINGS
@given(first=CORPUS, second=CORPUS, data=st.data())
def test_joined_segments_are_the_segment_of_the_joined_texts(
    first: list[list[str]], second: list[list[str]], data: st.DataObject
) -> None:
    """Whichever rows are taken, in whatever order."""
    texts = [first, second]
    chosen = [np.array(data.draw(st.lists(st.integers(0, len(text) - 1), unique=True)), dtype=int) for text in texts]
    order = np.array(data.draw(st.permutations(range(sum(map(len, chosen))))), dtype=int)
    joined = Segment.joined(list(zip(map(Segment.build, texts), chosen, strict=True)), order)

    taken = [text[row] for text, rows in zip(texts, chosen, strict=True) for row in rows]
    assert [joined.words_of(row) for row in range(len(joined))] == [taken[place] for place in order]
    fresh = Segment.build([taken[place] for place in order])
    asked = sorted({*first[0], *second[0], "w0", "w1"})
    assert [found.tolist() for found in joined.top(asked, 9)] == [found.tolist() for found in fresh.top(asked, 9)]


def test_restored_arrays_are_the_same_segment() -> None:
    """What is saved is all there is."""
    corpus = zipfian(1_500, 100, seed=1)
    built = Segment.build(corpus)
    restored = Segment.restored(built.arrays())
    assert restored.words == built.words
    assert [found.tolist() for found in restored.top(["w0", "w50"], 9)] == [
        found.tolist() for found in built.top(["w0", "w50"], 9)
    ]


@pytest.mark.parametrize("corpus", [[], [[]], [[], []]], ids=["no row", "an empty row", "two empty rows"])
def test_a_segment_without_words_finds_nothing(corpus: list[list[str]]) -> None:
    """rank-bm25 divides by zero here."""
    rows, scores = Segment.build(corpus).top(["ant"], 3)
    assert (rows.tolist(), scores.tolist()) == ([], [])


def test_threads_do_not_meet_in_one_memory() -> None:
    """Searches at the same time give what each gives alone."""
    corpus = zipfian(4_000, 200, seed=7)
    built = Segment.build(corpus)
    questions = [[f"w{word}" for word in range(at, at + 5)] for at in range(0, 100, 5)]
    alone = [[found.tolist() for found in built.top(asked, 5)] for asked in questions]
    wrong: list[list[str]] = []

    def search() -> None:
        for _ in range(10):
            for asked, wanted in zip(questions, alone, strict=True):
                if [found.tolist() for found in built.top(asked, 5)] != wanted:
                    wrong.append(asked)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("n_rows", [1, 2, 7])
def test_the_formula_is_rank_bm25s(n_rows: int) -> None:
    """Its idf, the floor for common words included, and its impact, to the last bits."""
    corpus = [["ant", "ant", "bee"], ["ant", "cat"], ["ant"], ["dog"], ["ant", "elk"], ["bee"], ["ant"]][:n_rows]
    reference = BM25Okapi(corpus)
    frequencies = {word: sum(word in text for text in corpus) for word in reference.idf}
    common = okapi.common_idf(np.array(list(frequencies.values())), n_rows)
    for word, frequency in frequencies.items():
        idf = okapi.idf(frequency, n_rows)
        assert (idf if idf >= 0 else common) == pytest.approx(reference.idf[word], rel=1e-12)
