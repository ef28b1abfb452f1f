"""Splitting documents."""

from __future__ import annotations

import re
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag.blocks import blocks, scan
from rag.chunking import Chunk, count_words, split
from rag.documents import Document
from rag.errors import DocumentsError
from rag.text import sentences

PAGE = """Before any heading.

# Manual

First paragraph.
It goes on.

Second paragraph.

## Ports *here*

- one item
- another item
  that goes on

| a | b |
|---|---|
| 1 | 2 |

```sh
# not a heading

echo
```

# Other

Last.
"""


def say(words: int, end: str = ".") -> str:
    """A sentence of so many words."""
    return " ".join(["word"] * words) + end


def texts(text: str, *, max_words: int = 20, name: str = "a.md") -> list[str]:
    """The texts of the chunks."""
    return [chunk.text for chunk in split(Document(name, text), max_words=max_words)]


def kinds(chunk: Chunk) -> list[str]:
    """What evidence takes a chunk to be made of."""
    return [block.kind for block in blocks(chunk.text, markdown=chunk.markdown, opening=chunk.opening)]


def test_chunks_follow_headings_and_know_their_path() -> None:
    """A heading of the same or a higher level ends the section; nothing of it leaks into the next."""
    chunks = split(Document("page.md", PAGE))
    assert [chunk.heading for chunk in chunks] == [(), ("Manual",), ("Manual", "Ports here"), ("Other",)]
    assert [chunk.number for chunk in chunks] == [0, 1, 2, 3]


@pytest.mark.parametrize("max_words", [1, 3, 10, 160])
def test_a_chunk_is_exactly_its_span_of_the_document(max_words: int) -> None:
    """Citations highlight by this span, whatever the size."""
    document = Document("page.md", PAGE)
    for chunk in split(document, max_words=max_words):
        assert document.text[chunk.start : chunk.end] == chunk.text


def test_a_hash_in_a_code_block_or_a_text_file_is_no_heading() -> None:
    """Only Markdown has headings, and code is code."""
    assert "# not a heading" in split(Document("page.md", PAGE))[2].text
    assert split(Document("notes.txt", "# title\n\nbody"))[0].heading == ()


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    """No chunk exceeds the limit while a sentence fits into it, and none is cut in half."""
    text = " ".join(f"Sentence number {n} has six words." for n in range(50))
    chunks = texts(text, name="long.txt")
    assert all(len(chunk.split()) <= 20 and chunk.endswith(".") for chunk in chunks)
    assert " ".join(chunks) == text


def test_a_sentence_longer_than_a_chunk_is_a_chunk() -> None:
    """Half a sentence proves nothing."""
    assert texts(f"{say(5)} {say(28)} {say(5)}") == [say(5), say(28), say(5)]


def test_a_sentence_cut_for_its_length_is_joined_again() -> None:
    """A sentence of a contract may have more than 600 characters."""
    sentence = say(150)
    assert texts(f"{sentence} {sentence}", max_words=160) == [sentence, sentence]


def test_a_run_of_words_without_full_stops_is_cut() -> None:
    """Nobody's sentence has ten times the length of a chunk."""
    assert all(count_words(chunk) <= 184 for chunk in texts("word " * 2000, max_words=160))


def test_neighbouring_paragraphs_share_a_chunk_while_they_fit() -> None:
    """A paragraph that fits is never cut."""
    assert texts(f"{say(8)}\n\n{say(8)}\n\n{say(18)}") == [f"{say(8)}\n\n{say(8)}", say(18)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([10, 9, 3], [22], id="a tiny rest joins"),
        pytest.param([3, 19], [22], id="a tiny start joins"),
        pytest.param([10, 10, 4], [10, 14], id="halves instead of a small rest"),
        pytest.param([20, 4], [20, 4], id="what is too long together stays apart"),
        pytest.param([20, 20, 6, 6, 8], [20, 20, 20], id="full"),
    ],
)
def test_the_last_chunk_is_not_a_scrap(sizes: list[int], expected: list[int]) -> None:
    """Three words alone say little, and are found for their shortness."""
    assert [count_words(chunk) for chunk in texts("\n\n".join(map(say, sizes)))] == expected


