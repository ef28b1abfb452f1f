"""The readers of formats, the process that they run in, and files made to do harm."""

from __future__ import annotations

import json
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
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag.blocks import blocks
from rag.chunking import split
from rag.documents import Document
from rag.errors import DocumentsError
from rag.inline import ITEM, plain
from rag.readers import FORMATS, read
from rag.readers.base import CHARACTERS, Extract, tidy
from rag.readers.encodings import decode
from rag.readers.markdown import Markdown
from rag.readers.process import Parsers, checked
from rag.readers.zipped import Zip
from tests.fixtures import files

ROOT = Path(__file__).parent.parent
NESTED = 200_000
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "haha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 500
CELL = '<c r="{}" t="str"><v>{}</v></c>'
EMPTY_ROWS = "".join(f'<row r="{n}"/>' for n in range(2, 1_000_001))


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """One child process for all tests that do not break theirs."""
    with Parsers() as shared:
        yield shared


def text_of(suffix: str, content: str | bytes) -> str:
    """What a reader makes of some content."""
    return read(suffix, content.encode() if isinstance(content, str) else content).text


# Formats: what is in a file arrives as Markdown.


@pytest.mark.parametrize(
    ("suffix", "title", "text"),
    [
        (
            ".docx",
            "Router manual",
            "# Ports\n\nThe chat listens on port 8000.\n\n\\# is a comment and \\*stars* stay.\n\n## Steps\n\n"
            "- Hold the button.\n- Let it go.\n\n| Name | Port |\n| --- | --- |\n| Router | 8000 |",
        ),
        (
            ".pptx",
            "Router slides",
            "# Ports\n\n- The chat listens on port 8000.\n    - Open the firewall.\n\n"
            "# Hosts\n\n| Name | Host |\n| --- | --- |\n| Router | alpha |\n\nNotes: Say hello first.",
        ),
        (
            ".xlsx",
            "",
            "# Ports\n\nAll ports\n\n"
            "- Place: Lyon; Name: Router; Port: 8000; Since: 2024-05-01; Load: 25%\n"
            "- Place: Lyon; Name: Switch; Port: 9000; Since: 2024-05-02 10:30:00; Load: 50%",
        ),
        (".epub", "Router book", "# First\n\nThe chat listens on port 8000.\n\n# Second\n\nOpen the firewall."),
    ],
)
def test_an_office_file_arrives_as_markdown(suffix: str, title: str, text: str) -> None:
    """Headings, lists and tables keep their structure; what is no mark in the file is none in the text."""
    made: dict[str, Callable[[], bytes]] = {
        ".docx": files.docx, ".pptx": files.pptx, ".xlsx": files.xlsx, ".epub": files.epub
    }  # fmt: skip
    extract = read(suffix, made[suffix]())
    assert extract.markdown
    assert (extract.title, extract.text) == (title, text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("<p>One<br>two &amp; <b>th</b>ree&nbsp;&eacute;", "One\ntwo & three é", id="inline"),
        pytest.param("<ul><li>a<ol><li>b<li>c</ol><li>d</ul>", "- a\n    1. b\n    2. c\n- d", id="lists"),
        pytest.param("<dl><dt>Port<dd>8000<dt>Host<dd>alpha</dl>", "- Port: 8000\n- Host: alpha", id="definitions"),
        pytest.param("<nav>menu</nav><script>x()</script><style>p{}</style><p>text", "text", id="noise"),
        pytest.param("<div hidden>no<div>no</div>no</div>yes", "yes", id="hidden"),
        pytest.param("<pre>a\n  ``` b</pre>", "````\na\n  ``` b\n````", id="code with a fence in it"),
        pytest.param(
            "<table><tr><th>A<th>B|C<tr><td rowspan=2>1<td>2<tr><td>3</table>",
            "| A | B\\|C |\n| --- | --- |\n| 1 | 2 |\n| 1 | 3 |",
            id="table with a cell over two rows",
        ),
        pytest.param("<table><tr><td>a<table><tr><td>b</table>c</table>", "a\n\nb\n\nc", id="layout table"),
        pytest.param("<h2>Ports<a href=#p>¶</a></h2><p>con&shy;figure", "## Ports\n\nconfigure", id="headings"),
        pytest.param("<p># no heading</p><p>| no row</p>", "\\# no heading\n\n\\| no row", id="marks"),
        pytest.param("<script/><title/><p>kept</p>", "kept", id="elements closed at once"),
        pytest.param(f"{BOMB}<html><p>&j; text</p></html>", "\\&j; text", id="entity bomb"),
        pytest.param("<![CDATA[a <b> c]]>", "a \\<b> c", id="cdata"),
    ],
)
def test_html_arrives_as_markdown(content: str, text: str) -> None:
    """What a reader of the page sees, in its order."""
    assert text_of(".xhtml", content) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("name,port\nRouter,8000\n", "- name: Router; port: 8000", id="commas"),
        pytest.param("name;port\nA;8,5\nB;9,5\n", "- name: A; port: 8,5\n- name: B; port: 9,5", id="semicolons"),
        pytest.param("a|b\nx|1\n", "- a: x; b: 1", id="bars"),
        pytest.param("sep=;\na;b\nx;1\n", "- a: x; b: 1", id="as Excel is told"),
        pytest.param("Router,8000\nSwitch,9000\n", "- Router; 8000\n- Switch; 9000", id="no header"),
        pytest.param('a,b\nx,"one\ntwo"\n', "- a: x; b: one two", id="line end in a cell"),
        pytest.param('a,b\nx,"open\ny,z\n', '- a: x; b: "open\n- a: y; b: z', id="quotation mark never closed"),
        pytest.param("All ports,\nname,port\nRouter,8000\n", "All ports\n\n- name: Router; port: 8000", id="caption"),
        pytest.param("one word\nother\n", "- one word\n- other", id="one column"),
    ],
)
def test_a_row_carries_its_header(content: str, text: str) -> None:
    """Wherever the text is cut, a row says what its values are."""
    assert text_of(".csv", content) == text


