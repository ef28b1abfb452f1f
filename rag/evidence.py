"""Evidence: the sentences of the hits that bear on the question, and what of an answer they support."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

from rag.bm25 import Hit
from rag.chunking import Block, Chunk, blocks, plain
from rag.opposites import contradicts
from rag.text import estimate_tokens, forget_words, likeness, numbers, sentences, words

# What counts beside the share of the question that a sentence has, 0 to 1: that its chunk is the closest one, that it
# is near in meaning, and that it has a number where one is asked for. Fitted on SQuAD articles, as benchmarks/README.md
# tells; there meaning adds 0.2 points, and 4 where people ask about the manual in their own words.
_CHUNK_WEIGHT = 1.0
_MEANING_WEIGHT = 1.0
_NUMBER_WEIGHT = 0.25
_LEAST_LIKENESS = 0.4
# What a heading says also holds for the sentences below it, but less surely than their own words.
_HEADING_WEIGHT = 0.5
MIN_SUPPORT = 0.6
_NEAR = 0.35
# Of a sentence's words, so many must stand in the evidence in the same order: 'A calls B' is not 'B calls A'.
_MIN_ORDER = 0.5
_LONGEST_CODE = 600
# A quotation says more than a prompt holds: what is nearly as good as the best sentence stands beside it. On 1,299
# SQuAD questions the answer is in 87 % of these, in 81 % of the best two.
_MOST_QUOTED = 4
_QUOTED_SHARE = 0.7
_QUOTED_TOKENS = 200

_AFTER_NUMBER = re.compile(
    r"(?i)\b(?:when|how (?:many|much|long|old|far|tall|large|big|high|fast)|(?:what|which|in what) (?:year|century|"
    r"decade|date|day|month|number|percentage|percent|port|size|time)|wann|wie ?viele?|wie lange|quand|combien|"
    r"cuándo|cuántos|cuántas|kdaj|koliko|wanneer|hoeveel|quando|quanti|quante)\b|कति|कहिले|कब|कितन"
)
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
        also: other documents with the same text.
    """

    text: str
    quote: str
    chunk: Chunk
    start: int
    end: int
    score: float = 0.0
    relevance: float = 0.0
    also: tuple[str, ...] = ()


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

    @property
    def is_bare(self) -> bool:
        """Whether something is claimed, and none of it has a source."""
        return bool(self.unsupported) and not self.citations


NO_SOURCE = "[no source]"


def gather(question: str, hits: Sequence[Hit], *, tokens: int, weight: Callable[[str], float]) -> tuple[Evidence, ...]:
    """The sentences of the hits that best bear on a question, best first: those of `bearing` that `within` leaves."""
    return within(bearing(question, hits, weight=weight), tokens)


def bearing(question: str, hits: Sequence[Hit], *, weight: Callable[[str], float]) -> tuple[Evidence, ...]:
    """
    All sentences of the hits that bear on a question, best first.

    A sentence counts by the share of the question that it has, where words that look alike count in part; by how
    close its chunk is; by how near it is in meaning, where that is known; and, for a question after a number or a
    date, by having one that the question has not.

    Args:
        question: as asked.
        hits: best first.
        weight: how much a word tells, in any unit (`Bm25Index.idf`).

    Returns:
        Sentences sharing a word with the question, or standing below a heading that does; empty if none does.
    """
    closest = max((hit.closeness for hit in hits), default=0.0) or 1.0
    asked_number = {value for value, _ in numbers(question)} if _AFTER_NUMBER.search(question) else None
    wanted: dict[str, dict[str, float]] = {}  # by language
    candidates: list[Evidence] = []
    # A sentence whose meaning nobody knows is neither near nor far.
    middle = median(cosines) if (cosines := [cosine for hit in hits for cosine in hit.near]) else 0.0
    for hit in hits:
        language = hit.chunk.language
        if language not in wanted:
            wanted[language] = {word: weight(word) + 0.1 for word in words(question, language)}
        weights = wanted[language]
        above = frozenset(words(" ".join(hit.chunk.heading), language))
        sentences_here = sentences_of(hit.chunk)
        near = hit.near if len(hit.near) == len(sentences_here) else (middle,) * len(sentences_here)
        for sentence, cosine in zip(sentences_here, near, strict=True):
            share = _share(weights, frozenset(words(sentence.text, language)), above)
            if not share:
                continue
            relevance = share + _CHUNK_WEIGHT * hit.closeness / closest + _MEANING_WEIGHT * cosine
            if asked_number is not None and {value for value, _ in numbers(sentence.text)} - asked_number:
                relevance += _NUMBER_WEIGHT
            candidates.append(replace(sentence, score=hit.score, relevance=relevance, also=hit.also))
    candidates.sort(key=lambda evidence: -evidence.relevance)
    return tuple(candidates)