def test_an_item_stays_with_what_is_in_it() -> None:
    """Sub-items and paragraphs of an item fit with it, or begin with its line as their opening."""
    item = f"- {say(5)}\n  - {say(5)}\n\n    {say(3)}"
    assert texts(f"{say(10)}\n\n{item}\n{item}") == [say(10), item, item]
    *_, last = split(Document("a.md", f"1. {say(12)}\n   - {say(9)}\n\n     {say(9)}"), max_words=12)
    assert last.opening == f"1. {say(12)}\n   - {say(9)}\n\n"
    assert kinds(last) == ["text"]


@pytest.mark.parametrize("after", ["- one two\n- three", "```\none\n```", "| one |\n|---|\n| two |", "> one"])
def test_a_line_that_ends_in_a_colon_stays_with_what_it_announces(after: str) -> None:
    """'Proceed as follows:' alone answers nothing."""
    assert texts(f"{say(12)}\n\n{say(5, ':')}\n\n{after} {say(4)}")[-1].startswith(say(5, ":"))


def test_a_line_that_ends_in_a_colon_goes_alone_where_the_list_does_not_fit() -> None:
    """An item is not cut for its sake."""
    assert texts(f"{say(12)}\n\n{say(5, ':')}\n\n- {say(19)}") == [f"{say(12)}\n\n{say(5, ':')}", f"- {say(19)}"]


def test_a_row_cut_off_from_its_table_keeps_the_names_of_the_columns() -> None:
    """Searched or cited alone, a number must say what it counts."""
    rows = "\n".join(f"| {n} | {say(6)} |" for n in range(12))
    first, *others = split(Document("a.md", f"| No | Text |\n|----|------|\n{rows}"), max_words=40)
    assert first.text.startswith("| No | Text |\n|----|------|\n| 0 |") and first.opening == ""
    assert len(others) > 1
    for chunk in others:
        assert chunk.opening == "| No | Text |\n|---|---|\n"
        assert {block.header for block in blocks(chunk.text, opening=chunk.opening)} == {"| No | Text |"}


def test_code_longer_than_a_chunk_is_cut_between_lines_and_remains_code() -> None:
    """A comment in the middle of a program is no heading."""
    lines = "\n".join(f"# {n} a b c" for n in range(20))
    chunks = split(Document("a.md", f"```py\n{lines}\n```\n\n{say(3)}"), max_words=20)
    assert [set(kinds(chunk)) for chunk in chunks[:-1]] == [{"code"}] * (len(chunks) - 1) and len(chunks) > 4
    assert kinds(chunks[-1]) == ["code", "text"]
    assert {chunk.opening for chunk in chunks[1:]} == {"```py\n"}
    assert all(chunk.text.startswith("#") for chunk in chunks[1:])


def test_what_is_no_text_makes_no_chunk() -> None:
    """Front matter, comments and definitions are for programs; the title of the front matter is a heading."""
    text = "---\ntitle: Guide\ntags: [x]\n---\n<!-- note -->\n\nBody.\n\n## Part\n\nMore.\n\n[a]: http://b.c"
    assert [(chunk.heading, chunk.text) for chunk in split(Document("a.md", text))] == [
        (("Guide",), "Body."),
        (("Guide", "Part"), "More."),
    ]


def test_a_heading_of_the_text_takes_the_place_of_the_title() -> None:
    """Both say the same, mostly."""
    assert split(Document("a.md", "---\ntitle: Guide\n---\n# The guide\n\nBody."))[0].heading == ("The guide",)


def test_a_document_of_headings_only_is_found_all_the_same() -> None:
    """An outline is a document too."""
    (chunk,) = split(Document("a.md", "# Plan\n\n## First\n\n## Second\n"))
    assert (chunk.heading, chunk.text) == ((), "# Plan\n\n## First\n\n## Second")


