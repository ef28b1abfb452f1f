"""Evidence: the sentences of the hits that bear on the question, and what of an answer they support."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag.bm25 import Hit
from rag.chunking import Block, Chunk, blocks, plain
from rag.text import estimate_tokens, numbers, sentences, words

# A hit further down the list is less likely to be the right one; its sentences count for less.
_RANK_WEIGHT = 0.8
# What a heading says also holds for the sentences below it, but less surely than their own words.
_HEADING_WEIGHT = 0.5
MIN_SUPPORT = 0.6
# Of a sentence's words, so many must stand in the evidence in the same order: 'A calls B' is not 'B calls A'.
_MIN_ORDER = 0.5
_LONGEST_CODE = 600

_NEGATIONS = frozenset("not no never none nothing nobody neither nor cannot without".split())
_OPPOSITES = [
    ("on", "off"), ("before", "after"), ("above", "below"), ("over", "under"), ("up", "down"), ("more", "less"),
    ("more", "fewer"), ("most", "least"), ("always", "never"), ("all", "none"), ("start", "stop"),
    ("open", "close"), ("enable", "disable"), ("enabled", "disabled"), ("higher", "lower"), ("larger", "smaller"),
    ("first", "last"), ("left", "right"), ("yes", "no"), ("true", "false"), ("with", "without"),
    ("can", "cannot"), ("increase", "decrease"), ("increases", "decreases"), ("allowed", "refused"),
    ("minimum", "maximum"), ("longer", "shorter"), ("faster", "slower"), ("inside", "outside"),
]  # fmt: skip
_PLAIN_WORD = re.compile(r"[\w']+")
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
_MARK = re.compile(r"[ \t]*\[(?:[ \t]*[1-9]\d{0,2}[ \t]*(?:[,;–-][ \t]*\d{1,3}[ \t]*){0,8}|no source)\](?!\()")


@dataclass(frozen=True)
class Evidence:
    """
    A sentence of a document, with its place.

    Attributes:
        text: the sentence as a reader would say it, without Markdown's marks.
        quote: the same characters as they stand in the document.
        chunk: the chunk that it is part of.
        start, end: its character span in the document.
        score: the BM25 score of its chunk; comparable within one question only.
        relevance: how well the sentence itself bears on the question; comparable likewise.
    """

    text: str
    quote: str
    chunk: Chunk
    start: int
    end: int
    score: float = 0.0
    relevance: float = 0.0


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
            relevance = sum(
                value if word in own else _HEADING_WEIGHT * value if word in above else 0.0
                for word, value in wanted.items()
            )
            if relevance > 0:
                candidates.append(replace(sentence, score=hit.score, relevance=relevance * _RANK_WEIGHT**rank))
    candidates.sort(key=lambda evidence: -evidence.relevance)
    return tuple(_within(candidates, tokens))


def sentences_of(chunk: Chunk) -> list[Evidence]:
    """All sentences of a chunk, in order. A list item, a table row and a code block are never joined to others."""
    found = []
    for block in blocks(chunk.text, markdown=chunk.markdown):
        body = chunk.text[block.start : block.end]
        short = block.kind in ("code", "row") and len(body) <= _LONGEST_CODE
        for start, end in [(0, len(body))] if short else sentences(body):
            at = chunk.start + block.start
            quote = body[start:end]
            text = plain(quote) if chunk.markdown and block.kind != "code" else " ".join(quote.split())
            if words(text):
                found.append(Evidence(text, quote, chunk, at + start, at + end))
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

    The share of the sentence's words found in the evidence or the headings above it, and 0 where words may agree
    and the meaning does not: a number or its unit that the evidence does not name, a negation or an opposite
    ('before' for 'after') on one side only, or the shared words in quite another order. A citation that is wrong
    does more harm than one that is missing.
    """
    context = f"{' '.join(evidence.chunk.heading)} {evidence.text}"
    said, source = words(sentence), words(context)
    if not said or not numbers(sentence) <= numbers(context) or contradicts(sentence, evidence.text):
        return 0.0
    if _in_same_order(said, source) < len(said) * _MIN_ORDER:
        return 0.0
    return len(set(said) & set(source)) / len(set(said))


