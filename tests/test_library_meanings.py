"""What the library does with meanings: it keeps them in its home, not too often, and nothing of texts that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rag.chunking import Chunk
from rag.documents import Document
from rag.homes import home_of
from rag.library import Library
from rag.meanings import Keeping, Meanings, Vectors
from tests.library_kit import following, until
from tests.test_meanings import CountingLetters

pytestmark = pytest.mark.anyio

PORT, SUN = "The port of the chat is 8000.", "Tomatoes need sun. Water them in the morning."


@pytest.fixture(name="letters")
def encoder_by_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second for the weights of the real encoder."""
    monkeypatch.setattr("rag.library.Encoder", CountingLetters)


@pytest.fixture(name="at_once")
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanings are learnt from the start on, and rest for a moment only."""
    monkeypatch.setattr("rag.library._SETTLED_S", 0.0)
    monkeypatch.setattr("rag.library.Keeping", partial(Keeping, rest_s=0.3))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with two documents, of a chunk each."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "port.md").write_text(PORT)
    (folder / "sun.md").write_text(SUN)
    return folder


def kept_for(docs: Path, place: Path) -> list[bool]:
    """Of each of the two texts, whether its vectors are on the disk."""
    kept = Meanings(CountingLetters, save_to=home_of(docs, place))
    return [not kept.missing([Chunk(text, "", language="en")]) for text in (PORT, SUN)]


async def read_once(docs: Path, place: Path, *, learn: bool = True, **options: Any) -> None:
    """A command that opens the library, and closes it again."""
    library = Library(docs, save_to=place, language="en", **{"by_meaning": True, **options})
    try:
        await library.refresh()
        if learn:
            await library.learn()
    finally:
        await library.close()


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


@pytest.mark.usefixtures("letters")
async def test_while_a_document_keeps_changing_the_vectors_rest(docs: Path, tmp_path: Path) -> None:
    """All of them are one file, written whole: not for every change, but at the end."""
    place = tmp_path / "index"
    library = Library(docs, by_meaning=True, language="en", save_to=place)
    try:
        await library.refresh()
        await library.learn()
        (kept,) = place.rglob("meanings.npz")
        first = kept.stat()
        for number in range(3):
            (docs / "port.md").write_text(f"Note number {number}.")
            await library.refresh()
            await library.learn()
            assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    finally:
        await library.close()
    assert kept_for(docs, place) == [False, True]
    assert not Meanings(CountingLetters, save_to=kept.parent).missing([Chunk("Note number 2.", "", language="en")])


@pytest.mark.usefixtures("letters", "at_once")
async def test_after_the_rest_the_vectors_are_kept_though_nothing_else_changes(docs: Path, tmp_path: Path) -> None:
    """What was learnt meanwhile is kept, and what was deleted meanwhile is gone, long before the chat ends."""
    place = tmp_path / "index"
    async with following(docs, by_meaning=True, language="en", save_to=place):
        await until(lambda: kept_for(docs, place) == [True, True])
        (docs / "port.md").unlink()
        await until(lambda: kept_for(docs, place) == [False, True])
        (docs / "port.md").write_text(PORT)
        await until(lambda: kept_for(docs, place) == [True, True])


@pytest.mark.usefixtures("letters", "at_once")
@pytest.mark.parametrize("by_meaning", [True, False], ids=["too many chunks", "switched off"])
async def test_where_no_meanings_are_learnt_those_of_deleted_texts_go_too(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_meaning: bool
) -> None:
    """Deleted is deleted, also where nobody uses the vectors any more."""
    place = tmp_path / "index"
    await read_once(docs, place)
    assert kept_for(docs, place) == [True, True]
    if by_meaning:
        (docs / "third.md").write_text("Zebras are striped.")
        monkeypatch.setattr("rag.library.MOST_CHUNKS", 1)
    async with following(docs, by_meaning=by_meaning, language="en", save_to=place):
        (docs / "port.md").unlink()
        await until(lambda: kept_for(docs, place) == [False, not by_meaning])


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("options", [{}, {"by_meaning": False}], ids=["looks only", "switched off"])
async def test_what_was_deleted_while_nothing_ran_goes_with_the_next_use(
    docs: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Whichever it is; the vectors of what is still there stay."""
    place = tmp_path / "index"
    await read_once(docs, place)
    (docs / "port.md").unlink()
    await read_once(docs, place, learn=False, **options)
    assert kept_for(docs, place) == [False, True]


@pytest.mark.usefixtures("letters", "at_once")
async def test_the_vectors_of_a_running_chat_are_left_alone_until_it_ends(docs: Path, tmp_path: Path) -> None:
    """An evaluation with chunks of another size learns its own, for itself; a second chat waits for its turn."""
    place = tmp_path / "index"
    (docs / "long.md").write_text(" ".join(f"Sentence {number} is about the sea." for number in range(60)))
    async with following(docs, by_meaning=True, language="en", save_to=place, chunk_words=20) as other:
        await until(lambda: kept_for(docs, place) == [True, True])
        (kept,) = place.rglob("meanings.npz")
        content = kept.read_bytes()
        await read_once(docs, place, chunk_words=150)
        assert kept.read_bytes() == content
        second = Library(docs, by_meaning=True, language="en", save_to=place, chunk_words=150)
        try:
            await second.refresh()
            second.start()
            await second.learn()
            await other.close()
            assert kept.read_bytes() == content
            await until(lambda: not Meanings(CountingLetters, save_to=kept.parent).missing(second.shelf.index.chunks))
        finally:
            await second.close()


@pytest.mark.usefixtures("letters")
async def test_a_folder_that_cannot_be_read_costs_no_vectors(docs: Path, tmp_path: Path) -> None:
    """Nobody knows whether anything was deleted, even where the saved index is for other settings."""
    place = tmp_path / "index"
    await read_once(docs, place)
    docs.rename(tmp_path / "away")
    await read_once(docs, place, chunk_words=20)
    (tmp_path / "away").rename(docs)
    assert kept_for(docs, place) == [True, True]


@pytest.mark.usefixtures("letters")
async def test_the_vectors_of_deleted_texts_are_forgotten_also_where_none_are_kept(docs: Path) -> None:
    """A chat that runs for months must not grow."""
    library = Library(docs, by_meaning=True, language="en")
    try:
        await library.refresh()
        await library.learn()
        (docs / "port.md").unlink()
        await library.refresh()
        await library.learn()
        assert library._meanings is not None
        assert library._meanings.missing([Chunk(PORT, "", language="en")])
        assert not library._meanings.missing([Chunk(SUN, "", language="en")])
    finally:
        await library.close()


@pytest.mark.usefixtures("letters")
async def test_vectors_that_cannot_be_kept_fail_nothing_else(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither learning nor closing; the log says why, and it is tried again."""

    def fail(*_: object, **__: object) -> bool:
        raise ValueError("nobody thought of this")

    place = tmp_path / "index"
    library = Library(docs, by_meaning=True, language="en", save_to=place)
    try:
        await library.refresh()
        with monkeypatch.context() as patched:
            patched.setattr(Meanings, "keep", fail)
            await library.learn()
            assert library._keeping.unkept
            assert "nobody thought of this" in caplog.text
    finally:
        await library.close()
    assert kept_for(docs, place) == [True, True]
    library = Library(docs, by_meaning=True, language="en", save_to=place)
    await library.refresh()
    await library.learn()
    monkeypatch.setattr(Keeping, "keep", fail)
    library._keeping.unkept = True
    await library.close()
