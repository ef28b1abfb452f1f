"""The readers of formats and encodings: what is in a file arrives as Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag.blocks import blocks
from rag.chunking import split
from rag.documents import Document
from rag.errors import DocumentsError
from rag.inline import ITEM, plain
from rag.readers import read
from rag.readers.base import CHARACTERS, Extract, tidy
from rag.readers.encodings import decode
from rag.readers.markdown import Markdown
from tests.fixtures import files


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
        pytest.param(f"{files.BOMB}<html><p>&j; text</p></html>", "\\&j; text", id="entity bomb"),
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


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Räksmörgås på ön", "cp1252"),
        ("Blåbærgrød på øen", "cp1252"),
        ("Informações à disposição", "cp1252"),
        ("L’œuvre : 15 €", "cp1252"),
        ("15 €", "cp1252"),
        ("Dziękuję bardzo za pomoc", "cp1250"),
        ("Vypněte přístroj a počkejte.", "cp1250"),
        ("Příliš žluťoučký kůň.", "iso8859_2"),
        ("Şifreyi değiştirmek için düğmeye basın.", "cp1254"),
        ("Привет, мир!", "cp1251"),
        ("Привет, мир!", "koi8_r"),
        ("Київ: інструкція користувача", "cp1251"),
        ("Ευχαριστώ πολύ", "cp1253"),
        ("ברוכים הבאים", "cp1255"),
        ("こんにちは", "cp932"),
    ],
)
def test_a_few_words_are_told_by_their_alphabet(text: str, encoding: str) -> None:
    """A language has some letters and no others; where a script has many encodings, the common letters decide."""
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


def test_too_much_text_is_refused_while_it_is_written() -> None:
    """The limit is in characters, whatever the file's size."""
    page = Markdown()
    with pytest.raises(DocumentsError, match=r"characters of text, the limit is 20,000,000: split it"):
        for _ in range(3):
            page.paragraph("x" * (CHARACTERS // 2))
    with pytest.raises(DocumentsError, match="20,000,001 characters"):
        tidy(Extract("x" * (CHARACTERS + 1)))


def test_too_many_rows_are_refused_while_they_are_written() -> None:
    """The limit is in parts, however short they are."""
    page = Markdown(most_parts=3)
    for _ in range(3):
        page.item("x")
    with pytest.raises(DocumentsError, match=r"^more than 3 paragraphs, items, rows or sentences: split it$"):
        page.item("x")