@pytest.mark.parametrize(
    ("suffix", "content", "text"),
    [
        pytest.param(".json", '[{"a": 1, "b": {"c": [2, 3]}}, {"a": null}]', "- a: 1; b.c: 2, 3", id="records"),
        pytest.param(".json", '{"s": {"port": 1}, "x": true}', "- s.port: 1; x: true", id="settings"),
        pytest.param(".json", '{"r": [{"a": 1}, {"a": 2}]}', "# r\n\n- a: 1\n- a: 2", id="records under a name"),
        pytest.param(".json", "{'a': 1,}", "{'a': 1,}", id="not valid: plain text"),
        pytest.param(".json", "[" * 100_000, "[" * 100_000, id="too deep: plain text"),
        pytest.param(".json", '{"a": 1}\n{"a": 2}\n', "- a: 1\n- a: 2", id="lines under the name of json"),
        pytest.param(".json", '{"a": "\\ud800x"}', "- a: ���x", id="half a character"),
        pytest.param(".jsonl", '{"a": 1}\n\n{"a": 2}', "- a: 1\n- a: 2", id="lines"),
        pytest.param(".jsonl", '{"a": 1}\nbroken', '{"a": 1}\nbroken', id="broken lines: plain text"),
    ],
)
def test_json_is_flattened(suffix: str, content: str, text: str) -> None:
    """A record stays together; what cannot be parsed can still be searched."""
    assert text_of(suffix, content) == text


def test_a_long_record_stays_together_and_long_settings_do_not() -> None:
    """An element of a list is one item, a long group of settings one for each."""
    record = {f"field{number}": "x" * 50 for number in range(20)}
    assert text_of(".json", json.dumps([record])).count("- ") == 1
    assert text_of(".json", json.dumps(record)).count("- ") == 20


