"""
What every index must do, whichever engine is behind it.

The engines: `Bm25Index`; `QdrantIndex` on Qdrant's own core behind the HTTP double of `tests.qdrant_server`; and,
where QDRANT_URL is set, on the server there, in a collection that is deleted afterwards.
"""

from __future__ import annotations

import importlib.util
import math
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.index import Index
from rag.part import terms
from rag.qdrant import Collection, QdrantIndex, Server
from rag.qdrant.points import source_of, stamp_of

Build = Callable[[Sequence[Chunk]], Index]

HAVE_CORE = all(importlib.util.find_spec(name) for name in ("qdrant_client", "qdrant_edge"))
NO_CORE = "needs qdrant-client and qdrant-edge-py: pip install -r requirements-scale.txt -r requirements-dev.txt"


def average(chunks: Sequence[Chunk]) -> float:
    """How many words a chunk has."""
    return max(1.0, sum(len(terms(chunk)) for chunk in chunks) / max(1, len(chunks)))


def on_server(server: Server, name: str, chunks: Sequence[Chunk]) -> QdrantIndex:
    """An index of chunks in a collection of their own, with their true average length."""
    collection = Collection.made(server, name, chunk_words=150, average=lambda: average(chunks))
    documents: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        documents.setdefault(chunk.document, []).append(chunk)
    if documents:
        collection.write({name: (stamp_of(name, source_of(one), len(one)), one) for name, one in documents.items()})
    return QdrantIndex(collection)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Qdrant's core."""
    if not HAVE_CORE:
        pytest.skip(NO_CORE)
    from tests.qdrant_server import running

    with running(tmp_path_factory.mktemp("core")) as double:
        yield double.url


ENGINES = ["bm25", "qdrant-core"]
if os.environ.get("QDRANT_URL"):
    ENGINES.append(pytest.param("qdrant-server", marks=pytest.mark.live))  # type: ignore[arg-type]


@pytest.fixture(params=ENGINES)
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    """Makes an index of one engine from chunks in the order of their documents' names."""
    if request.param == "bm25":
        yield Bm25Index
        return
    if request.param == "qdrant-server":
        url, key = os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")
    else:
        url, key = request.getfixturevalue("core"), None
    server = Server(url, api_key=SecretStr(key) if key else None)
    made: list[QdrantIndex] = []

    def on_qdrant(chunks: Sequence[Chunk]) -> QdrantIndex:
        made.append(on_server(server, f"test-{uuid.uuid4().hex}", chunks))
        return made[-1]

    yield on_qdrant
    for index in made:
        index.collection.deleted()
    server.close()


def chunks(**texts: str | list[str]) -> list[Chunk]:
    """Documents with a chunk for each text; `a_md` is a.md."""
    return [
        Chunk(text, name.replace("_", "."), number)
        for name, some in sorted(texts.items())
        for number, text in enumerate([some] if isinstance(some, str) else some)
    ]


def found(index: Index, query: str, k: int = 10) -> list[tuple[str, int]]:
    """Where the hits are."""
    return [(hit.chunk.document, hit.chunk.number) for hit in index.search(query, k=k)]


ANIMALS = chunks(
    a_md=["ant bee cat", "dog elk"],
    b_md="ant ant ant fox",
    c_md=["gnu hen", "the of", "ibis jay ant"],
    d_md="yak zebu owl",
)


def test_rarer_words_and_more_of_them_come_first(build: Build) -> None:
    """BM25: what few chunks have tells more, what a chunk has often tells more, what is long tells less."""
    index = build(ANIMALS)
    assert found(index, "ant") == [("b.md", 0), ("a.md", 0), ("c.md", 2)]
    assert found(index, "ant jay")[0] == ("c.md", 2)
    assert found(index, "ant", k=1) == [("b.md", 0)]


