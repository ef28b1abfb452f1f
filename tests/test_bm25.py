"""The BM25 index."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from rag import segment
from rag.bm25 import Bm25Index, BrokenFile
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


NAMES = st.sampled_from(["a.md", "b/c.md", "b.md", "é.md", "x.txt"])
DOCUMENTS = st.dictionaries(NAMES, st.lists(st.lists(WORDS, min_size=1, max_size=8), max_size=4), max_size=5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), DOCUMENTS, st.sets(NAMES, max_size=2)),
        st.tuples(st.sampled_from(["merge", "save and load"])),
    ),
    max_size=5,
)


def document(name: str, texts: list[list[str]]) -> list[Chunk]:
    """The chunks of a document, one for each text."""
    return [Chunk(" ".join(text), name, number, ("Head", text[0])) for number, text in enumerate(texts)]


def everything(index: Bm25Index) -> object:
    """All that can be seen of an index."""
    asked = ["ant", "bee cat", "dog dog elk fox", "c a x", "Head jay ibis hen gnu"]
    return (
        list(index.chunks),
        index.names,
        [index.document(name) for name in index.names],
        len(index),
        [index.idf(word) for word in ("ant", "head", "zebra")],
        [index.search(query, k=k) for query in asked for k in (1, 3, 50)],
    )


@pytest.mark.parametrize("small", [0, 1_000], ids=["bounds", "every match"])
@settings(max_examples=120, deadline=None, derandomize=True)
@given(start=DOCUMENTS, steps=STEPS)
def test_an_index_that_grew_is_the_index_built_at_once(
    small: int,
    start: dict[str, list[list[str]]],
    steps: list[tuple[object, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever was added, replaced, removed, merged and saved: chunks, order, statistics and scores, to the bit."""
    folder = tmp_path_factory.mktemp("index")
    held = {name: document(name, texts) for name, texts in start.items()}
    index = Bm25Index([chunk for name in sorted(held) for chunk in held[name]])
    for kind, *rest in steps:
        if kind == "update":
            documents, removed = rest
            changed = {name: document(name, texts) for name, texts in documents.items()}  # type: ignore[attr-defined]
            gone = removed - changed.keys()  # type: ignore[operator]
            index = index.updated(changed, gone)
            held = {name: chunks for name, chunks in (held | changed).items() if name not in gone}
        elif kind == "merge":
            index = index.merged()
        else:
            index.save(folder)
            index = Bm25Index.load(folder)
        fresh = Bm25Index([chunk for name in sorted(held) for chunk in held[name]])
        with patch.object(segment, "_SMALL", small):
            assert everything(index) == everything(fresh)


def test_a_corpus_out_of_order_is_sorted_by_name_once_it_is_updated() -> None:
    """Equal scores then follow the names, within the base as between base and changes."""
    index = Bm25Index([Chunk("ant", "c/x.md"), Chunk("ant", "a/x.md"), Chunk("dog elk fox", "z/x.md")])
    assert [hit.chunk.document for hit in index.search("ant")] == ["c/x.md", "a/x.md"]
    grown = index.updated({"b/x.md": [Chunk("ant", "b/x.md")]})
    assert [hit.chunk.document for hit in grown.search("ant", k=2)] == ["a/x.md", "b/x.md"]
    assert grown.names == grown.merged().names == ["a/x.md", "b/x.md", "c/x.md", "z/x.md"]
    assert [hit.chunk.document for hit in index.search("ant")] == ["c/x.md", "a/x.md"]


def test_chunks_of_a_document_that_are_apart_come_together() -> None:
    """A document's chunks are neighbours, where its first one stood."""
    index = Bm25Index([Chunk("one", "a.md", 0), Chunk("two", "b.md", 0), Chunk("three", "a.md", 1)])
    assert [chunk.text for chunk in index.chunks] == ["one", "three", "two"]


def test_every_field_of_a_chunk_is_kept(tmp_path: Path) -> None:
    """In the index as in its file; a new field must be given its place in `Passages`."""
    full = Chunk("ant", "a.md", 3, ("Head", "Lower"), 5, 8, 2, False, "- item", "de")
    blank = Chunk("bee", "a.md", 4)
    same = [field.name for field in fields(Chunk) if getattr(full, field.name) == getattr(blank, field.name)]
    assert same == ["document"]
    index = Bm25Index([full, blank])
    index.save(tmp_path)
    for kept in (index, Bm25Index.load(tmp_path), index.updated({"b.md": [Chunk("cat", "b.md")]}).merged()):
        assert kept.document("a.md") == [full, blank]