def test_rst_may_not_reach_for_other_files(tmp_path: Path) -> None:
    """Neither `include` nor `raw` nor `csv-table` with a file is followed; Sphinx's roles show their text."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    for directive in ("include", "raw:: html\n   :file", "csv-table:: x\n   :file", "literalinclude"):
        assert "the secret" not in text_of(".rst", f"Ports\n=====\n\n.. {directive}:: {secret}\n\nText.\n")
    source = "Ports\n=====\n\nSee :ref:`here <x>`.\n\n.. code-block:: python\n\n   x = 1\n\n* one\n* two\n"
    extract = read(".rst", source.encode())
    assert extract.text == "# Ports\n\nSee here.\n\n```\nx = 1\n```\n\n- one\n- two"
    assert extract.title == "Ports"


# PDF.

PAGE = [
    "# Ports",
    "The chat listens on port 8000, and whoever wants to change that sets the con-",
    "figuration in the file beside the program. A second sentence follows it here.",
    "Open the firewall for it as well, or nobody in your house is going to reach",
    "it, and",
]


def test_a_pdf_has_pages_headings_and_whole_paragraphs() -> None:
    """Lines are joined, words mended, running heads left out, and a paragraph goes on over the page's end."""
    extract = read(".pdf", files.pdf([PAGE, ["they are going to ask you why.", "# Hosts", "It is alpha."]]))
    assert extract.text == (
        "# Ports\n\nThe chat listens on port 8000, and whoever wants to change that sets the configuration in the file "
        "beside the program. A second sentence follows it here. Open the firewall for it as well, or nobody in your "
        "house is going to reach it, and they are going to ask you why.\n\n# Hosts\n\nIt is alpha."
    )
    document = Document("x.pdf", extract.text, extract.markdown, extract.pages, extract.title)
    assert document.title == "Router manual"
    assert [document.page_at(extract.text.index(word)) for word in ("Ports", "reach", "they", "Hosts")] == [1, 1, 2, 2]
    assert [(chunk.heading, chunk.page) for chunk in split(document)] == [(("Ports",), 1), (("Hosts",), 2)]


def test_lines_of_a_list_stay_apart() -> None:
    """Short lines are no paragraph, and a bullet begins an item."""
    lines = [
        "Hold the reset button until the light blinks twice,",
        "and then let go.",
        "Router 8000",
        "Switch 9000",
        "• one",
        "• two",
    ]
    assert read(".pdf", files.pdf([lines])).text.endswith("\n\nRouter 8000\n\nSwitch 9000\n\n- one\n- two")


def test_a_page_without_text_is_counted() -> None:
    """The number of a page is that of the paper."""
    extract = read(".pdf", files.pdf([["First page."], [], ["Third page."]], title="untitled"))
    document = Document("x.pdf", extract.text, True, extract.pages)
    assert document.page_at(extract.text.index("Third")) == 3
    assert extract.title == ""


# Encodings.

GERMAN, RUSSIAN = "Größe und Übergewicht für alle.", "Нажмите кнопку сброса и удерживайте её десять секунд."
JAPANESE, CHINESE = "リセットボタンを10秒間押してください。", "按住重置按钮十秒钟以恢复出厂设置。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((GERMAN, name) for name in "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 latin-1 cp1252".split()),
        ("Grüße", "latin-1"),
        ("It’s “quoted” – €5.", "cp1252"),
        ("L'été dernier, le garçon a mangé à la crêperie. Où êtes-vous ?", "cp1252"),
        ("Zażółć gęślą jaźń. Proszę wyłączyć urządzenie.", "cp1250"),
        *((RUSSIAN, name) for name in "cp1251 koi8-r utf-16".split()),
        *((JAPANESE, name) for name in "shift_jis euc_jp iso2022_jp".split()),
        (CHINESE, "gb18030"),
        ("按住重置按鈕十秒鐘以恢復出廠設定。", "big5"),
        ("재설정 버튼을 10초 동안 누르고 있으면 됩니다.", "euc_kr"),
    ],
)
def test_an_encoding_is_told_by_its_looks(text: str, encoding: str) -> None:
    """Byte order marks first, then UTF-8, then the older ones."""
    assert decode(text.encode(encoding)) == text