def test_scores_fall_and_are_those_of_the_hits(build: Build) -> None:
    """They can be compared within a question."""
    scores = [hit.score for hit in build(ANIMALS).search("ant fox elk", k=5)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0


@pytest.mark.parametrize("query", ["", "the of", "🙂", "zebra", "नेपाली"])
def test_a_question_without_a_shared_word_has_no_hits(build: Build, query: str) -> None:
    """None is a valid result, never the least bad chunk."""
    index = build(ANIMALS)
    assert index.search(query) == index.ranked(query) == []


def test_an_index_of_nothing_finds_nothing(build: Build) -> None:
    """And says so wherever it is asked."""
    index = build([])
    assert (len(index), index.names, index.search("ant"), index.ranked("ant"), index.guessed("ant")) == (
        0,
        [],
        [],
        [],
        [],
    )
    assert index.idf("ant") == 0.0


def test_equal_scores_keep_the_order_of_names_and_numbers(build: Build) -> None:
    """Also where the limit cuts through them."""
    index = build(chunks(a_md="ant", b_md=["bee cat", "ant", "ant"], c_md="ant", d_md="dog", e_md="elk", f_md="fox"))
    everywhere = [("a.md", 0), ("b.md", 1), ("b.md", 2), ("c.md", 0)]
    assert found(index, "ant") == everywhere
    assert found(index, "ant", k=2) == everywhere[:2]


def test_a_word_that_is_asked_twice_counts_twice(build: Build) -> None:
    """As rank-bm25 does it."""
    index = build(chunks(a_md="ant elk", b_md="bee elk", c_md="cat", d_md="dog", e_md="fox gnu"))
    once, twice = index.search("ant bee"), index.search("ant bee bee")
    assert [hit.chunk.document for hit in once] == ["a.md", "b.md"]
    assert [hit.chunk.document for hit in twice] == ["b.md", "a.md"]
    assert twice[0].score == pytest.approx(2 * once[1].score)


@pytest.mark.parametrize("verb", ["search", "ranked"])
def test_k_below_one_is_the_callers_mistake(build: Build, verb: str) -> None:
    """The value is named."""
    with pytest.raises(ValueError, match="k must be at least 1, was: 0"):
        getattr(build(ANIMALS), verb)("ant", k=0)


def test_headings_openings_and_names_are_searched_too(build: Build) -> None:
    """A section 'Ports' need not say 'port' again."""
    there = Chunk("It is 8000.", "manual/router.md", 0, ("Ports",), opening="- Firewall:")
    index = build([there, Chunk("Other things.", "x.md", 0)])
    for query in ("port", "router", "firewall"):
        assert found(index, query) == [("manual/router.md", 0)]


def test_every_field_of_a_chunk_comes_back(build: Build) -> None:
    """In hits and in documents, as it was given."""
    full = Chunk("ant 🙂 \u2028 'x'", "ä b/c#d.md", 0, ("Head", "Lower"), 5, 8, 2, False, "- item", "de")
    plain = Chunk("bee", "ä b/c#d.md", 1)
    index = build([full, plain])
    assert index.document("ä b/c#d.md") == [full, plain]
    assert [hit.chunk for hit in index.search("ant")] == [full]


def test_documents_are_listed_and_counted(build: Build) -> None:
    """In the order of their names; one that is not there is a KeyError."""
    index = build(ANIMALS)
    assert (index.names, len(index)) == (["a.md", "b.md", "c.md", "d.md"], 7)
    assert [chunk.text for chunk in index.document("c.md")] == ["gnu hen", "the of", "ibis jay ant"]
    with pytest.raises(KeyError, match=r"no\.md"):
        index.document("no.md")


def test_a_question_is_cut_into_the_words_of_the_documents_languages(build: Build) -> None:
    """Each language makes its own; without documents there is the default."""
    index = build([Chunk("running", "a.md"), Chunk("Häuser", "b.md", language="de")])
    assert index.words("running Häuser") == Bm25Index(
        [Chunk("running", "a.md"), Chunk("Häuser", "b.md", language="de")]
    ).words("running Häuser")
    assert build([]).words("running") == ["run"]


def test_rarer_words_tell_more(build: Build) -> None:
    """What no chunk has tells as much as the rarest; a word that all have, next to nothing."""
    index = build(chunks(**{f"{name}_md": f"zoo {name * 3}" for name in "abcdefgh"}))
    everywhere, rare, never = (index.idf(word) for word in ("zoo", "aaa", "never"))
    assert 0 <= everywhere < rare == pytest.approx(never, rel=1e-5)
    assert rare == pytest.approx(math.log(7.5 / 1.5), rel=1e-5)


def test_a_second_look_prefers_words_that_stand_together(build: Build) -> None:
    """Of two chunks with the same words, the one that has them in one place."""
    filler = " ".join(f"filler{number}" for number in range(40))
    index = build(chunks(a_md=f"red {filler} bridge", b_md=f"{filler} red bridge", c_md="other things", d_md="more"))
    first, second = index.ranked("red bridge", k=2)
    assert (first.chunk.document, second.chunk.document) == ("b.md", "a.md")
    assert 1 >= first.closeness > second.closeness > 0


def test_words_with_typing_errors_find_what_looks_like_them(build: Build) -> None:
    """And words that look like nothing find nothing."""
    index = build(chunks(a_md="restore the configuration", b_md="ant bee", c_md="cat dog"))
    assert [hit.chunk.document for hit in index.guessed("configuratoin")] == ["a.md"]
    assert index.guessed("qqqq") == []


def test_an_update_makes_another_index_and_leaves_this_one(build: Build) -> None:
    """Searches that are under way, and other conversations, go on in the old one."""
    index = build(ANIMALS)
    grown = index.updated(
        {"b.md": [Chunk("elk elk", "b.md")], "upload/x.md": [Chunk("newt ant", "upload/x.md")]}, ["c.md"]
    )
    assert grown.names == ["a.md", "b.md", "d.md", "upload/x.md"]
    assert len(grown) == 5
    assert {place for place, _ in found(grown, "ant elk newt")} == {"a.md", "b.md", "upload/x.md"}
    assert found(grown, "newt") == [("upload/x.md", 0)]
    assert [hit.chunk.document for hit in grown.ranked("newt")] == ["upload/x.md"]
    assert grown.document("b.md") == [Chunk("elk elk", "b.md")]
    with pytest.raises(KeyError):
        grown.document("c.md")
    assert found(index, "newt") == []
    assert index.names == ["a.md", "b.md", "c.md", "d.md"]
    again = grown.updated({}, ["upload/x.md"])
    assert found(again, "newt") == []


def test_what_is_added_is_ranked_among_the_others(build: Build) -> None:
    """The same text has the same score, whether it was there or was added."""
    index = build(ANIMALS).updated({"upload/d.md": [Chunk("yak zebu owl", "upload/d.md")]})
    assert found(index, "zebu") == [("d.md", 0), ("upload/d.md", 0)]
    there, added = index.search("zebu owl")
    assert [there.chunk.document, added.chunk.document] == ["d.md", "upload/d.md"]
    assert there.score == pytest.approx(added.score, rel=1e-5)


def test_a_chunk_given_for_another_document_is_the_callers_mistake(build: Build) -> None:
    """It would be found under a name that it does not have."""
    with pytest.raises(ValueError, match=r"a chunk of b\.md was given for a\.md"):
        build([]).updated({"a.md": [Chunk("ant", "b.md")]})


def test_in_one_piece_it_is_the_same(build: Build) -> None:
    """Merging changes nothing that can be seen."""
    index = build(ANIMALS)
    merged = index.merged()
    assert not merged.needs_merge
    assert not merged.has_removed
    assert found(merged, "ant elk") == found(index, "ant elk")


def test_both_engines_find_the_same(build: Build) -> None:
    """At least 95 % of rank-bm25's ten best, on the pages of the manual, where the average length is the true one."""
    from rag.chunking import split
    from rag.documents import read_folder

    pages = sorted(read_folder(Path("docs")).documents, key=lambda page: page.name)
    corpus = [chunk for page in pages for chunk in split(page, max_words=60)]
    exact, index = Bm25Index(corpus), build(corpus)
    same = all_of_them = 0
    for page in pages:
        for heading in {chunk.heading[-1] for chunk in exact.document(page.name) if chunk.heading}:
            right = set(found(exact, f"What about {heading}?"))
            same += len(right & set(found(index, f"What about {heading}?")))
            all_of_them += len(right)
    assert all_of_them > 300
    assert same / all_of_them >= 0.95


@pytest.mark.live
@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="needs a Qdrant server: set QDRANT_URL (and QDRANT_API_KEY)")
def test_the_suite_ran_on_a_server_too() -> None:
    """Without one it says so; with one, every test above has run on it."""
    assert "qdrant-core" in ENGINES
    assert len(ENGINES) == 3
