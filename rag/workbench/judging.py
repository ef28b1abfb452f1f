"""What a large model says an answer is worth, under the same names as what its words alone say (see `scores`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing

from rag.backends.base import Backend, Text
from rag.errors import ModelError
from rag.evidence import Evidence
from rag.prompts import Message

#: What is asked for; see `judgements`.
NAMES = ("answer_relevancy", "faithfulness", "context_precision")

_SYSTEM = "You grade answers strictly. Reply with what is asked for and nothing else."
_TEN = "Reply with one whole number from 0 (not at all) to 10 (entirely)."
_MOST_TOKENS = 600  # some models think before they answer
# A number, and of how much it is.
_GRADE = re.compile(r"(?<![\d.,−–-])(10|\d)(?!\d|[.,−–-]\d)(?:\s*(?:/|(?:out )?of\b)\s*(\d+))?", re.IGNORECASE)
_PLACES = re.compile(r"(\d+)(?:[ \t]*(?:[-−–—]|to\b)[ \t]*(\d+))?", re.IGNORECASE)
_NONE = re.compile(r"[\W_]*none\b", re.IGNORECASE)

Judgements = dict[str, float | None]


async def judgements(judge: Backend, question: str, answer: str, evidence: Sequence[Evidence]) -> Judgements:
    """
    Three grades of an answer by a model, 0 to 1.

    `answer_relevancy`: how directly it answers the question. `faithfulness`: how much of it the evidence says.
    `context_precision`: how far ahead in the evidence that stands which helps to answer, as `scores` counts it. Each
    is None where there is nothing to grade, where the model fails, and where its reply is no grade.

    Args:
        judge: the model.
        question: as asked.
        answer: without marks; empty where nothing was answered.
        evidence: best first.
    """
    context = "\n".join(f"{place}. {one.text}" for place, one in enumerate(evidence, start=1))
    relevancy = faithful = helping = None
    if answer.strip():
        relevancy = await _asked(judge, f"Question: {question}\nAnswer: {answer}\n\nIs the question answered? {_TEN}")
    if answer.strip() and evidence:
        faithful = await _asked(judge, f"Context:\n{context}\n\nAnswer: {answer}\n\nDoes the context say it? {_TEN}")
    if evidence:
        wanted = "Which lines help to answer the question? Reply with their numbers, or with: none"
        helping = await _asked(judge, f"Question: {question}\n\nLines:\n{context}\n\n{wanted}")
    return dict(
        zip(NAMES, (grade_in(relevancy), grade_in(faithful), precision_in(helping, len(evidence))), strict=True)
    )


def grade_in(reply: str | None) -> float | None:
    """
    The grade that a reply gives, from 0 to 1; None if it gives none, or several.

    >>> grade_in("8"), grade_in("Grade: 10/10."), grade_in("8 out of 10"), grade_in("between 3 and 5"), grade_in("85")
    (0.8, 1.0, 0.8, None, None)
    """
    found = {(grade, whole or "10") for grade, whole in _GRADE.findall(reply or "")}
    grade, whole = found.pop() if len(found) == 1 else ("", "")
    return int(grade) / 10 if whole == "10" else None


def precision_in(reply: str | None, count: int) -> float | None:
    """
    The mean, over the lines that a reply names, of the share of lines up to there that it names; 0 for `none`.

    Lines may be named as from one to another. None where it names none and does not say so, or one that is not there.

    >>> precision_in("1, 3", 3), precision_in("1-3", 3), precision_in("None.", 3), precision_in("7", 3)
    (0.8333333333333333, 1.0, 0.0, None)
    """
    said = reply or ""
    named = [(int(first), int(last or first)) for first, last in _PLACES.findall(said)]
    if _NONE.match(said) or (not named and "none" in said.casefold()):  # at first: none of the 3 lines
        return 0.0
    if not named:
        return None
    if not all(1 <= first <= last <= count for first, last in named):
        return None
    places = sorted({place for first, last in named for place in range(first, last + 1)})
    return sum(number / place for number, place in enumerate(places, start=1)) / len(places)


async def _asked(judge: Backend, content: str) -> str | None:
    messages: list[Message] = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]
    said = ""
    try:
        async with aclosing(judge.stream(messages, max_tokens=_MOST_TOKENS, temperature=0.0)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Text):
                    said += piece.text
    except ModelError:
        return None  # a grade that could not be had must not cost the answer
    return said