def test_one_bad_byte_does_not_change_the_encoding() -> None:
    """A patched UTF-8 file is UTF-8."""
    assert decode((GERMAN * 20).encode() + b"\xff end") == GERMAN * 20 + "� end"


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".html", f"<meta charset=windows-1251><p>{RUSSIAN}".encode("cp1251")),
        (".xhtml", f'<?xml version="1.0" encoding="koi8-r"?><p>{RUSSIAN}</p>'.encode("koi8-r")),
        (".html", f"<meta charset=no-such-name><p>{RUSSIAN}".encode()),
        (".html", f"<meta charset=latin-1><p>{RUSSIAN}".encode("utf-16")),
        (".html", f"<meta charset=rot13><p>{RUSSIAN}".encode()),
    ],
)
def test_html_names_its_encoding(suffix: str, content: bytes) -> None:
    """What it says holds, unless a byte order mark says otherwise or nobody knows the name."""
    assert text_of(suffix, content) == RUSSIAN


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
    yield case("bomb", ".docx", lambda: files.bare_docx(files.paragraph("&j;"), before=BOMB), "XML entities in it")
    yield case("zip bomb", ".docx", lambda: files.zipped({"word/x": bytes(401_000_000)}), "401,000,000 bytes when unp")
    yield case("deep", ".docx", lambda: files.bare_docx("<w:p>" * NESTED), "damaged: not readable as a Word")
    yield case("tags", ".docx", lambda: files.bare_docx("<w:p/>" * 1_500_000), "1,500,005 XML tags, the limit is")
    yield case("empty", ".xlsx", lambda: files.bare_xlsx("<row/>"), "empty")
    yield case("bomb", ".epub", lambda: files.zipped({"META-INF/container.xml": f"{BOMB}<c>&j;</c>"}), "damaged")
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


def test_too_much_text_is_refused_while_it_is_written() -> None:
    """The limit is in characters, whatever the file's size."""
    page = Markdown()
    with pytest.raises(DocumentsError, match=r"characters of text, the limit is 20,000,000: split it"):
        for _ in range(3):
            page.paragraph("x" * (CHARACTERS // 2))
    with pytest.raises(DocumentsError, match="20,000,001 characters"):
        tidy(Extract("x" * (CHARACTERS + 1)))


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


# What is put into Markdown comes out of it.

MARKS = st.text(alphabet="ab1 \n\\`*_[](){}<>&;#!:-=+~|^.\"'/é", max_size=40)


@settings(max_examples=300, deadline=None)
@given(text=MARKS | st.text(max_size=40))
def test_plain_text_is_not_misread_as_markdown(text: str) -> None:
    """One paragraph stays one paragraph, and says what it said, whatever characters are in it."""
    text = tidy(Extract(f".{text}")).text[1:]
    said = " ".join(text.split())
    assume(said.strip("-: ") and not ITEM.match(said) and "\ufdd0" not in said and "\ufdd1" not in said)
    assume(not any(ITEM.match(line) for line in text.splitlines()))
    for write in (Markdown.paragraph, Markdown.item):
        page = Markdown()
        write(page, text)
        (block,) = blocks(page.text)
        assert block.kind == ("text" if write is Markdown.paragraph else "item")
        assert plain(page.text[block.start : block.end]) == said
    page = Markdown()
    page.table([["head", text], ["row", text]])
    header, _, row = (plain(page.text[block.start : block.end]) for block in blocks(page.text))
    assert (header, row) == (f"head, {said}", f"row, {said}")
