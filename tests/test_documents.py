"""Reading documents."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.documents import Skipped, find_files, name_of, read_file, read_folder, read_inline
from rag.errors import DocumentsError
from rag.readers import FORMATS
from rag.readers.base import OFFICE_BYTES, TEXT_BYTES
from rag.readers.files import open_within, read_within
from rag.readers.process import Parsers
from tests.fixtures.files import one_of_each

NO_FILE = "not a regular file, or a link that leads nowhere"
needs_links = pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
needs_permissions = pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """One child process for all tests here."""
    with Parsers() as shared:
        yield shared


def test_a_folder_is_read_with_its_subfolders_in_order_of_names(docs: Path) -> None:
    """Names are paths below the folder, with forward slashes."""
    assert [document.name for document in read_folder(docs).documents] == ["home/garden.txt", "ports.md"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x89PNG\0\0\0", "binary, not text", id="binary named .md"),
        pytest.param(
            bytes(range(128, 256)) * 9, "not UTF-8, and no other encoding fits: save it as UTF-8", id="no encoding"
        ),
        pytest.param(b"%PDF-1.7\n", "a PDF inside: give it the ending that it should have", id="another format"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \n\t\n", "empty", id="only whitespace"),
    ],
)
def test_an_unreadable_file_is_listed_with_its_reason_and_blocks_nothing(
    docs: Path, content: bytes, reason: str
) -> None:
    """The other documents are read all the same."""
    (docs / "bad.md").write_bytes(content)
    reading = read_folder(docs)
    assert len(reading.documents) == 2
    assert [(file.name, file.reason) for file in reading.skipped] == [("bad.md", reason)]


@needs_permissions
def test_a_closed_subfolder_is_listed(docs: Path) -> None:
    """What could not be looked into is not passed over in silence."""
    (docs / "home").chmod(0)
    skipped = read_folder(docs).skipped
    (docs / "home").chmod(0o755)
    assert [(one.name, one.reason) for one in skipped] == [("home/", "cannot be opened: Permission denied")]


def test_a_huge_file_is_left_out_before_it_is_read(docs: Path) -> None:
    """Its size and the limit are named."""
    for name, size in (("huge.txt", TEXT_BYTES + 1), ("huge.pdf", OFFICE_BYTES + 1), ("sparse.md", 1_000_000_000)):
        with (docs / name).open("wb") as file:
            file.truncate(size)
    begun = time.monotonic()
    assert [(one.name, one.reason) for one in read_folder(docs).skipped] == [
        ("huge.pdf", "100,000,001 bytes, the limit is 100,000,000: split it"),
        ("huge.txt", "20,000,001 bytes, the limit is 20,000,000: split it"),
        ("sparse.md", "1,000,000,000 bytes, the limit is 20,000,000: split it"),
    ]
    assert time.monotonic() - begun < 2


def test_windows_line_ends_and_byte_order_marks_are_taken_out(tmp_path: Path) -> None:
    """Character spans count what the reader sees."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    assert read_folder(tmp_path).documents[0].text == "one\ntwo\n"


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.md", ".git/x.md", "__pycache__/x.txt", "node_modules/left/README.md", "~$report.docx", ".x.swp",
        "x.md~", "#x.md#", "x.tmp", "x.pdf.part", "x.pdf.crdownload", "Thumbs.db",
    ],
)  # fmt: skip
def test_what_nobody_would_miss_is_passed_over_in_silence(docs: Path, name: str) -> None:
    """Hidden files, caches, and what editors and downloads leave while they work."""
    (docs / name).parent.mkdir(parents=True, exist_ok=True)
    (docs / name).write_text("secret")
    skipped: list[Skipped] = []
    found = find_files(docs, closed=skipped)
    assert [name_of(path, docs) for path in found] == ["home/garden.txt", "ports.md"]
    assert skipped == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("photo.png", "no reader for .png"),
        ("letter.DOC", "no reader for .doc: save it as .docx"),
        ("README", "no reader for names without an ending: add .txt or .md if it is text"),
    ],
)
def test_other_kinds_are_listed(docs: Path, name: str, reason: str) -> None:
    """Whoever put a file there learns that it is not searched."""
    (docs / name).write_bytes(b"text")
    reading = read_folder(docs)
    assert len(reading.documents) == 2
    assert reading.skipped == (Skipped(name, reason),)


