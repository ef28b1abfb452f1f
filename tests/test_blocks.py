"""Reading a text as blocks, and a line without its marks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from rag.blocks import blocks, scan, title_of
from rag.chunking import count_words, split
from rag.documents import Document
from rag.inline import cells, plain


def seen(text: str, *, markdown: bool = True) -> list[tuple[str, str]]:
    """(kind, text) of each block, headings among them."""
    return [(block.kind, text[block.start : block.end]) for block in scan(text, markdown=markdown)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("# A #\nb", [("heading", "# A #"), ("text", "b")], id="heading"),
        pytest.param("#A", [("text", "#A")], id="no space behind the hash"),
        pytest.param("A\nb\n===\nc", [("heading", "A\nb\n==="), ("text", "c")], id="underlined heading"),
        pytest.param("a\n\n---\nb", [("text", "a"), ("text", "b")], id="thematic break"),
        pytest.param("---\ntitle: 'T'\nx: y\n---\nb", [("heading", "T"), ("text", "b")], id="front matter"),
        pytest.param("---\n\nb\n\n---", [("text", "b")], id="break, not front matter"),
        pytest.param("a\n<!-- b\n\n# c --> d", [("text", "a"), ("text", "d")], id="comment"),
        pytest.param("<!-- a\nb", [("text", "<!-- a\nb")], id="comment never closed"),
        pytest.param("~~~\n```\n# a\n~~~\nb", [("code", "~~~\n```\n# a\n~~~"), ("text", "b")], id="fence"),
        pytest.param(
            "a\n\n    # b\n\n    c\n\nd", [("text", "a"), ("code", "    # b\n\n    c"), ("text", "d")], id="indented"
        ),
        pytest.param("a\n    b", [("text", "a\n    b")], id="indented within a paragraph"),
        pytest.param("> a\nb\n>\n> c", [("text", "> a\nb"), ("text", "> c")], id="quote"),
        pytest.param("> # a\n> b", [("text", "> # a"), ("text", "> b")], id="heading in a quote is no section"),
        pytest.param("> ```\n> a\nb", [("code", "> ```\n> a"), ("text", "b")], id="code ends with its quote"),
        pytest.param("- a\n  b\nc\n\nd", [("item", "- a\n  b\nc"), ("text", "d")], id="item"),
        pytest.param("1. a\n\n       b", [("item", "1. a"), ("code", "       b")], id="code in an item"),
        pytest.param("1. a\n\n    b", [("item", "1. a"), ("text", "    b")], id="paragraph in an item"),
        pytest.param("built in\n1889. Then", [("text", "built in\n1889. Then")], id="a number that begins a line"),
        pytest.param("to do:\n1. a\n2) b", [("text", "to do:"), ("item", "1. a"), ("item", "2) b")], id="numbers"),
        pytest.param("• a\n• b", [("item", "• a"), ("item", "• b")], id="bullets"),
        pytest.param("- ```\n  a\n  ```", [("code", "- ```\n  a\n  ```")], id="code is the item"),
        pytest.param('[a]: http://b.c "d"\n[^1]: e', [("text", "[^1]: e")], id="definitions"),
        pytest.param("[a]: this is so", [("text", "[a]: this is so")], id="words in brackets"),
        pytest.param("<div>\na", [("text", "<div>\na")], id="html is text"),
        pytest.param("a" * 301 + "\n===", [("text", "a" * 301 + "\n===")], id="too long to be a heading"),
        pytest.param("\u3000\u3000\u3000\u3000你好。", [("text", "\u3000\u3000\u3000\u3000你好。")], id="wide spaces"),
    ],
)
def test_markdown_is_read_as_its_writer_meant_it(text: str, expected: list[tuple[str, str]]) -> None:
    """What CommonMark says, where that tells text from headings, code and notes to the renderer."""
    assert seen(text) == expected


def test_plain_text_has_paragraphs_items_and_rows_only() -> None:
    """A hash, an indentation or a row of dashes means nothing there."""
    text = "# a\n---\n\n    b\n- c\n| d |\n\n<!-- e -->"
    assert seen(text, markdown=False) == [
        ("text", "# a\n---"), ("text", "    b"), ("item", "- c"), ("row", "| d |"), ("text", "<!-- e -->"),
    ]  # fmt: skip


def test_an_item_knows_how_deep_it_is() -> None:
    """A sub-item is in its item, and so are the paragraphs and the code below it."""
    text = "- a\n  - b\n\n    c\n    ```\n    d\n    ```\n- e\n\nf"
    assert [block.depth for block in blocks(text)] == [1, 2, 2, 2, 1, 0]


@pytest.mark.parametrize(
    "text",
    ["| a | b |\n|---|:-:|\n| 1 | 2 |", "a | b\n--|--\n1 | 2", "text\na | b\n--|--\n1 | 2", "> a | b\n> -|-\n> 1 | 2"],
)
def test_a_row_knows_the_names_of_its_columns(text: str) -> None:
    """The last block is a row, and can be said alone."""
    *_, head, line, row = blocks(text)
    assert [one.kind for one in (head, line, row)] == ["row"] * 3
    assert [cells(one.header) for one in (head, row)] == [[""], ["a", "b"]]
    assert plain(text[row.start : row.end], header=row.header) == "a: 1, b: 2"


def test_a_bar_in_a_sentence_makes_no_table() -> None:
    """Only a line of dashes below it does."""
    assert [block.kind for block in blocks("either | or\nand so on")] == ["text"]


def test_a_text_of_headings_only_has_them_for_blocks() -> None:
    """There is nothing else to be found by."""
    assert [block.kind for block in blocks("# a\n## b")] == ["heading", "heading"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## *So* it is ##", "So it is"),
        ("# C#", "C#"),
        ("A\nb\n--", "A b"),
        ("#", ""),
        ("From front matter", "From front matter"),
    ],
)
def test_a_heading_is_said_without_its_marks(text: str, title: str) -> None:
    """Hashes and underlines are marks; a hash in a name is not."""
    (heading,) = scan(text) if text != "From front matter" else scan(f"---\ntitle: {text}\n---")
    source = text if text != "From front matter" else f"---\ntitle: {text}\n---"
    assert title_of(source, heading) == title


@pytest.mark.parametrize(
    ("markdown", "said"),
    [
        ("**bold *and* so**", "bold and so"),
        ("***all***", "all"),
        ("**bold\nover lines**", "bold over lines"),
        ("**`x*`** `` a ` b ``", "x* a ` b"),
        ("[![image](i.png)](a_(b).md) is [here][ref]", "image is here"),
        ('see [the *page*](<a b> "t")', "see the page"),
        ("one[^1] [1][2] a[0][1]", "one [1][2] a[0][1]"),
        (r"2\*3\*4 \[a\](b) snake\_case", "2*3*4 [a](b) snake_case"),
        ("__init__ and _x.y_ but _so_ and __so it is__", "__init__ and _x.y_ but so and so it is"),
        ("2**10 and 3*4*5 and docs/**/*.md", "2**10 and 3*4*5 and docs/**/*.md"),
        ("a<br>b H<sub>2</sub>O <p align='x'>c", "a b H2O c"),
        ("press <b> or <name>", "press <b> or <name>"),
        ("a&nbsp;b &amp; c &co", "a b & c &co"),
        ("a <!-- b --> c <!-- d", "a c <!-- d"),
        ("<https://a.b/c_d_e>", "https://a.b/c_d_e"),
        ("a\\\nb", "a b"),
        ("> a\n> > b", "a b"),
        ("> - a", "a"),
        (r"| a \| b | `c` | |", "a | b, c"),
        ("- ", "-"),
        ("`unclosed *a*", "`unclosed a"),
    ],
)
def test_a_line_is_said_without_its_marks(markdown: str, said: str) -> None:
    """Marks go, words stay; what only looks like a mark stays too."""
    assert plain(markdown) == said


@pytest.mark.parametrize(
    "unit",
    [
        "[", "[a](", "[a](<", '[a](b "', "![[", "[a][", "]", "*", "* ", "*a ", "*a_ ", "*a **b ", "_a ", "`", "` ",
        "\\`", "`` ` ", "> ", ">", "#", "# a\n", "- ", "- a ", "- a\n", "1. ", "```\n", "```a\n~~~\n", "<!--",
        "<!-- -->", "<!-- a\n", "x <!-- ", "[a]: b ", '[a]: b "', "|", "|-", "| a | b |\n", "a | b\n-|-\n", "a\n-\n",
        "=", "a", "a b ", "It is so. ", "\t", " ", "    a\n\n", "- a\n  - b\n", "- a\n\n      b\n", "<", "<b ", "<b>",
        "&a", "\\", "[^", "---\n", "漢字。", "a:\n\n", "a\f", "> a\nb\n\n", "> ```\n",
    ],
)  # fmt: skip
def test_pathological_text_takes_time_in_proportion_to_its_length(unit: str) -> None:
    """Sixteen times the text may take 64 times as long, on a busy machine; quadratic work would take 256 times."""
    short, long = unit * (5_000 // len(unit)), unit * (80_000 // len(unit))
    for work in (
        lambda text: split(Document("a.md", text)), lambda text: split(Document("a.txt", text)), blocks, plain,
    ):  # fmt: skip
        assert took(work, long) < 64 * min(took(work, short) for _ in range(2)) + 0.05


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("".join(" " * 2 * n + "- a\n" for n in range(400)), id="a list 400 deep"),
        pytest.param((">" * 500 + "a\n") * 300, id="a quote 500 deep"),
        pytest.param("".join("`" * (n % 500) + " " for n in range(800)), id="backticks of every length"),
        pytest.param("```\n" + (" " * 50_000 + "x\n") * 4, id="long lines of code"),
        pytest.param("*a " * 30_000 + "a* " * 30_000, id="stars in stars"),
        pytest.param("[" * 80_000 + "]" * 80_000, id="brackets in brackets"),
        pytest.param("|" + "a|" * 140 + "\n|" + "-|" * 140 + "\n" + "|b|\n" * 40_000, id="a wide table"),
        pytest.param("- " + "a b. " * 40_000, id="one long item"),
        pytest.param("word " * 200 + "." * 100_000 + "x", id="a line of dots"),
        pytest.param("---\n" + "#\n" * 40_000, id="front matter never closed"),
    ],
)
def test_odd_documents_are_split_at_once(text: str) -> None:
    """Two seconds is far more than linear work on 200 kB takes, and far less than quadratic work."""
    assert took(lambda text: [plain(chunk.text) for chunk in split(Document("a.md", text))], text) < 2


def took(work: Callable[[str], object], text: str) -> float:
    """Seconds of the processor's time, whatever else runs beside the tests."""
    gc.collect()
    gc.disable()  # its work depends on all that the other tests have left
    start = time.process_time()
    work(text)
    seconds = time.process_time() - start
    gc.enable()
    return seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one two", 2),
        ("naïve café", 2),
        ("你好世界", 2),
        ("使用 RAG_K 设置", 3),
        ("한국어 단어", 2),
        ("สวัสดี", 3),
    ],
)
def test_scripts_without_spaces_count_two_characters_as_a_word(text: str, words: int) -> None:
    """Otherwise a page of Chinese would be one word."""
    assert count_words(text) == words
