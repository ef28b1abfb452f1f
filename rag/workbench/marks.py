"""What an answer is worth: coherence, factuality and brevity from 1 to 5, said by a model or by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from rag.backends.base import Backend, Done, Text
from rag.evidence import Evidence
from rag.prompts import Message

#: What is marked, and what each asks.
NAMES = ("coherence", "factuality", "brevity")

_SYSTEM = "You mark answers strictly and fairly. Reply with the JSON object that is asked for and nothing else."
_WANTED = (
    "Mark the answer with whole numbers from 1 (poor) to 5 (excellent):\n"
    "coherence: does it read as one clear thought?\n"
    "factuality: is all that it says true, and in the context where there is one?\n"
    "brevity: does it say what is needed and no more?\n"
    # Without digits, as a weak judge repeats what it reads.
    'Reply with JSON only, with your number in place of each N: {"coherence": N, "factuality": N, "brevity": N}'
)
_MOST_TOKENS = 600  # some models think before they answer
_OBJECT = re.compile(r"\{[^{}]*\}")
# The name, what it is of (1-5), and the number; of how much, as in 4/5 and 4 out of 5.
_SAID = (
    r"\b{name}\b[\"'*_`]*\s*(?:\([^()\n]{{0,20}}\))?[\"'*_`]*\s*(?:[:=–-]|\bis\b|\bof\b|\|)?\s*[\"'*_`]*"
    r"(?<![\d.])(\d+(?:[.,]\d+)?)(?:\s*(?:/|out of)\s*(\d+))?"
)


@dataclass(frozen=True)
class Marks:
    """Marks from 1 (poor) to 5 (excellent); None where there is none."""

    coherence: int | None = None
    factuality: int | None = None
    brevity: int | None = None

    def __bool__(self) -> bool:
        return any(mark is not None for mark in self.to_json().values())

    def to_json(self) -> dict[str, int | None]:
        """By their names."""
        return {name: getattr(self, name) for name in NAMES}


async def marks_by(
    judge: Backend, prompt: str, answer: str, evidence: Sequence[Evidence] = ()
) -> tuple[Marks, str | None]:
    """
    Let a model mark an answer; what cannot be read of its reply is None.

    Args:
        judge: the model.
        prompt: what was asked.
        answer: what is marked.
        evidence: what the answer was given to stand on; empty: nothing.

    Returns:
        The marks, and the model's name as its server reported it, None if it did not.

    Raises:
        ModelError: the model failed.
    """
    context = "".join(f"- {one.text}\n" for one in evidence)
    told = f"Context:\n{context}\n" if context else ""
    content = f"{told}Question: {prompt}\n\nAnswer: {answer}\n\n{_WANTED}"
    messages: list[Message] = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]
    said, model = "", None
    async with aclosing(judge.stream(messages, max_tokens=_MOST_TOKENS, temperature=0.0)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Text):
                said += piece.text
            elif isinstance(piece, Done):
                model = piece.model
    return marks_in(said), model


def marks_in(reply: str) -> Marks:
    """
    The marks that a reply gives, as JSON or in words; None for what it does not give, or gives twice and otherwise.

    >>> marks_in('Sure! {"coherence": 4, "factuality": "5", "brevity": 9}')
    Marks(coherence=4, factuality=5, brevity=None)
    >>> marks_in("Coherence (1-5): 4/5, brevity is 2")
    Marks(coherence=4, factuality=None, brevity=2)
    """
    objects = [found for raw in _OBJECT.findall(reply) if (found := _object(raw)) is not None]
    for found in reversed(objects):  # who thinks aloud decides at the end
        if marks := _of(found):
            return marks
    return Marks(**{name: _in_words(name, reply) for name in NAMES})


def mark_of(value: Any) -> int | None:
    """
    A value as a mark; None if it is none.

    >>> [mark_of(value) for value in (4, 4.0, "4", "4/5", "4/10", 0, 6, 3.5, True, None)]
    [4, 4, 4, 4, None, None, None, None, None, None]
    """
    if isinstance(value, str):
        whole = re.fullmatch(r"\s*(\d)(?:[.,]0+)?\s*(?:(?:/|out of)\s*5)?\s*", value)
        value = int(whole[1]) if whole else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (1, 2, 3, 4, 5):
        return None
    return int(value)


def _of(found: Mapping[str, Any]) -> Marks:
    plain = {str(name).strip().casefold(): value for name, value in found.items()}
    return Marks(**{name: mark_of(plain.get(name)) for name in NAMES})


def _object(raw: str) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _in_words(name: str, reply: str) -> int | None:
    said = re.findall(_SAID.format(name=name), reply, re.IGNORECASE)
    found = {mark_of(f"{mark}/{whole}" if whole else mark) for mark, whole in said}
    return found.pop() if len(found) == 1 else None