@needs_links
def test_a_link_out_of_the_folder_is_not_followed(docs: Path, tmp_path: Path) -> None:
    """A document set is what is in its folder, not what it points at; a loop ends as well."""
    (tmp_path / "outside.md").write_text("secret")
    (docs / "link.md").symlink_to(tmp_path / "outside.md")
    (docs / "loop").symlink_to(docs)
    (docs / "again").symlink_to(docs / "home")
    (docs / "broken.md").symlink_to(docs / "nowhere.md")
    (docs / "out").symlink_to(tmp_path)
    (docs / "self.md").symlink_to(docs / "self.md")
    (docs / "same.md").symlink_to(docs / "ports.md")
    reading = read_folder(docs)
    assert [document.name for document in reading.documents] == ["home/garden.txt", "ports.md", "same.md"]
    assert {file.name: file.reason for file in reading.skipped} == {
        "broken.md": NO_FILE,
        "link.md": "a link out of the folder",
        "out": "a link out of the folder",
        "self.md": NO_FILE,
    }


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_shown_as_far_as_it_can_be_read(docs: Path) -> None:
    """It must not break the page on which it is shown."""
    path = os.fsencode(docs) + b"/caf\xe9.md"
    with open(path, "w") as file:
        file.write("Coffee is hot.")
    assert "caf\\xe9.md" in [document.name for document in read_folder(docs).documents]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
@pytest.mark.parametrize(
    ("name", "shown"), [("two\nlines.md", "two\\x0alines.md"), ("x" * 252 + ".md", "x" * 252 + ".md")]
)
def test_an_odd_name_is_a_name(docs: Path, name: str, shown: str) -> None:
    """A line end in it would break the prompt and the page; 255 bytes are as long as names get."""
    (docs / name).write_text("Coffee is hot.")
    assert shown in [document.name for document in read_folder(docs).documents]


def test_a_path_that_is_too_long_is_no_folder() -> None:
    """The system's own error would be a traceback."""
    with pytest.raises(DocumentsError, match="No folder"):
        read_folder(Path("x" * 300))


