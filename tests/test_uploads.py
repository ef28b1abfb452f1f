"""Files that somebody adds to one conversation: their names, their reading, and their limits."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.chunking import Chunk
from rag.documents import Document
from rag.errors import DocumentsError
from rag.evidence import forget_texts, sentences_of
from rag.readers import FORMATS, format_of
from rag.readers.process import Parsers
from rag.uploads import MOST_CHARACTERS, MOST_FILES, check_room, read_upload, upload_name
from tests.fixtures import files

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """One child process for all of them."""
    with Parsers() as shared:
        yield shared


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param("report.pdf", "report.pdf", id="as it is"),
        pytest.param("../../etc/passwd.txt", "passwd.txt", id="a path"),
        pytest.param("C:\\Users\\me\\report.pdf", "report.pdf", id="a path on Windows"),
        pytest.param("..", "file", id="the folder above"),
        pytest.param("", "file", id="nothing"),
        pytest.param("...hidden.md", "hidden.md", id="dots in front"),
        pytest.param("a\x00b\x1b[31m\r\nc.txt", "ab[31m c.txt", id="control characters"),
        pytest.param("invoice\u202efdp.exe", "invoicefdp.exe", id="text turned around"),
        pytest.param("half\ud800.txt", "half.txt", id="half a character"),
        pytest.param("`rm -rf`.md", "'rm -rf'.md", id="backticks"),
        pytest.param("[click](http://x.y) **b**.md", "x.y) **b**.md", id="a link in Markdown"),
        pytest.param("  two   spaces .md ", "two spaces .md", id="spaces"),
        pytest.param("नेपाली\u200dनाम.txt", "नेपाली\u200dनाम.txt", id="a joiner is spelling"),
        pytest.param("u\u0308ber.txt", "über.txt", id="composed"),
    ],
)
def test_a_name_from_a_browser_is_made_harmless(given: str, name: str) -> None:
    """It becomes one visible line that names no folder, still with the ending that tells its format."""
    assert upload_name(given) == f"upload/{name}"


@pytest.mark.parametrize("given", ["x" * 251 + ".pdf", "ü" * 125 + ".pdf", "a." + "y" * 253])
def test_a_name_of_255_bytes_is_cut_in_the_middle(given: str) -> None:
    """The ending stays."""
    name = upload_name(given)
    assert len(name) <= 120
    assert name.endswith(given[-4:])


def test_a_second_file_of_the_same_name_gets_another_one() -> None:
    """Also where the documents folder has a file of that name."""
    taken = set[str]()
    for _ in range(3):
        taken.add(upload_name("report.pdf", taken=taken))
    assert taken == {"upload/report.pdf", "upload/report (2).pdf", "upload/report (3).pdf"}


def test_what_is_read_is_cited_by_its_name_and_gone_from_the_disk(tmp_path: Path, parsers: Parsers) -> None:
    """Where Chainlit put it, and under which ending, makes no difference."""
    path = tmp_path / "1b4e28ba.bin"
    path.write_bytes(files.pdf([["The port is 8000."], ["The key is red."]]))
    document = read_upload(path, name="upload/report.pdf", parsers=parsers)
    assert document.name == "upload/report.pdf"
    assert document.page_at(document.text.index("The key is red.")) == 2
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("notes.doc", b"x", "no reader for .doc: save it as .docx", id="wrong type"),
        pytest.param("notes", b"x", "no reader for names without an ending", id="no type"),
        pytest.param("notes.txt", b"", "empty", id="empty"),
        pytest.param("notes.txt", b" \n ", "empty", id="only spaces"),
        pytest.param("notes.txt", b"x" * 12_000_001, "the limit is 12,000,000: split it", id="too large"),
        pytest.param("notes.pdf", b"%PDF-1.4 and no more", "damaged", id="damaged"),
        pytest.param("notes.md", b"%PDF-1.4", "a PDF inside", id="another type inside"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_is_deleted_too(
    name: str, content: bytes, reason: str, tmp_path: Path, parsers: Parsers
) -> None:
    """The reasons are those of the documents folder."""
    path = tmp_path / "sent"
    path.write_bytes(content)
    with pytest.raises(DocumentsError, match=reason):
        read_upload(path, name=f"upload/{name}", parsers=parsers)
    assert not path.exists()


def test_a_link_is_not_followed(tmp_path: Path, parsers: Parsers) -> None:
    """Nobody but us writes there, and still."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "secret").write_text("The key is red.")
    os.symlink(tmp_path / "secret", tmp_path / "sent" / "one")
    with pytest.raises(DocumentsError, match="a link out of the folder"):
        read_upload(tmp_path / "sent" / "one", name="upload/one.txt", parsers=parsers)
    assert (tmp_path / "secret").exists()


@pytest.mark.parametrize(
    ("beside", "size", "reason"),
    [
        pytest.param(0, MOST_CHARACTERS, None, id="the largest"),
        pytest.param(0, MOST_CHARACTERS + 1, "the limit is 3,000,000", id="one character too many"),
        pytest.param(MOST_FILES - 1, 1, None, id="the last"),
        pytest.param(MOST_FILES, 1, "has 20 files already", id="one file too many"),
    ],
)
def test_a_conversation_takes_so_much(beside: int, size: int, reason: str | None) -> None:
    """What is more belongs into the documents folder, where it is indexed once."""
    others = [Document(f"upload/{number}.txt", "") for number in range(beside)]
    if reason is None:
        check_room(Document("upload/x.txt", "x" * size), others)
    else:
        with pytest.raises(DocumentsError, match=reason):
            check_room(Document("upload/x.txt", "x" * size), others)


def test_sentences_of_a_conversation_that_ended_are_kept_nowhere() -> None:
    """The cache of sentences is emptied."""
    sentences_of(Chunk("The key is red.", "upload/x.txt", 0))
    forget_texts()
    assert sentences_of.cache_info().currsize == 0


def test_the_page_offers_what_can_be_read() -> None:
    """Every format; and of the others only those whose reason says what to save them as."""
    config = tomllib.loads((ROOT / ".chainlit" / "config.toml").read_text(encoding="utf-8"))
    upload = config["features"]["spontaneous_file_upload"]
    (suffixes,) = upload["accept"].values()
    assert set(FORMATS) <= set(suffixes)
    for suffix in set(suffixes) - set(FORMATS):
        with pytest.raises(DocumentsError, match="save it as"):
            format_of(suffix)
    assert upload["max_files"] == MOST_FILES
