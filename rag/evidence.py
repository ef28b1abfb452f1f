"""Evidence: the sentences of the hits that bear on the question, and what of an answer they support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag.bm25 import Hit
from rag.chunking import Chunk, blocks, plain
from rag.text import estimate_tokens, numbers, sentences, words

# A hit further down the list is less likely to be the right one; its sentences count for less.
_RANK_WEIGHT = 0.8
# What a heading says also holds for the sentences below it, but less surely than their own words.
_HEADING_WEIGHT = 0.5
MIN_SUPPORT = 0.6


@dataclass(frozen=True)
class Evidence:
    """
    A sentence of a document, with its place.

    Attributes:
        text: the sentence as a reader would say it, without Markdown's marks.
        quote: the same characters as they stand in the document.
        chunk: the chunk that it is part of.
        start, end: its character span in the document.
        score: how well it bears on the question; comparable within one question only.
    """

    text: str
    quote: str
    chunk: Chunk
    start: int
    end: int
    score: float = 0.0


@dataclass(frozen=True)
class Citation:
    """
    A place in the documents that a sentence of the answer stands on.

    Attributes:
        number: 1, 2, … in the order in which the answer first needs them.
        evidence: the supporting sentence.
    """

    number: int
    evidence: Evidence


@dataclass(frozen=True)
class Cited:
    """
    An answer with its citations.

    Attributes:
        text: the answer with `[1]` behind each supported sentence and `[no source]` behind each other one.
        citations: the places cited, in the order of their numbers.
        unsupported: how many sentences nothing supports.
    """

    text: str
    citations: tuple[Citation, ...]
    unsupported: int = 0


NO_SOURCE = "[no source]"


def gather(question: str, hits: Sequence[Hit], *, tokens: int, weight: Callable[[str], float]) -> tuple[Evidence, ...]:
    """
    Choose the sentences of the hits that best bear on a question, best first.

    Args:
        question: as asked.
        hits: best first.
        tokens: the budget, in estimated tokens. The best sentence is taken even if it alone exceeds it.
        weight: how much a word tells, in any unit (`Bm25Index.idf`).

    Returns:
        Sentences sharing a word with the question; empty if none does.
    """
    wanted = {word: weight(word) + 0.1 for word in words(question)}
    candidates: list[Evidence] = []
    for rank, hit in enumerate(hits):
        above = set(words(" ".join(hit.chunk.heading)))
        for sentence in sentences_of(hit.chunk):
            own = set(words(sentence.text))
            score = sum(
                value if word in own else _HEADING_WEIGHT * value if word in above else 0.0
                for word, value in wanted.items()
            )
            if score > 0:
                candidates.append(replace(sentence, score=score * _RANK_WEIGHT**rank))
    candidates.sort(key=lambda evidence: -evidence.score)
    return tuple(_within(candidates, tokens))


def sentences_of(chunk: Chunk) -> list[Evidence]:
    """All sentences of a chunk, in order. A list item, a table row and a code block are never joined to others."""
    found = []
    markdown = chunk.document.lower().endswith((".md", ".markdown"))
    for block in blocks(chunk.text, markdown=markdown):
        body = chunk.text[block.start : block.end]
        spans = [(0, len(body))] if block.kind in ("code", "row") else sentences(body)
        for start, end in spans:
            at = chunk.start + block.start
            text = plain(body[start:end])
            if words(text):
                found.append(Evidence(text, body[start:end], chunk, at + start, at + end))
    return found


def coverage(question: str, evidence: Sequence[Evidence], *, weight: Callable[[str], float]) -> float:
    """
    The share, 0 to 1 by weight, of the question's words that the best single sentence (with its headings) has.

    Several sentences that each have another word of the question are no evidence; they only look like it.
    """
    wanted = {word: weight(word) + 0.1 for word in words(question)}
    if not wanted:
        return 0.0
    found = (set(words(f"{one.text} {' '.join(one.chunk.heading)}")) & wanted.keys() for one in evidence)
    return max((sum(wanted[word] for word in some) for some in found), default=0.0) / sum(wanted.values())


def support(sentence: str, evidence: Evidence) -> float:
    """
    How much of a sentence one piece of evidence backs, 0 to 1.

    The share of the sentence's words found in the evidence or the headings above it; 0 where it names a number
    that the evidence does not.
    """
    needed = set(words(sentence))
    context = f"{evidence.text} {' '.join(evidence.chunk.heading)}"
    if not needed or not numbers(sentence) <= numbers(context):
        return 0.0
    return len(needed & set(words(context))) / len(needed)


def cite(answer: str, evidence: Sequence[Evidence]) -> Cited:
    """
    Match each sentence of an answer to the evidence that supports it best.

    The model has no say in this: marks like `[3]` that it wrote itself are taken out first.

    >>> chunk = Chunk("The port is 8000.", "manual.md", end=17)
    >>> cite("The port is 8000. It was chosen in Lyon.", sentences_of(chunk)).text
    'The port is 8000. [1] It was chosen in Lyon. [no source]'
    """
    text = _without_marks(answer)
    order: dict[Evidence, int] = {}
    pieces: list[str] = []
    unsupported, last = 0, 0
    for start, end in _claims(text):
        best = max(evidence, key=lambda one: support(text[start:end], one), default=None)
        if best is not None and support(text[start:end], best) >= MIN_SUPPORT:
            mark = f"[{order.setdefault(best, len(order) + 1)}]"
        else:
            mark = NO_SOURCE
            unsupported += 1
        pieces.append(f"{text[last:end]} {mark}")
        last = end
    citations = tuple(Citation(number, one) for one, number in order.items())
    return Cited("".join(pieces) + text[last:], citations, unsupported)


def quote(evidence: Sequence[Evidence], *, most: int = 2) -> Cited:
    """
    The best sentences in the documents' own words, as a Markdown quotation with their citations.

    A sentence that bears on the question less than half as well as the best one is not quoted beside it.
    """
    worth = [one for one in evidence[:most] if one.score >= evidence[0].score / 2]
    citations = tuple(Citation(number, one) for number, one in enumerate(worth, start=1))
    text = "\n>\n".join(f"> {_quotable(one.evidence)} [{one.number}]" for one in citations)
    return Cited(text, citations)


def _quotable(evidence: Evidence) -> str:
    if "\n" in evidence.quote and evidence.quote.lstrip().startswith(("```", "~~~")):
        return evidence.quote.replace("\n", "\n> ") + "\n>"
    return evidence.text


def _claims(text: str) -> list[tuple[int, int]]:
    """The spans of an answer's sentences that claim something: code and empty phrases do not."""
    claims = []
    for block in blocks(text):
        if block.kind == "code":
            continue
        body = text[block.start : block.end]
        for start, end in [(0, len(body))] if block.kind == "row" else sentences(body):
            if words(body[start:end]):
                claims.append((block.start + start, block.start + end))
    return claims


def _without_marks(answer: str) -> str:
    out, rest = [], answer
    while "[" in rest:
        head, _, rest = rest.partition("[")
        inside, closed, tail = rest[:24].partition("]")
        if closed and inside.strip() and all(c.isdigit() or c in " ,;-" for c in inside):
            out.append(head.rstrip(" "))
            rest = tail + rest[24:]
        else:
            out.append(head + "[")
    return "".join(out) + rest


def _within(candidates: Sequence[Evidence], tokens: int) -> list[Evidence]:
    chosen: list[Evidence] = []
    said: set[str] = set()
    left = tokens
    for one in candidates:
        size = estimate_tokens(one.text)
        if one.text in said or (chosen and size > left):
            continue
        chosen.append(one)
        said.add(one.text)
        left -= size
    return chosen
