"""From the folder to the shelf, without an event loop: what is read, what is kept, what is refused."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.catalogue import Change
from rag.documents import Document, read_file
from rag.errors import DocumentsError
from rag.ingest import Ingest, Stopped
from rag.shelf import Shelf, caught_up


class Spy:
    """Reads files as the product does, and notes their names; `before` is called with each name first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.before: Callable[[str], None] = lambda name: None

    def __call__(self, path: Path, *, name: str, parsers: Any) -> Document:
        self.names.append(name)
        self.before(name)
        return read_file(path, name=name, parsers=parsers)


@pytest.fixture
def spy() -> Spy:
    """A reader that tells what it read."""
    return Spy()


@pytest.fixture
def ingest_of(docs: Path, spy: Spy) -> Iterator[Callable[..., Ingest]]:
    """Makes ingests of `docs`, and closes them in the end."""
    made: list[Ingest] = []

    def make(folder: Path = docs, **options: Any) -> Ingest:
        made.append(Ingest(folder, read=spy, **options))
        return made[-1]

    yield make
    for ingest in made:
        ingest.close()


def settle() -> None:
    """Let the clock of the file system go on, so that what is read now is not read again to be sure."""
    time.sleep(0.05)


def found(shelf: Shelf, query: str) -> list[tuple[str, tuple[str, ...]]]:
    """The documents of the hits, with their copies."""
    return [(hit.chunk.document, hit.also) for hit in shelf.search(query)]


# --- What is read --------------------------------------------------------------------------------------------------


def test_only_what_changed_is_read(docs: Path, ingest_of: Callable[..., Ingest], spy: Spy) -> None:
    """A look at everything and a look at one path read the same one file."""
    ingest = ingest_of()
    settle()
    shelf = ingest.updated(Shelf())
    assert spy.names == ["home/garden.txt", "ports.md"]
    assert ingest.updated(shelf) is shelf
    (docs / "ports.md").write_text("# Ports\n\nIt is 9000 now.\n")
    for touched in (None, [docs / "ports.md"]):
        spy.names.clear()
        after = ingest.updated(shelf, touched)
        assert spy.names == ["ports.md"]
        assert after.change == Change(changed=("ports.md",))


def test_a_touched_file_is_read_but_not_news(docs: Path, ingest_of: Callable[..., Ingest], spy: Spy) -> None:
    """Another date with the same text changes neither the index nor what readers are told."""
    ingest = ingest_of()
    settle()
    shelf = ingest.updated(Shelf())
    os.utime(docs / "ports.md", (1, 1))
    settle()
    after = ingest.updated(shelf)
    assert not after.change
    assert after.index is shelf.index
    assert ingest.updated(after) is after