@needs_pipes
def test_a_pipe_is_not_waited_for(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a named pipe would block for ever, and a socket cannot be opened."""
    os.mkfifo(docs / "pipe.md")
    monkeypatch.chdir(docs)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.md")
    assert [(file.name, file.reason) for file in read_folder(docs).skipped] == [
        ("pipe.md", NO_FILE),
        ("socket.md", NO_FILE),
    ]


def test_a_file_that_vanished_is_left_out(docs: Path, parsers: Parsers) -> None:
    """Between listing and reading, anything may happen."""
    with pytest.raises(DocumentsError, match=r"cannot be opened: No such file"):
        read_file(docs / "gone.md", name="gone.md", parsers=parsers)


@needs_permissions
def test_a_file_without_permission_is_left_out(docs: Path) -> None:
    """The others are read."""
    (docs / "ports.md").chmod(0)
    reading = read_folder(docs)
    assert [document.name for document in reading.documents] == ["home/garden.txt"]
    assert [one.reason for one in reading.skipped] == ["cannot be opened: Permission denied"]


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="needs a file that has more than its size says")
def test_a_file_that_changes_meanwhile_is_left_for_the_next_time() -> None:
    """Half of an old version and half of a new one is no document."""
    assert os.stat("/proc/version").st_size == 0
    with pytest.raises(DocumentsError, match=r"changed while it was read: it is read again once it is left alone"):
        read_within("/proc/version", "/proc", most=TEXT_BYTES)


def test_a_file_that_only_grows_is_read_as_it_was_when_it_was_opened(tmp_path: Path, parsers: Parsers) -> None:
    """A log is never left alone; what it has is sound, and half a line of it may end within a letter."""
    path = tmp_path / "busy.log"
    lines = [f"Line {number} says käse.\n" for number in range(100_000)]
    path.write_text("".join(lines[:60_000]), encoding="utf-8")
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(0, 40_000, 20):
                raw = "".join(lines[60_000 + at : 60_020 + at]).encode()
                file.write(raw[:-5])  # ends within a letter
                file.write(raw[-5:])
                if stop.is_set():
                    return

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        texts = [read_file(path, name="busy.log", parsers=parsers).text for _ in range(10)]
    finally:
        stop.set()
        writer.join()
    whole = "".join(lines)
    assert all(whole.startswith(text) and text.endswith("käse.\n") for text in texts)


@needs_links
def test_nothing_outside_is_read_even_if_a_link_is_swapped_in(docs: Path, tmp_path: Path, parsers: Parsers) -> None:
    """A folder on the way is exchanged for a link to another, again and again, while files are read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.md").write_text("secret")
    inside, put_by = docs / "inside", docs / "put_by"
    inside.mkdir()
    (inside / "x.md").write_text("public")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            inside.rename(put_by)
            inside.symlink_to(outside)
            time.sleep(0.0005)
            inside.unlink()
            put_by.rename(inside)
            time.sleep(0.0005)

    attacker = threading.Thread(target=swap)
    attacker.start()
    outcomes = []
    try:
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            try:
                outcomes.append(read_file(inside / "x.md", name="inside/x.md", parsers=parsers).text)
            except DocumentsError as error:
                outcomes.append(str(error))
    finally:
        stop.set()
        attacker.join()
    assert "secret" not in outcomes
    assert "public" in outcomes
    assert "a link out of the folder" in outcomes


@needs_links
@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="opens in one step here")
def test_a_link_put_in_between_check_and_use_is_not_followed(tmp_path: Path) -> None:
    """The path was checked; then a folder on the way, or the file, became a link."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.md").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "inside").symlink_to(tmp_path / "outside")
    (folder / "x.md").symlink_to(tmp_path / "outside" / "x.md")
    for path in ("inside/x.md", "x.md"):
        with pytest.raises(OSError):
            open_within(str(folder / path), str(folder))


@pytest.mark.skipif(os.mkdir not in os.supports_dir_fd, reason="paths are short here")
def test_a_file_a_thousand_folders_down_costs_as_much_as_its_path_is_long(tmp_path: Path) -> None:
    """Looking at each folder on the way to each file once took minutes; the bound is for slow machines."""
    at, deep = os.open(tmp_path, os.O_RDONLY), []
    for number in range(1_500):
        os.mkdir("a", dir_fd=at)
        below = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at, deep = below, [*deep, "a"]
        with open(os.open("a.md", os.O_CREAT | os.O_WRONLY, dir_fd=at), "w") as file:
            file.write(f"Number {number}.")
    os.close(at)
    begun = time.monotonic()
    try:
        reading = read_folder(tmp_path)
        assert time.monotonic() - begun < 20
        assert len(reading.documents) == 1_500
        assert reading.documents[-1].text in {f"Number {number}." for number in range(1_500)}
    finally:  # pytest would go down into them
        for depth in range(len(deep), 0, -1):
            folder = tmp_path.joinpath(*deep[:depth])
            (folder / "a.md").unlink()
            folder.rmdir()


def test_many_files_are_listed_fast_and_in_order(tmp_path: Path) -> None:
    """Thousands of names in a moment, as by their paths."""
    for folder in range(30):
        (tmp_path / f"d{folder}").mkdir()
        for number in range(100):
            (tmp_path / f"d{folder}" / f"{number}.md").touch()
    begun = time.monotonic()
    found = find_files(tmp_path)
    assert time.monotonic() - begun < 1
    assert len(found) == 3_000
    assert found == sorted(found)


def test_every_format_is_read_from_a_folder(tmp_path: Path) -> None:
    """One sound file of each, and bad ones between them that block nothing."""
    files = one_of_each()
    assert set(files) == set(FORMATS), "a new format needs a fixture"
    for suffix, content in files.items():
        (tmp_path / f"good{suffix}").write_bytes(content)
        (tmp_path / f"cut{suffix}").write_bytes(content[:3])
    reading = read_folder(tmp_path)
    good = {document.name: document for document in reading.documents if document.name.startswith("good")}
    assert set(good) == {f"good{suffix}" for suffix in FORMATS}
    assert [name for name, document in good.items() if "8000" not in document.text] == []
    assert {name for name, document in good.items() if not document.is_markdown} == {"good.txt", "good.log"}
    assert {Path(one.name).suffix for one in reading.skipped} >= {".pdf", ".docx", ".pptx", ".xlsx", ".epub"}


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    """The path and the setting are named."""
    with pytest.raises(DocumentsError, match=r"No folder .*nope\. Make it, or set RAG_DOCS_DIR"):
        read_folder(tmp_path / "nope")


def test_a_file_in_place_of_a_folder_says_what_to_do(docs: Path) -> None:
    """A path to one document is a natural mistake."""
    with pytest.raises(DocumentsError, match=r"ports\.md is a file, not a folder"):
        read_folder(docs / "ports.md")


def test_a_folder_without_documents_says_what_was_left_out(tmp_path: Path) -> None:
    """The reader learns why the file that is there does not count."""
    (tmp_path / "bad.md").write_bytes(b"\0")
    with pytest.raises(DocumentsError, match=r"No readable documents in .*bad\.md \(binary, not text\)"):
        read_folder(tmp_path)


def test_inline_texts_are_documents_too() -> None:
    """They are numbered as the reader counts; an empty one is no document."""
    assert [document.name for document in read_inline(["one", " ", "three"]).documents] == ["inline/1", "inline/3"]
    with pytest.raises(DocumentsError, match="RAG_DOCUMENTS has no text"):
        read_inline([" "])
