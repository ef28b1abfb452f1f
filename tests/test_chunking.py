"""Splitting documents."""

from __future__ import annotations

import pytest

from rag.chunking import blocks, plain, split
from rag.documents import Document

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
    chunks = split(Document("long.txt", text), max_words=20)
    assert all(len(chunk.text.split()) <= 20 and chunk.text.endswith(".") for chunk in chunks)
    assert " ".join(chunk.text for chunk in chunks) == text


def test_blocks_keep_items_rows_and_code_apart() -> None:
    """What is never one sentence is never one block; a code block is whole."""
    kinds = [block.kind for block in blocks(PAGE)]
    assert kinds == ["text", "text", "text", "item", "item", "row", "row", "row", "code", "text"]


def test_an_unclosed_code_block_ends_with_the_document() -> None:
    """Half-written files are read too."""
    assert [block.kind for block in blocks("```\ncode\n# more")] == ["code"]


def test_a_size_below_one_is_the_callers_mistake() -> None:
    """The value is named."""
    with pytest.raises(ValueError, match="max_words must be at least 1, was: 0"):
        split(Document("a.md", "text"), max_words=0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 50_000, id="brackets"),
        pytest.param("*a " * 50_000, id="stars"),
        pytest.param("```\n" * 20_000, id="fences"),
        pytest.param("#" * 100_000, id="hashes"),
        pytest.param("- " * 50_000, id="dashes"),
        pytest.param(("> " * 500 + "a\n") * 100, id="quotes"),
    ],
)
def test_pathological_markdown_is_split_at_once(text: str) -> None:
    """Each would take minutes if splitting or cleaning were quadratic; the suite's own time limit would tell."""
    document = Document("bad.md", text)
    for chunk in split(document, max_words=50):
        plain(chunk.text)