def test_chunks_are_a_sequence() -> None:
    """Of the chunks as they were given, from the front, from the back and in slices."""
    given_chunks = [
        replace(chunk, page=page, markdown=page is None, start=3, end=7, heading=("Ä", "b") if page else ())
        for page, chunk in zip([None, 0, 4], chunks("ant \U0001f642", "", "b\udcff"), strict=True)
    ]
    view = Bm25Index(given_chunks).chunks
    assert list(view) == given_chunks
    assert (view[-1], view[1:], len(view)) == (given_chunks[-1], given_chunks[1:], 3)
    with pytest.raises(IndexError, match="chunk 3 of 3"):
        view[3]


def test_a_chunk_given_for_another_document_is_the_callers_mistake() -> None:
    """It would be found under a name that it does not have."""
    with pytest.raises(ValueError, match=r"a chunk of b\.md was given for a\.md"):
        Bm25Index().updated({"a.md": [Chunk("ant", "b.md")]})


def test_many_changes_ask_for_a_merge() -> None:
    """A few do not; after the merge none are left."""
    index = Bm25Index(document("a.md", [["ant"]] * 100))
    assert not index.updated({"b.md": document("b.md", [["bee"]])}).needs_merge
    grown = index.updated({"b.md": document("b.md", [["bee"]] * 2_001)})
    assert grown.needs_merge
    assert not grown.merged().needs_merge


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a saved index that has a base, an addition and a removal."""
    index = Bm25Index([*document("a.md", [["ant", "bee"]]), *document("b.md", [["cat"]])])
    index.updated({"c.md": document("c.md", [["dog"], ["ant"]])}, ["b.md"]).save(tmp_path, {"seen": [1, "x"]})
    return tmp_path


def test_a_saved_index_brings_its_manifest(saved: Path) -> None:
    """Whoever saved it finds again what it noted."""
    assert Bm25Index.load(saved).manifest == {"seen": [1, "x"]}


def test_saving_a_change_leaves_the_base_as_it_lies(saved: Path) -> None:
    """Only what is new is written, and nothing old stays."""
    (base,) = saved.glob("base-*.bin")
    before = base.stat().st_mtime_ns
    index = Bm25Index.load(saved).updated({"d.md": document("d.md", [["elk"]])})
    index.save(saved)
    assert base.stat().st_mtime_ns == before
    assert everything(Bm25Index.load(saved)) == everything(index)
    index.merged().save(saved)
    assert not base.exists()
    assert sorted(path.suffix for path in saved.iterdir()) == [".bin", ".bin", ".json"]
    assert everything(Bm25Index.load(saved)) == everything(index)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, Path.unlink])
@pytest.mark.parametrize("pattern", ["base-*.bin", "changes-*.bin", "index.json"])
def test_a_damaged_index_is_refused(saved: Path, pattern: str, damage: Callable[[Path], None]) -> None:
    """The caller builds a new one."""
    (path,) = saved.glob(pattern)
    damage(path)
    with pytest.raises(BrokenFile, match=str(saved)):
        Bm25Index.load(saved)


def test_an_interrupted_save_leaves_the_old_state(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last step, which is one, a reader meets what was there before."""
    old = everything(Bm25Index.load(saved))
    changed = Bm25Index.load(saved).updated({"d.md": document("d.md", [["elk"]])})

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("os.fsync", "os.replace", "json.dumps"):
        with monkeypatch.context() as patched:
            patched.setattr(f"rag.arrays.{step}", crash)
            with pytest.raises(KeyboardInterrupt):
                changed.merged().save(saved)
        assert everything(Bm25Index.load(saved)) == old
    changed.save(saved)
    assert everything(Bm25Index.load(saved)) == everything(changed)


def test_an_index_made_by_other_rules_for_words_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words would never meet those of a question."""
    monkeypatch.setattr("rag.part.terms", lambda chunk: chunk.text.upper().split())
    with pytest.raises(BrokenFile, match="other rules for words"):
        Bm25Index.load(saved)


def test_an_index_of_another_version_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both versions are named."""
    monkeypatch.setattr("rag.bm25._FORMAT", "bm25 2")
    with pytest.raises(BrokenFile, match=r"another version: bm25 1 .*, not bm25 2"):
        Bm25Index.load(saved)


def test_a_manifest_must_fit_into_json(saved: Path) -> None:
    """Nothing is saved if it does not."""
    before = json.dumps(Bm25Index.load(saved).manifest)
    with pytest.raises(TypeError):
        Bm25Index.load(saved).save(saved, {"no": np.zeros(1)})
    assert json.dumps(Bm25Index.load(saved).manifest) == before


def test_a_saved_index_is_moved_with_its_folder(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A base that lies elsewhere is written again."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    index = Bm25Index.load(saved)
    index.save(elsewhere)
    assert everything(Bm25Index.load(elsewhere)) == everything(index)