def test_a_chunk_rather_ends_where_a_page_does() -> None:
    """If it is half full; a few words do not."""
    for text, pages in ((f"{say(12)}\n\n{say(6)}", (0, 61)), (f"{say(12)}\n\f\n{say(6)}", ())):
        assert [chunk.text for chunk in split(Document("a.md", text, pages=pages), max_words=20)] == [say(12), say(6)]
    (chunk,) = split(Document("a.md", f"{say(6)}\n\n{say(6)}", pages=(0, 31)), max_words=20)
    assert chunk.page == 1


def test_a_script_without_spaces_makes_chunks_of_the_same_size() -> None:
    """Two characters count as a word."""
    chunks = texts("我们今天去公园散步。" * 40, max_words=40)
    assert all(30 <= count_words(chunk) <= 40 and chunk.endswith("。") for chunk in chunks)


def test_blocks_keep_items_rows_and_code_apart() -> None:
    """What is never one sentence is never one block; a code block is whole."""
    assert [block.kind for block in blocks(PAGE)] == [
        "text", "text", "text", "item", "item", "row", "row", "row", "code", "text",
    ]  # fmt: skip


def test_an_unclosed_code_block_ends_with_the_document() -> None:
    """Half-written files are read too."""
    assert [block.kind for block in blocks("```\ncode\n# more")] == ["code"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- x\n" * 21, id="items"),
        pytest.param("# x\n" * 21, id="headings"),
        pytest.param("x\n\n" * 21, id="paragraphs"),
        pytest.param("One two three. " * 21, id="sentences"),
        pytest.param("```\n" + "one two three\n" * 20, id="lines of code"),
    ],
)
def test_what_has_too_many_parts_is_left_out(text: str) -> None:
    """Each part takes its time, however short it is: a limit in characters alone would be none."""
    document = Document("a.md", text)
    assert split(document, max_words=20, most_parts=21)
    with pytest.raises(DocumentsError, match=r"^more than 20 paragraphs, items, rows or sentences: split it$"):
        split(document, max_words=20, most_parts=20)


@pytest.mark.parametrize("unit", ["- x\n", "| a | b |\n", "x\n\n", "One two. ", ". ", "```\n", "words "])
def test_cutting_needs_little_memory_beside_the_chunks(unit: str) -> None:
    """Blocks, sentences and words are looked at one after the other, and not kept."""
    document = Document("a.md", unit * (200_000 // len(unit)))
    split(document)
    tracemalloc.start()
    try:
        chunks = split(document)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert chunks
    assert peak - kept < 6 * len(document.text)


def test_a_size_below_one_is_the_callers_mistake() -> None:
    """The value is named."""
    with pytest.raises(ValueError, match="max_words must be at least 1, was: 0"):
        split(Document("a.md", "text"), max_words=0)


WORD = st.sampled_from("alpha beta gamma delta. epsilon! *zeta* `eta` théta 世界。 x|y: ok".split())
LINE = st.lists(WORD, min_size=1, max_size=12).map(" ".join)
PARAGRAPH = st.lists(LINE, min_size=1, max_size=4).map("\n".join)
ITEM_LINES = st.tuples(st.sampled_from(["- ", "* ", "1. ", "  - ", "    - ", "2) ", "> "]), LINE).map("".join)
LIST = st.lists(ITEM_LINES, min_size=1, max_size=6).map("\n".join)
TABLE = st.lists(LINE, min_size=1, max_size=8).map(
    lambda lines: "| Name | Text |\n|---|---|\n" + "\n".join(f"| n | {line.replace('|', '/')} |" for line in lines)
)
CODE = st.lists(st.one_of(LINE, st.just("# no heading"), st.just(""), st.just("- x")), max_size=8).map(
    lambda lines: "\n".join(["```py", *lines, "```"])
)
NO_TEXT = st.sampled_from(["<!-- NOTE -->", "<!-- NOTE\nNOTE -->", "[NOTE]: http://NOTE", "***"])
BLOCK = st.one_of(PARAGRAPH, LIST, TABLE, CODE, NO_TEXT)
HEADING = st.tuples(st.integers(1, 4), st.integers(0, 99)).map(lambda made: f"{'#' * made[0]} HEADING{made[1]}")
BODY = st.lists(st.one_of(BLOCK, BLOCK, HEADING), min_size=1, max_size=14).map("\n\n".join)
DOCUMENT = st.tuples(st.sampled_from(["", "---\ntitle: NOTE\n---\n"]), BODY).map("".join)


@settings(max_examples=150, deadline=None)
@given(text=DOCUMENT, max_words=st.sampled_from([1, 5, 12, 30, 160]), markdown=st.booleans())
def test_made_up_documents_are_split_without_loss(text: str, max_words: int, markdown: bool) -> None:
    """Chunks ascend, do not overlap, and have all that is text; only what must not be cut is longer than a chunk."""
    document = Document("a", text, markdown=markdown)
    found = scan(text, markdown=markdown)
    chunks = split(document, max_words=max_words)

    assert [chunk.text for chunk in chunks] == [text[chunk.start : chunk.end] for chunk in chunks]
    assert all(one.end <= other.start for one, other in pairwise(chunks))
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))

    outside = text
    for chunk in reversed(chunks):
        outside = outside[: chunk.start] + outside[chunk.end :]
    if markdown and any(block.kind != "heading" for block in found):
        left = re.sub(r"(?m)^---\ntitle: NOTE\n---$|<!--[^>]*-->|^\[NOTE\]: \S+$|^#+ HEADING\d+$|^\*\*\*$", "", outside)
        assert not left.strip()
        for chunk in chunks:
            assert chunk.heading == path_at(text, chunk.start)
            assert "HEADING" not in chunk.text
    elif not markdown:
        assert not outside.strip()

    for chunk in chunks:
        size = count_words(chunk.text)
        assert size <= max_words * 1.15 or len(kept_whole(chunk)) == 1


