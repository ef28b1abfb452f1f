"""The prompt, in chat form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.evidence import Evidence

Message = dict[str, str]

# The workshop's contract. It comes first and never changes, so that a server can keep it in its prompt cache.
SYSTEM = "Answer using ONLY the provided context. If insufficient, say so."

#: What a model is asked that is only to show that it is there, or to be loaded.
GREETING: list[Message] = [{"role": "user", "content": "Say hello."}]

_REFINE = (
    "Refine and polish this draft answer to the question. Keep its facts, add none that the context does not "
    "have, and correct what the context contradicts."
)


@dataclass(frozen=True)
class Turn:
    """An earlier question of the conversation and its answer."""

    question: str
    answer: str


def build_messages(question: str, evidence: Sequence[Evidence], history: Sequence[Turn] = ()) -> list[Message]:
    """
    The messages that ask a model to answer from the evidence.

    Args:
        question: as asked.
        evidence: best first.
        history: earlier turns, oldest first.
    """
    messages = [{"role": "system", "content": SYSTEM}]
    for turn in history:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": f"Context:\n{_context(evidence)}\n\nQuestion: {question}"})
    return messages


def build_refine_messages(question: str, evidence: Sequence[Evidence], draft: str) -> list[Message]:
    """The messages that ask the LLM to polish a draft from the same evidence."""
    content = f"Context:\n{_context(evidence)}\n\nQuestion: {question}\n\nDraft: {draft}\n\n{_REFINE}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]


def _context(evidence: Sequence[Evidence]) -> str:
    return "\n".join(f"- {one.text}" for one in evidence)