def test_a_file_that_keeps_size_and_date_but_not_its_text_is_read(docs: Path, ingest_of: Callable[..., Ingest]) -> None:
    """Whoever sets the date back cannot set back the time of that change."""
    ingest = ingest_of()
    settle()
    shelf = ingest.updated(Shelf())
    before = os.stat(docs / "ports.md")
    text = (docs / "ports.md").read_text()
    (docs / "ports.md").write_text(text.replace("8000", "9000"))
    os.utime(docs / "ports.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ingest.updated(shelf).change == Change(changed=("ports.md",))


def test_a_file_that_was_just_written_is_read_once_more(docs: Path, ingest_of: Callable[..., Ingest], spy: Spy) -> None:
    """Within one tick of the file system's clock it may be written again and look the same."""
    ingest = ingest_of()
    soon = time.time_ns() + 10**9
    while time.time_ns() < soon:  # until it was read quickly enough after it was written
        (docs / "ports.md").write_text("# Ports\n\nIt is 9000 now.\n")
        shelf = ingest.updated(Shelf())
        if shelf.entries["ports.md"].ctime_ns == 0:
            break
    else:
        pytest.skip("this machine is too slow to read a file right after it was written")
    settle()
    spy.names.clear()
    again = ingest.updated(shelf)
    assert "ports.md" in spy.names
    assert not again.change
    assert ingest.updated(again) is again


@pytest.mark.parametrize("seed", range(4))
def test_many_steps_lead_where_one_reading_would(tmp_path: Path, ingest_of: Callable[..., Ingest], seed: int) -> None:
    """Whatever is added, edited, copied, renamed and removed, in whatever order and however it is told."""
    chance = random.Random(seed)
    folder = tmp_path / "shuffled"
    folder.mkdir()
    texts = ["ants are small", "bees can fly", "cats do purr", "dogs may bark", ""]
    names = ["a.md", "b.txt", "c/a.md", "c/d.txt", "c/e/f.md", "g.xyz"]
    step_by_step = ingest_of(folder)
    shelf = step_by_step.updated(Shelf())
    begun, kept = shelf, shelf
    for _ in range(40):
        path = folder / chance.choice(names)
        other = folder / chance.choice(names)
        action = chance.choice(["write", "write", "remove", "rename", "remove folder"])
        if action == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(chance.choice(texts))
        elif action == "remove":
            path.unlink(missing_ok=True)
        elif action == "rename" and path.exists():
            other.parent.mkdir(parents=True, exist_ok=True)
            path.rename(other)
        elif action == "remove folder":
            shutil.rmtree(folder / "c", ignore_errors=True)
        touched = [path, path.parent, other, other.parent, folder / "c", folder / "c" / "e"]
        if chance.random() < 0.7:
            shelf = step_by_step.updated(shelf, touched if chance.random() < 0.7 else None)
        if chance.random() < 0.3:  # as if it had been kept since
            shelf = caught_up(kept, begun, shelf)
            begun, kept = shelf, step_by_step.kept(shelf)
    shelf = step_by_step.updated(caught_up(kept, begun, shelf))
    at_once = ingest_of(folder).updated(Shelf())
    assert {name: entry.fate for name, entry in shelf.entries.items()} == {
        name: entry.fate for name, entry in at_once.entries.items()
    }
    assert shelf.fault == at_once.fault
    for query in ("ants bees cats dogs", "small", "purr"):
        assert found(shelf, query) == found(at_once, query)


# --- Copies --------------------------------------------------------------------------------------------------------


def test_a_copy_takes_over_when_its_original_is_gone(docs: Path, ingest_of: Callable[..., Ingest]) -> None:
    """One hit names both; then the other stands alone, and only one document was removed."""
    shutil.copy(docs / "ports.md", docs / "b-copy.md")
    ingest = ingest_of()
    shelf = ingest.updated(Shelf())
    assert found(shelf, "firewall") == [("b-copy.md", ("ports.md",))]
    (docs / "b-copy.md").unlink()
    shelf = ingest.updated(shelf, [docs / "b-copy.md"])
    assert found(shelf, "firewall") == [("ports.md", ())]
    assert shelf.change == Change(removed=("b-copy.md",))


def test_an_edited_original_and_its_copy_go_apart(docs: Path, ingest_of: Callable[..., Ingest]) -> None:
    """Both are found, each with its own text; edited back, they are one hit again."""
    text = (docs / "ports.md").read_text()
    shutil.copy(docs / "ports.md", docs / "b-copy.md")
    ingest = ingest_of()
    shelf = ingest.updated(Shelf())
    (docs / "b-copy.md").write_text("# Ports\n\nZebras, not a firewall.\n")
    shelf = ingest.updated(shelf)
    assert sorted(found(shelf, "firewall")) == [("b-copy.md", ()), ("ports.md", ())]
    assert shelf.change == Change(changed=("b-copy.md",))
    (docs / "b-copy.md").write_text(text)
    shelf = ingest.updated(shelf)
    assert found(shelf, "firewall") == [("b-copy.md", ("ports.md",))]


def test_copies_in_other_formats_are_copies(docs: Path, ingest_of: Callable[..., Ingest]) -> None:
    """What counts is the text that is searched."""
    (docs / "zebra.md").write_text("Zebras are striped.\n")
    (docs / "zebra.txt").write_text("Zebras are striped.\n")
    (docs / "zebra.html").write_text("<p>Zebras are striped.</p>")
    shelf = ingest_of().updated(Shelf())
    assert found(shelf, "zebra") == [("zebra.html", ("zebra.md", "zebra.txt"))]


def test_a_copy_that_cannot_be_read_leaves_its_place_to_the_next(
    docs: Path, ingest_of: Callable[..., Ingest], spy: Spy
) -> None:
    """The text is still there, so it must still be found."""
    for name in ("b.md", "c.md"):
        shutil.copy(docs / "ports.md", docs / name)
    (docs / "ports.md").rename(docs / "a.md")
    ingest = ingest_of()
    shelf = ingest.updated(Shelf())
    assert found(shelf, "firewall") == [("a.md", ("b.md", "c.md"))]
    (docs / "a.md").unlink()

    def fails(name: str) -> None:
        if name == "b.md":
            raise DocumentsError("damaged")

    spy.before = fails
    shelf = ingest.updated(shelf, [docs / "a.md"])
    assert found(shelf, "firewall") == [("c.md", ())]
    assert shelf.entries["b.md"].fate == "left out: damaged"


# --- Files that make trouble ---------------------------------------------------------------------------------------


def test_one_bad_file_never_blocks_another(docs: Path, ingest_of: Callable[..., Ingest], spy: Spy) -> None:
    """A fault of ours, a format nobody reads, an empty file: each has a row with its reason."""
    for name in ("broken.md", "what.xyz", "empty.md"):
        (docs / name).write_text("" if name == "empty.md" else "text")

    def fails(name: str) -> None:
        if name == "broken.md":
            raise ZeroDivisionError

    spy.before = fails
    shelf = ingest_of().updated(Shelf())
    assert found(shelf, "firewall") == [("ports.md", ())]
    assert {file.name: file.reason for file in shelf.skipped} == {
        "broken.md": "could not be read; the log says why",
        "what.xyz": "no reader for .xyz",
        "empty.md": "empty",
    }


@pytest.mark.parametrize(
    ("slow", "text"),
    [
        pytest.param("a-price.csv", "animal,price\nzebra,12\n", id="needs a parser"),
        pytest.param("a-tale.txt", "zebra" + " " * 1_000_000, id="large"),
    ],
)
def test_a_file_that_takes_long_keeps_nobody_waiting(
    docs: Path, ingest_of: Callable[..., Ingest], spy: Spy, slow: str, text: str
) -> None:
    """It goes on beside the others, stands in the list meanwhile, and is found once it is done."""
    (docs / slow).write_text(text)
    settle()
    done = threading.Event()

    def waits(name: str) -> None:
        if name == slow:
            done.wait(5)

    spy.before = waits
    ingest = ingest_of()
    shelf = ingest.updated(Shelf(), patience=0.05)
    assert found(shelf, "firewall") == [("ports.md", ())]
    assert shelf.entries[slow].fate == "left out: is being read"
    assert ingest.updated(shelf, patience=0.0) is shelf
    done.set()
    shelf = ingest.updated(shelf)
    assert found(shelf, "zebra") == [(slow, ())]
    assert spy.names.count(slow) == 1


def test_a_changed_file_that_takes_long_to_parse_is_found_as_it_was_until_then(
    docs: Path, ingest_of: Callable[..., Ingest], spy: Spy
) -> None:
    """The old text is better than none for a moment."""
    (docs / "prices.csv").write_text("animal,price\nzebra,12\n")
    settle()
    ingest = ingest_of()
    shelf = ingest.updated(Shelf())
    done = threading.Event()
    spy.before = lambda name: done.wait(30) and None
    (docs / "prices.csv").write_text("animal,price\ngiraffe,12\n")
    assert ingest.updated(shelf, [docs / "prices.csv"], patience=0.0) is shelf
    done.set()
    shelf = ingest.updated(shelf)
    assert (found(shelf, "zebra"), found(shelf, "giraffe")) == ([], [("prices.csv", ())])


def test_a_file_that_goes_while_it_is_read_leaves_no_row(
    docs: Path, ingest_of: Callable[..., Ingest], spy: Spy
) -> None:
    """It is as gone as if it had gone before."""
    spy.before = lambda name: (docs / "ports.md").unlink(missing_ok=True)
    assert list(ingest_of().updated(Shelf()).entries) == ["home/garden.txt"]


# --- The folder ----------------------------------------------------------------------------------------------------


def test_a_folder_that_goes_while_it_is_read_empties_nothing(
    docs: Path, ingest_of: Callable[..., Ingest], spy: Spy
) -> None:
    """Half a look at a disk that is being taken away is no look."""
    ingest = ingest_of()
    settle()
    shelf = ingest.updated(Shelf())
    (docs / "home" / "garden.txt").write_text("Other words.")
    spy.before = lambda name: docs.rename(docs.with_name("gone")) and None
    with pytest.raises((DocumentsError, OSError)):
        ingest.updated(shelf)


def test_an_emptied_folder_is_empty_and_an_unmounted_one_is_refused(
    tmp_path: Path, docs: Path, ingest_of: Callable[..., Ingest]
) -> None:
    """Whoever deletes the documents means it; a disk that went away does not."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is no second disk to be had here")
    mounted, unmounted = tmp_path / "mounted", elsewhere / f"empty-{os.getpid()}"
    mounted.symlink_to(docs)
    unmounted.mkdir()
    try:
        ingest = ingest_of(mounted)
        shelf = ingest.updated(Shelf())
        mounted.unlink()
        mounted.symlink_to(unmounted)
        with pytest.raises(DocumentsError, match="Is it mounted"):
            ingest.updated(shelf)
        mounted.unlink()
        mounted.symlink_to(docs)
        shutil.rmtree(docs / "home")
        (docs / "ports.md").unlink()
        shelf = ingest.updated(shelf)
        assert (shelf.documents, len(shelf.index)) == ([], 0)
        assert (shelf.fault or "").startswith("No readable documents")
    finally:
        unmounted.rmdir()


# --- Kept for the next start ---------------------------------------------------------------------------------------


def test_what_changes_while_a_shelf_is_tidied_up_is_done_to_the_tidy_one(
    docs: Path, ingest_of: Callable[..., Ingest]
) -> None:
    """What was removed before is then nowhere, and what was removed, changed or added since is as it is now."""
    ingest = ingest_of()
    (docs / "old.md").write_text("Quaggas are extinct.")
    (docs / "b.md").write_text("Lions roar.")
    shelf = ingest.updated(Shelf())
    (docs / "old.md").unlink()
    before = ingest.updated(shelf)
    kept = ingest.kept(before)
    (docs / "new.md").write_text("Zebras are striped.")
    (docs / "ports.md").write_text("Giraffes are tall.")
    (docs / "b.md").unlink()
    now = ingest.updated(before)
    after = caught_up(kept, before, now)
    assert (after.entries, after.change) == (now.entries, now.change)
    assert after.index.names == ["home/garden.txt", "new.md", "ports.md"]
    assert [found(after, query) for query in ("zebra", "giraffe", "firewall", "lion")] == [
        [("new.md", ())], [("ports.md", ())], [], []
    ]  # fmt: skip
    assert b"uagga" not in after.index._base.passages.arrays()["texts.blob"].tobytes()  # type: ignore[attr-defined]
    assert caught_up(kept, before, before).index is kept.index


def test_an_unchanged_folder_is_not_read_after_a_restart(
    tmp_path: Path, ingest_of: Callable[..., Ingest], spy: Spy
) -> None:
    """Not one file; and what it finds, it finds as before."""
    settle()
    first = ingest_of(save_to=tmp_path / "index")
    shelf = first.kept(first.updated(Shelf()))
    first.close()
    spy.names.clear()
    second = ingest_of(save_to=tmp_path / "index")
    restored = second.restored()
    assert second.updated(restored) is restored
    assert spy.names == []
    assert restored.entries == shelf.entries
    assert found(restored, "firewall") == found(shelf, "firewall") == [("ports.md", ())]


def cut(path: Path) -> None:
    """Half of a file is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turn(path: Path) -> None:
    """A byte in the middle of a file is another one."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [cut, turn, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("which", ["index.json", "base-*.bin"])
def test_a_damaged_save_is_built_anew(
    tmp_path: Path, ingest_of: Callable[..., Ingest], spy: Spy, which: str, damage: Callable[[Path], None]
) -> None:
    """It is never trusted, never an error, and afterwards whole again."""
    place = tmp_path / "index"
    first = ingest_of(save_to=place)
    settle()
    first.kept(first.updated(Shelf()))
    first.close()
    [path] = place.glob(which)
    damage(path)
    second = ingest_of(save_to=place)
    assert not second.restored().entries
    shelf = second.kept(second.updated(Shelf()))
    assert found(shelf, "firewall") == [("ports.md", ())]
    assert second.restored().entries == shelf.entries


@pytest.mark.parametrize(
    "other",
    [{"chunk_words": 80}, {"language": "de"}, {"folder": "another"}],
    ids=["other chunks", "another language", "another folder"],
)
def test_a_save_for_other_settings_is_not_used(
    tmp_path: Path, docs: Path, ingest_of: Callable[..., Ingest], other: dict[str, Any]
) -> None:
    """What it holds would be right for another question."""
    first = ingest_of(save_to=tmp_path / "index")
    first.kept(first.updated(Shelf()))
    first.close()
    if "folder" in other:
        other = {"folder": shutil.copytree(docs, tmp_path / "another")}
    assert not ingest_of(save_to=tmp_path / "index", **other).restored().entries


def test_of_two_that_keep_the_same_index_one_does_until_it_ends(
    tmp_path: Path, docs: Path, ingest_of: Callable[..., Ingest]
) -> None:
    """They would write into each other's files; what the second knows is saved once the first is closed."""
    place = tmp_path / "index"
    first, second = ingest_of(save_to=place), ingest_of(save_to=place)
    one = first.kept(first.updated(Shelf()))
    (docs / "new.md").write_text("Zebras are striped.")
    two = second.kept(second.updated(Shelf()))
    assert second.restored().entries == one.entries
    first.close()
    second.kept(two)
    assert second.restored().entries == two.entries


def test_stopping_ends_a_long_reading(docs: Path, ingest_of: Callable[..., Ingest], spy: Spy) -> None:
    """Between two files; nothing half read comes of it."""
    ingest = ingest_of()
    spy.before = lambda name: ingest.stop()
    with pytest.raises(Stopped):
        ingest.updated(Shelf())
    assert len(spy.names) == 1


def test_names_that_nobody_can_print_stay_apart(tmp_path: Path) -> None:
    """Two files have two names, and the copy of one that goes is found by its own path."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "0.txt").write_text("The text says nectarine.", encoding="utf-8")
    (folder / "a\nb.txt").write_text("The text says nectarine.", encoding="utf-8")
    (folder / "a\tb.txt").write_text("The text says papaya.", encoding="utf-8")
    ingest = Ingest(folder)
    shelf = ingest.updated(Shelf())
    assert list(shelf.entries) == ["0.txt", "a\\x09b.txt", "a\\x0ab.txt"]
    assert ingest.updated(shelf) is shelf
    (folder / "0.txt").unlink()
    assert [hit.chunk.document for hit in ingest.updated(shelf).search("nectarine")] == ["a\\x0ab.txt"]
    ingest.close()


def test_what_a_killed_save_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """It may hold the text of a document that is gone since."""
    folder, place = tmp_path / "docs", tmp_path / "index"
    folder.mkdir()
    (folder / "a.txt").write_text("The text says nectarine.", encoding="utf-8")
    first = Ingest(folder, save_to=place)
    first.kept(first.updated(Shelf()))
    first.close()
    (place / "changes.tmp").write_bytes(b"The deleted text.")
    (place / "changes-0123.bin").write_bytes(b"The deleted text.")
    second = Ingest(folder, save_to=place)
    assert second.restored().documents == ["a.txt"]
    assert b"deleted" not in b"".join(path.read_bytes() for path in place.iterdir() if path.is_file())
    second.close()
