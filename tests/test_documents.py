"""Reading documents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag.documents import MAX_BYTES, read_folder, read_inline
from rag.errors import DocumentsError


def test_a_folder_is_read_with_its_subfolders_in_order_of_names(docs: Path) -> None:
    """Names are paths below the folder, with forward slashes."""
    assert [document.name for document in read_folder(docs).documents] == ["home/garden.txt", "ports.md"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x89PNG\0\0\0", "binary, not text", id="binary named .md"),
        pytest.param("Grüße".encode("latin-1"), "not UTF-8 (byte 2): save it as UTF-8", id="not UTF-8"),
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


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_closed_subfolder_is_listed(docs: Path) -> None:
    """What could not be looked into is not passed over in silence."""
    (docs / "home").chmod(0)
    skipped = read_folder(docs).skipped
    (docs / "home").chmod(0o755)
    assert [(one.name, one.reason) for one in skipped] == [("home/", "cannot be opened: Permission denied")]


def test_a_huge_file_is_left_out_before_it_is_read(docs: Path) -> None:
    """Its size and the limit are named."""
    with (docs / "huge.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (skipped,) = read_folder(docs).skipped
    assert skipped.reason == "20,000,001 bytes, the limit is 20,000,000: split it"


def test_windows_line_ends_and_byte_order_marks_are_taken_out(tmp_path: Path) -> None:
    """Character spans count what the reader sees."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    assert read_folder(tmp_path).documents[0].text == "one\ntwo\n"


def test_hidden_files_and_other_kinds_are_passed_over(docs: Path) -> None:
    """Nobody expects .git or a photo to be read, so nothing is said about them."""
    (docs / ".hidden.md").write_text("secret")
    (docs / ".git").mkdir()
    (docs / ".git" / "x.md").write_text("secret")
    (docs / "photo.png").write_bytes(b"\x89PNG")
    reading = read_folder(docs)
    assert len(reading.documents) == 2
    assert reading.skipped == ()


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")
def test_a_link_out_of_the_folder_is_not_followed(docs: Path, tmp_path: Path) -> None:
    """A document set is what is in its folder, not what it points at; a loop ends as well."""
    (tmp_path / "outside.md").write_text("secret")
    (docs / "link.md").symlink_to(tmp_path / "outside.md")
    (docs / "loop").symlink_to(docs)
    (docs / "self.md").symlink_to(docs / "self.md")
    reading = read_folder(docs)
    assert [document.name for document in reading.documents] == ["home/garden.txt", "ports.md"]
    assert [file.name for file in reading.skipped] == ["self.md"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_shown_as_far_as_it_can_be_read(docs: Path) -> None:
    """It must not break the page on which it is shown."""
    path = os.fsencode(docs) + b"/caf\xe9.md"
    with open(path, "w") as file:
        file.write("Coffee is hot.")
    assert "caf\ufffd.md" in [document.name for document in read_folder(docs).documents]


def test_a_path_that_is_too_long_is_no_folder() -> None:
    """The system's own error would be a traceback."""
    with pytest.raises(DocumentsError, match="No folder"):
        read_folder(Path("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(docs: Path) -> None:
    """Opening a named pipe would block for ever."""
    os.mkfifo(docs / "pipe.md")
    assert [(file.name, file.reason) for file in read_folder(docs).skipped] == [
        ("pipe.md", "not a regular file, or a link that leads nowhere")
    ]


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