def within(candidates: Sequence[Evidence], tokens: int) -> tuple[Evidence, ...]:
    """
    What of some sentences a budget has room for, each text once.

    Args:
        candidates: best first.
        tokens: the budget, in estimated tokens. The best sentence is taken even if it alone exceeds it.
    """
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
    return tuple(chosen)


def _share(weights: Mapping[str, float], own: frozenset[str], above: frozenset[str]) -> float:
    # Half of it by the very words, half by words that look alike; 0 without one of the very words.
    exact = alike = 0.0
    for word, value in weights.items():
        if word in own:
            exact += value
            alike += value
        else:
            heading = _HEADING_WEIGHT if word in above else 0.0
            nearest = max((likeness(word, other) for other in own), default=0.0)
            exact += value * heading
            alike += value * max(heading, nearest if nearest >= _LEAST_LIKENESS else 0.0)
    return (exact + alike) / 2 / sum(weights.values()) if exact else 0.0


@lru_cache(maxsize=2_000)
def sentences_of(chunk: Chunk) -> tuple[Evidence, ...]:
    """All sentences of a chunk, in order. A list item, a table row and a code block are never joined to others."""
    found = []
    for block in blocks(chunk.text, markdown=chunk.markdown, opening=chunk.opening):
        body = chunk.text[block.start : block.end]
        short = block.kind in ("code", "row") and len(body) <= _LONGEST_CODE
        for start, end in [(0, len(body))] if short else sentences(body):
            at = chunk.start + block.start
            quote = body[start:end]
            as_said = chunk.markdown and block.kind != "code"
            text = plain(quote, header=block.header) if as_said else " ".join(quote.split())
            if words(text, chunk.language):
                found.append(Evidence(text, quote, chunk, at + start, at + end))
    return tuple(found)


def forget_texts() -> None:
    """Empty what is kept of texts for the next question, as one that is gone may be among them."""
    sentences_of.cache_clear()
    forget_words()


def coverage(question: str, evidence: Sequence[Evidence], *, weight: Callable[[str], float]) -> float:
    """
    The share, 0 to 1 by weight, of the question's words that the best single sentence (with its headings) has.

    Several sentences that each have another word of the question are no evidence; they only look like it.
    """
    return max((_covered(question, one, weight) for one in evidence), default=0.0)


def is_near(hits: Sequence[Hit]) -> bool:
    """
    Whether some sentence of the hits is so near to the question in meaning that few common words do not matter.

    False where no meaning is known. With it, 8 % instead of 14 % of a person's questions about the manual are wrongly
    said not to be answered, and as many rightly.
    """
    return max((cosine for hit in hits for cosine in hit.near), default=-1.0) >= _NEAR


def is_enough(evidence: Sequence[Evidence], share: float, hits: Sequence[Hit], *, min_coverage: float) -> bool:
    """
    Whether evidence bears on a question, so that a model is asked with it.

    Args:
        evidence: for the prompt.
        share: its `coverage`.
        hits: that it is from.
        min_coverage: the least share, unless a hit `is_near`.
    """
    return bool(evidence) and (share >= min_coverage or is_near(hits))


def _covered(question: str, one: Evidence, weight: Callable[[str], float]) -> float:
    language = one.chunk.language
    wanted = {word: weight(word) + 0.1 for word in words(question, language)}
    found = wanted.keys() & set(words(f"{one.text} {' '.join(one.chunk.heading)}", language))
    return sum(wanted[word] for word in found) / sum(wanted.values()) if wanted else 0.0


def support(sentence: str, evidence: Evidence) -> float:
    """
    How much of a sentence one piece of evidence backs, 0 to 1.

    The share of the sentence's words found in the evidence or the headings above it, and 0 where words may agree
    and the meaning does not: a number or its unit that the evidence does not name, a negation or an opposite
    ('before' for 'after') on one side only, or the shared words in quite another order. A citation that is wrong
    does more harm than one that is missing.
    """
    context = f"{' '.join(evidence.chunk.heading)} {evidence.text}"
    said, source = words(sentence, evidence.chunk.language), words(context, evidence.chunk.language)
    if not said or not numbers(sentence) <= numbers(context):
        return 0.0
    if contradicts(sentence, evidence.text, evidence.chunk.language):
        return 0.0
    if _in_same_order(said, source) < len(said) * _MIN_ORDER:
        return 0.0
    return len(set(said) & set(source)) / len(set(said))


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


def quotable(candidates: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """What of some sentences, best first, is worth quoting: the best, and up to three that bear nearly as well."""
    least = candidates[0].relevance * _QUOTED_SHARE if candidates else 0.0
    worth = [one for one in candidates if one.relevance >= least]
    return within(worth, _QUOTED_TOKENS)[:_MOST_QUOTED]


def quote(evidence: Sequence[Evidence]) -> Cited:
    """Sentences in the documents' own words, as a Markdown quotation with their citations."""
    worth = quotable(evidence)
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
