"""The process that the readers run in, and files made to do harm."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from rag.errors import DocumentsError
from rag.readers import FORMATS
from rag.readers.process import Parsers, checked
from rag.readers.zipped import Zip
from tests.fixtures import files

ROOT = Path(__file__).parent.parent
NESTED = 200_000
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 500
CELL = '<c r="{}" t="str"><v>{}</v></c>'
EMPTY_ROWS = "".join(f'<row r="{n}"/>' for n in range(2, 1_000_001))


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """One child process for all tests that do not break theirs."""
    with Parsers() as shared:
        yield shared


# Files that are not what they should be, and files made to do harm.

WORD, SHEET = "not a Word document inside", "not a workbook inside"


def half(suffix: str) -> bytes:
    """The first half of a sound file."""
    content = sound()[suffix]
    return content[: len(content) // 2]


sound = cache(files.one_of_each)


def bad_files() -> Iterator[Any]:
    """A name, a suffix, a maker of the content, and the beginning of the reason."""
    noise = random.Random(1)
    page = files.pdf([["x"]])

    def case(name: str, suffix: str, make: Callable[[], bytes], reason: str) -> Any:
        return pytest.param(suffix, make, reason, id=f"{name} {suffix}")

    for suffix in FORMATS:
        yield case("empty", suffix, lambda: b"", "empty")
        if suffix not in (".pdf", ".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".epub"):
            yield case("white", suffix, lambda: b" \n\t \r\n", "empty")
            yield case("zeros", suffix, lambda: b"\0" * 3000, "binary, not text")
            yield case("a pdf", suffix, lambda: page, "a PDF inside: give it the ending")
            yield case("a zip", suffix, files.docx, "a zip or office file inside: give it the ending")
    for suffix in (".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".epub"):
        kind = {"d": "a Word document", "p": "a presentation", "x": "a workbook", "e": "an e-book"}[suffix[1]]
        yield case("text", suffix, lambda: b"just text", f"not {kind} inside: damaged, or another format")
        yield case("a pdf", suffix, lambda: page, "a PDF inside: give it the ending")
        yield case("cut", suffix, partial(half, suffix), f"not {kind} inside")
        yield case("old", suffix, lambda: OLE, "an old Office file inside: save it as .docx")
        yield case(
            "password", suffix, lambda: OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted: save a copy without"
        )
        yield case("many", suffix, lambda: files.zipped(dict.fromkeys(map(str, range(10_001)), "")), "10,001 files in")
        yield case("zip", suffix, lambda: files.zipped({"a.txt": "x"}), "not a" if suffix != ".epub" else "damaged: no")
    yield case("another", ".docx", files.xlsx, WORD)
    yield case("another", ".xlsx", files.docx, SHEET)
    yield case(
        "bomb", ".docx", lambda: files.bare_docx(files.paragraph("&j;"), before=files.BOMB), "XML entities in it"
    )
    yield case("zip bomb", ".docx", lambda: files.zipped({"word/x": bytes(401_000_000)}), "401,000,000 bytes when unp")
    yield case("deep", ".docx", lambda: files.bare_docx("<w:p>" * NESTED), "damaged: not readable as a Word")
    yield case("tags", ".docx", lambda: files.bare_docx("<w:p/>" * 1_500_000), "1,500,005 XML tags, the limit is")
    yield case("empty", ".xlsx", lambda: files.bare_xlsx("<row/>"), "empty")
    yield case("bomb", ".epub", lambda: files.zipped({"META-INF/container.xml": f"{files.BOMB}<c>&j;</c>"}), "damaged")
    yield case("locked", ".epub", lambda: files.epub(encryption="OEBPS/a.xhtml"), "encrypted: its shop has locked")
    yield case("password", ".pdf", lambda: files.pdf([["x"]], password="p"), "encrypted: save a copy without")
    yield case("cut", ".pdf", lambda: page[:300], "damaged: not readable as PDF")
    yield case("noise", ".pdf", lambda: b"%PDF-1.4\n" + noise.randbytes(50_000), "damaged: not readable as PDF")
    yield case("text", ".pdf", lambda: b"just text", "damaged: not readable as PDF")
    yield case("scan", ".pdf", files.scan, "no text: a scan?")
    yield case("noise", ".html", lambda: bytes(noise.choices(range(128, 256), k=5000)), "not UTF-8, and no other")
    yield case("nothing", ".html", lambda: b"<p></p><script>x</script>", "empty")


@pytest.mark.parametrize(("suffix", "make", "reason"), [*bad_files()])
def test_a_bad_file_ends_quickly_in_a_reason(
    parsers: Parsers, suffix: str, make: Callable[[], bytes], reason: str
) -> None:
    """Plain words, no traceback, and the next file is read."""
    content = make()
    begun = time.monotonic()
    with pytest.raises(DocumentsError) as caught:
        parsers.read(suffix, content)
    assert time.monotonic() - begun < 5
    assert str(caught.value).startswith(reason)
    assert 3 < len(str(caught.value)) < 120
    assert parsers.read(".csv", b"a,b\nx,1\n").text == "- a: x; b: 1"


@pytest.mark.parametrize(
    ("suffix", "make", "part"),
    [
        pytest.param(".html", lambda: b"<div>" * NESTED + b"found", "found", id="nested div"),
        pytest.param(".html", lambda: b"<ul><li>" * (NESTED // 2) + b"found", "found", id="nested lists"),
        pytest.param(".html", lambda: b"<table><tr><td>" * (NESTED // 3) + b"found", "found", id="nested tables"),
        pytest.param(".html", lambda: b"<b><p>" * (NESTED // 2) + b"found", "found", id="misnested"),
        pytest.param(".html", lambda: b"<a " * NESTED + b">found", "found", id="a tag without end"),
        pytest.param(".csv", lambda: b"a,b\nx," + b"y" * 10_000_000, "- a: x; b: yyy", id="field of 10 MB"),
        pytest.param(".txt", lambda: b"x" * 19_000_000, "xxx", id="line of 19 MB"),
        pytest.param(".txt", lambda: b"text" + bytes(10) + b"x" * 9, "binary", id="zeros in text"),
        pytest.param(".log", lambda: b"x" * 9000 + bytes(10) + b"found", "x          found", id="zeros far down"),
        pytest.param(
            ".xlsx",
            lambda: files.bare_xlsx(f'<row r="1">{CELL.format("A1", "found")}</row>{EMPTY_ROWS}'),
            "- found",
            id="a million empty rows",
        ),
        pytest.param(
            ".xlsx",
            lambda: files.bare_xlsx(f'<row r="1">{CELL.format("XFD1", "found")}</row>'),
            "- found",
            id="the last column",
        ),
        pytest.param(
            ".xlsx",
            lambda: files.bare_xlsx(
                f'<row r="1">{CELL.format("A1", "Total")}<c r="B1"><f>SUM(1,41)</f><v>42</v></c></row>'
            ),
            "- Total; 42",
            id="the value of a formula",
        ),
        pytest.param(
            ".docm",
            lambda: files.bare_docx(files.paragraph("found"), more={"word/vbaProject.bin": OLE}),
            "found",
            id="macros are left alone",
        ),
        pytest.param(
            ".docx",
            lambda: files.bare_docx(files.paragraph("```") + files.paragraph("> found")),
            "\\`\\`\\`\n\n\\> found",
            id="marks in a Word document",
        ),
        pytest.param(".rst", lambda: b"".join(b" " * 2 * n + b"* x\n\n" for n in range(300)), "* x", id="nested rst"),
        pytest.param(".epub", lambda: files.epub({"a.xhtml": f"<p>found &j;</p>{'<i>' * NESTED}"}), "found", id="epub"),
    ],
)
def test_an_odd_file_is_read_in_time(parsers: Parsers, suffix: str, make: Callable[[], bytes], part: str) -> None:
    """Depth, width and length cost no more than they are."""
    content = make()
    begun = time.monotonic()
    try:
        text = parsers.read(suffix, content).text
    except DocumentsError as error:
        text = str(error)
    assert part in text
    assert time.monotonic() - begun < 5


def test_a_zip_cannot_lie_about_its_size() -> None:
    """What its directory says is what is unpacked, so that the sum of it is a limit."""
    content = bytearray(files.zipped({"a": b"x" * 1000}))
    for at in range(len(content) - 4):
        if content[at : at + 4] == (1000).to_bytes(4, "little"):
            content[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DocumentsError, match="damaged: a cannot be unpacked"):
        Zip(bytes(content), kind="a zip").read("a")


# The process.


def slow_file() -> bytes:
    """A small file that takes long: a Word document of 300,000 empty paragraphs."""
    return files.bare_docx("<w:p><w:r/></w:p>" * 300_000)


def test_a_slow_file_is_given_up_and_the_next_one_is_read() -> None:
    """The child is ended, and another takes its place."""
    with Parsers(seconds=1.5) as parsers:
        assert parsers.read(".csv", b"a,b\nx,1\n").text == "- a: x; b: 1"
        first = parsers.process_id
        content = slow_file()
        begun = time.monotonic()
        with pytest.raises(DocumentsError, match=r"took more than 1\.5 s: split it"):
            parsers.read(".docx", content)
        assert time.monotonic() - begun < 3
        assert parsers.process_id is None
        assert parsers.read(".csv", b"a,b\nx,1\n").text == "- a: x; b: 1"
        assert parsers.process_id not in (None, first)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_greedy_file_is_given_up_and_the_next_one_is_read() -> None:
    """What needs more memory than allowed ends in a reason, not in a full machine."""
    with Parsers(memory=200_000_000) as parsers:
        with pytest.raises(DocumentsError, match=r"needs more than 200,000,000 bytes of memory|the parser crashed"):
            parsers.read(".json", b"[" + b"[[]]," * 3_000_000 + b"0]")
        assert parsers.read(".csv", b"a,b\nx,1\n").text == "- a: x; b: 1"


def test_a_crash_costs_no_other_file() -> None:
    """A child that died is replaced without a word."""
    with Parsers() as parsers:
        parsers.read(".csv", b"a,b\nx,1\n")
        first = parsers.process_id
        assert first is not None
        os.kill(first, signal.SIGTERM)
        assert parsers.read(".csv", b"a,b\nx,1\n").text == "- a: x; b: 1"
        assert parsers.process_id != first


def test_closing_ends_the_child_even_while_it_works() -> None:
    """Whoever waits for it is told."""
    parsers = Parsers()
    reasons: list[str] = []

    def work() -> None:
        try:
            parsers.read(".docx", slow_file())
        except DocumentsError as error:
            reasons.append(str(error))

    worker = threading.Thread(target=work)
    worker.start()
    while parsers.process_id is None:
        time.sleep(0.01)
    child = parsers.process_id
    time.sleep(0.3)
    begun = time.monotonic()
    parsers.close()
    worker.join(5)
    assert time.monotonic() - begun < 2
    assert reasons == ["reading was stopped"]
    assert not is_alive(child)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent to the parent")
def test_the_child_ends_with_its_parent() -> None:
    """Also if the parent is killed and can say nothing more."""
    program = (
        "import sys, time; from rag.readers.process import Parsers; parsers = Parsers();"
        "parsers.read('.csv', b'a,b'); print(parsers.process_id, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(process_id: int) -> bool:
    """Whether a process runs; one that ended and is not fetched by its parent does not."""
    try:
        os.kill(process_id, 0)
    except OSError:
        return False
    status = Path(f"/proc/{process_id}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_several_threads_may_share_one_or_have_their_own() -> None:
    """Answers never get mixed up."""
    with Parsers() as shared, Parsers() as own:
        found: list[tuple[int, str]] = []

        def work(number: int) -> None:
            for _ in range(20):
                parsers = own if number == 0 else shared
                found.append((number, parsers.read(".csv", f"a,b\nx,{number}\n".encode()).text))

        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(found) == 80
    assert all(text == f"- a: x; b: {number}" for number, text in found)


@pytest.mark.parametrize(
    "answer",
    [
        None, [], "text", {}, {"text": 1, "markdown": True, "pages": [], "title": ""}, {"text": "x", "markdown": True},
        {"text": "x", "markdown": True, "pages": [3, 1], "title": ""},
        {"text": "x", "markdown": True, "pages": [-1], "title": ""},
        {"text": "x", "markdown": True, "pages": ["0"], "title": ""},
        {"text": " ", "markdown": True, "pages": [], "title": ""},
    ],
)  # fmt: skip
def test_a_child_that_was_taken_over_can_only_give_text(answer: Any) -> None:
    """Its answer is data, and data of another shape is refused."""
    with pytest.raises(DocumentsError):
        checked(answer)


def test_control_characters_do_not_get_through() -> None:
    """They would break pages, terminals and databases; places in the text stay the same."""
    extract = checked({"text": "a\0b\x1b[2Jc\ud800", "markdown": False, "pages": [0, 3], "title": "x\ny"})
    assert extract.text.startswith("a b [2Jc")
    assert (extract.pages, extract.title) == ((0, 3), "x y")
    with pytest.raises(DocumentsError, match=r"^bad \[2J file$"):
        checked({"reason": "bad\x1b[2J\nfile"})


@pytest.mark.skipif(os.name == "nt", reason="limits are those of Unix")
def test_the_child_has_neither_our_keys_nor_the_right_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that was taken over finds little."""
    monkeypatch.setenv("RAG_LLM_API_KEY", "very secret")
    with Parsers() as parsers:
        parsers.read(".csv", b"a,b")
        process = Path(f"/proc/{parsers.process_id}")
        if not process.exists():
            pytest.skip("no /proc here")
        assert b"very secret" not in (process / "environ").read_bytes()
        limits = (process / "limits").read_text()
    assert "Max file size             0 " in limits
    assert "Max address space         1500000000 " in limits