def kept_whole(chunk: Chunk) -> list[str]:
    """The parts of a chunk that could have been chunks of their own."""
    parts = blocks(chunk.text, markdown=chunk.markdown, opening=chunk.opening)
    if parts[0].kind == "code" and len(parts) == 1:
        return [line for line in chunk.text.splitlines() if line.strip()]
    if len(parts) > 1 or parts[0].kind == "row":
        return [chunk.text[part.start : part.end] for part in parts]
    return [chunk.text[start:end] for start, end in sentences(chunk.text)]


def path_at(text: str, position: int) -> tuple[str, ...]:
    """The headings above a place, found in another way: by looking back from it."""
    path: list[str] = []
    level = 7
    above = re.sub(r"(?s)<!--.*?-->", "", text[:position])
    for marks, title in reversed(re.findall(r"(?m)^(#{1,6}) (HEADING\d+)$", above)):
        if len(marks) < level:
            path.insert(0, title)
            level = len(marks)
    if text.startswith("---") and level > 1:
        path.insert(0, "NOTE")
    return tuple(path)


@settings(max_examples=150, deadline=None)
@given(text=DOCUMENT, max_words=st.sampled_from([5, 12, 30, 160]))
def test_a_chunk_is_read_as_its_document_was(text: str, max_words: int) -> None:
    """With its opening, a chunk's blocks are those of the document: code is code, and a row knows its columns."""
    found = scan(text)
    assume(any(block.kind != "heading" for block in found))
    for chunk in split(Document("a.md", text), max_words=max_words):
        for block in blocks(chunk.text, opening=chunk.opening):
            start, end = chunk.start + block.start, chunk.start + block.end
            (own,) = [one for one in found if one.start < end and start < one.end]
            assert own.start <= start and end <= own.end
            if own.start == start:
                assert (block.kind, block.header) == (own.kind, own.header)
            assert (block.kind == "code") == (own.kind == "code")


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("#>`~-*+=_|<!:[]() \t\n\fab1.\\$.。\u3000\u2028"), max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    """Whatever the marks, blocks are in order, within the text, and whole."""
    for markdown in (True, False):
        found = scan(text, markdown=markdown)
        assert all(one.end <= other.start for one, other in pairwise(found))
        assert all(text[block.start : block.end].strip() for block in found)
        for chunk in split(Document("a", text, markdown=markdown), max_words=3):
            assert chunk.text == text[chunk.start : chunk.end] and chunk.text.strip()