def contradicts(sentence: str, source: str) -> bool:
    """
    Whether two sentences differ in a negation or in one of a pair of opposites.

    >>> contradicts("Do this before the restart.", "Do this after the restart.")
    True
    """
    left, right = (set(_PLAIN_WORD.findall(text.casefold().replace("’", "'"))) for text in (sentence, source))
    if bool(_negations(left)) != bool(_negations(right)):
        return True
    return any(
        (one in left and other in right and one not in right) or (other in left and one in right and other not in right)
        for one, other in _OPPOSITES
    )


def _negations(some_words: set[str]) -> set[str]:
    return {word for word in some_words if word in _NEGATIONS or word.endswith("n't")}


def _in_same_order(said: Sequence[str], source: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(source) + 1)
    for word in said:
        diagonal = 0
        for at, other in enumerate(source, start=1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return row[-1]


def cite(answer: str, evidence: Sequence[Evidence]) -> Cited:
    """
    Match each sentence of an answer to the evidence that supports it best.

    The model has no say in this: marks like `[3]` that it wrote itself are taken out first.

    >>> chunk = Chunk("The port is 8000.", "manual.md", end=17)
    >>> cite("The port is 8000. It was chosen in Lyon.", sentences_of(chunk)).text
    'The port is 8000. [1] It was chosen in Lyon. [no source]'
    """
    text = without_marks(answer)
    order: dict[Evidence, int] = {}
    pieces: list[str] = []
    unsupported, last = 0, 0
    for start, end, mark_at in _claims(text):
        backed = [(support(text[start:end], one), one) for one in evidence]
        share, best = max(backed, key=lambda pair: pair[0], default=(0.0, None))
        if best is not None and share >= MIN_SUPPORT:
            mark = f"[{order.setdefault(best, len(order) + 1)}]"
        else:
            mark = NO_SOURCE
            unsupported += 1
        pieces.append(f"{text[last:mark_at].rstrip(' ')} {mark}{' ' if mark_at < end else ''}")
        last = mark_at
    citations = tuple(Citation(number, one) for one, number in order.items())
    return Cited("".join(pieces) + text[last:], citations, unsupported)


def quote(evidence: Sequence[Evidence], *, most: int = 2) -> Cited:
    """
    The best sentences in the documents' own words, as a Markdown quotation with their citations.

    A sentence that bears on the question less than half as well as the best one is not quoted beside it.
    """
    worth = [one for one in evidence[:most] if one.relevance >= evidence[0].relevance / 2]
    citations = tuple(Citation(number, one) for number, one in enumerate(worth, start=1))
    text = "\n>\n".join(f"> {_quotable(one.evidence)} [{one.number}]" for one in citations)
    return Cited(text, citations)


def without_marks(answer: str) -> str:
    """
    An answer without citation marks, a model's or our own. Code keeps its brackets.

    >>> without_marks("The port is 8000 [2]. See `items[0]`. [no source]")
    'The port is 8000. See `items[0]`.'
    """
    parts = _CODE.split(answer)
    parts[::2] = [_MARK.sub("", part) for part in parts[::2]]  # every other part is code
    return "".join(parts)


def _quotable(evidence: Evidence) -> str:
    if "\n" in evidence.quote and evidence.quote.lstrip().startswith(("```", "~~~")):
        return evidence.quote.replace("\n", "\n> ") + "\n>"
    # The words are the document's; a backslash keeps Markdown from reading marks into them.
    return re.sub(r"[\\`*<\[\]~|]|(?<!\w)_|_(?!\w)", lambda match: f"\\{match[0]}", evidence.text)


def _claims(text: str) -> list[tuple[int, int, int]]:
    """
    The sentences of an answer that claim something; code, table headers and empty phrases do not.

    Returns:
        (start, end, where its mark goes) in characters; in a table row the mark goes inside the last cell.
    """
    claims = []
    parts = blocks(text)
    for block, following in zip(parts, [*parts[1:], None], strict=True):
        body = text[block.start : block.end]
        if block.kind == "code" or (block.kind == "row" and following and _is_delimiter(text, following)):
            continue
        for start, end in [(0, len(body))] if block.kind == "row" else sentences(body):
            if words(body[start:end]):
                inside = 1 if block.kind == "row" and body.endswith("|") else 0
                claims.append((block.start + start, block.start + end, block.start + end - inside))
    return claims


def _is_delimiter(text: str, block: Block) -> bool:
    return block.kind == "row" and set(text[block.start : block.end]) <= set("|-: \t")


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
