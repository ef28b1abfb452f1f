"""One state of the document set."""

from __future__ import annotations

import pytest

from rag.bm25 import Bm25Index
from rag.catalogue import Entry
from rag.chunking import split
from rag.documents import Document
from rag.shelf import Shelf

ROUTER = (
    "# Router\n\nThe router has a reset button.\n\n## Ports\n\nIt listens on port 8000.\n\n## Colour\n\nIt is blue.\n"
)
GARDEN = "# Garden\n\nTomatoes need sun.\n"


def shelf_of(**texts: str) -> Shelf:
    """A shelf of Markdown documents, and beside them a copy of the first and a file that is left out."""
    documents = [Document(f"{name}.md", text, language="en") for name, text in texts.items()]
    chunks = {document.name: split(document, max_words=160) for document in documents}
    entries = {name: Entry(name, digest=name, chunks=len(some)) for name, some in chunks.items()}
    first = next(iter(entries))
    entries["copy.md"] = Entry("copy.md", digest=first, copy_of=first)
    entries["photo.jpg"] = Entry("photo.jpg", reason="no reader for .jpg")
    return Shelf(dict(sorted(entries.items())), Bm25Index([chunk for some in chunks.values() for chunk in some]))


SHELF = shelf_of(router=ROUTER, garden=GARDEN)


def test_the_summary_counts_documents_copies_and_files_left_out() -> None:
    """One line for the end of a list."""
    assert SHELF.documents == ["copy.md", "garden.md", "router.md"]
    assert SHELF.summary == ("3 documents in 4 chunks, 1 of them with the same text as another, 1 file left out")
    assert Shelf().summary == "0 documents in 0 chunks"


def test_a_hit_names_the_copies_of_its_document() -> None:
    """The same text is found once, under all its names."""
    [hit] = SHELF.search("which port?", k=1)
    assert (hit.chunk.document, hit.also) == ("router.md", ("copy.md",))
    [hit] = SHELF.search("tomatoes", k=1)
    assert hit.also == ()


@pytest.mark.parametrize(
    ("document", "quote", "says"),
    [
        pytest.param("router.md", "port 8000", True, id="it does"),
        pytest.param("copy.md", "port 8000", True, id="its original does"),
        pytest.param("router.md", "port 9000", False, id="other words"),
        pytest.param("garden.md", "port 8000", False, id="another document does"),
        pytest.param("photo.jpg", "port 8000", False, id="left out"),
        pytest.param("gone.md", "port 8000", False, id="gone"),
    ],
)
def test_whether_a_document_still_says_something(document: str, quote: str, says: bool) -> None:
    """A citation of an earlier answer is checked against what is there now."""
    assert SHELF.says(document, quote) is says


def test_neighbours_are_the_chunks_before_and_after() -> None:
    """At both ends of a document there is nothing, and never a piece of another document."""
    first, middle, last = SHELF.index.document("router.md")
    assert SHELF.neighbours(first) == ("", "\n\n" + middle.text)
    assert SHELF.neighbours(middle) == (first.text + "\n\n", "\n\n" + last.text)
    assert SHELF.neighbours(last) == (middle.text + "\n\n", "")


def test_a_chunk_of_an_older_state_has_no_neighbours_where_its_document_is_gone() -> None:
    """Somebody may look at an old answer; a document that is a copy now shows those of its original."""
    chunk = SHELF.index.document("garden.md")[0]
    assert shelf_of(router=ROUTER).neighbours(chunk) == ("", "")
    left_out = Shelf({"garden.md": Entry("garden.md", reason="damaged")})
    assert left_out.neighbours(chunk) == ("", "")


@pytest.mark.parametrize(
    ("question", "first"),
    [("tomatos in the sn", "garden.md"), ("ruoter butons", "router.md"), ("???", "copy.md")],
    ids=["a letter missing", "letters swapped", "nothing looks alike: the first ones"],
)
def test_the_nearest_documents_forgive_typing_errors(question: str, first: str) -> None:
    """They are named where the documents do not answer."""
    assert SHELF.nearest(question)[0] == first
    assert len(SHELF.nearest(question, most=2)) == 2
    assert Shelf().nearest(question) == []


def test_a_conversations_documents_are_found_beside_the_librarys() -> None:
    """The library's own state stays as it is; titles, languages and fates are told as for any document."""
    slovenian = "# Vrt\n\nParadižnik potrebuje šest ur sonca na dan, zato ga vedno posadite na južno stran vrta."
    mine = [Document("upload/vrt.md", slovenian), Document("upload/empty.md", "\n")]
    shelf = SHELF.with_uploads(mine, max_words=160)
    assert shelf.search("paradižnik", k=1)[0].chunk.document == "upload/vrt.md"
    assert shelf.search("tomatoes", k=1)[0].chunk.document == "garden.md"
    assert (shelf.entries["upload/vrt.md"].language, shelf.entries["upload/vrt.md"].title) == ("sl", "Vrt")
    assert shelf.entries["upload/empty.md"].fate == "left out: no text to search"
    assert SHELF.search("paradižnik") == []
    assert SHELF.with_uploads([], max_words=160) is SHELF
