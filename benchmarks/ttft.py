"""
What does the evidence budget buy? On a processor, reading the prompt is most of the wait for the first word.

Twenty questions about our manual, answered by the embedded model through the assistant, in this process, with the best
sentence of the evidence, which is the default, with all of its budget, with every sentence that shares a word with the
question, and with the whole chunks that were found, which is how RAG is commonly done. The ways take turns, and meet
each question at different times, so that none finds its prompt in the model's cache because of another. TTFT is the
time to the draft's first word, whether the draft was kept in the end or not.

    python -m benchmarks.ttft [--questions 20] [--out FILE]
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from benchmarks.chat import ROOT
from benchmarks.common import arguments, conclude, median, quantile, rounded, table
from benchmarks.questions import QUESTIONS
from rag.assistant import Assistant, build_assistant
from rag.backends.base import Done
from rag.bm25 import Hit
from rag.events import Answer, Answered, Retrieved
from rag.evidence import Evidence, bearing
from rag.prompts import build_messages
from rag.settings import load_settings

EVERY_SENTENCE = 4000
WAYS = ("best sentence", "budget", "every sentence", "whole chunks")


def whole_chunks(question: str, hits: Sequence[Hit], *, weight: Callable[[str], float]) -> tuple[Evidence, ...]:
    """In place of `bearing`: each hit as one long piece of evidence."""
    return tuple(Evidence(h.chunk.text, h.chunk.text, h.chunk, h.chunk.start, h.chunk.end, h.score) for h in hits)


@dataclass(frozen=True)
class Measured:
    """An answer, and the evidence that its prompt was made of."""

    question: str
    evidence: tuple[Evidence, ...]
    answer: Answer


async def answer(assistant: Assistant, question: str, way: str) -> Measured:
    """One answer, with the evidence of one of the ways."""
    assert assistant.models is not None
    knobs = assistant.knobs
    if way not in WAYS[:2]:
        knobs = replace(knobs, evidence_tokens=EVERY_SENTENCE)
    assistant.models = replace(assistant.models, most_sentences=1 if way == WAYS[0] else None)
    evidence: tuple[Evidence, ...] = ()
    with patch("rag.assistant.bearing", whole_chunks if way == "whole chunks" else bearing):
        async with aclosing(assistant.ask(question, mode="slm", knobs=knobs)) as events:
            async for event in events:
                if isinstance(event, Retrieved):
                    evidence = event.evidence[: assistant.models.most_sentences]
                elif isinstance(event, Answered):
                    return Measured(question, evidence, event.answer)
    raise RuntimeError(f"No answer to: {question}")


async def prompt_tokens(assistant: Assistant, measured: Measured) -> int:
    """The size of a prompt as the server counts it; asked anew where a draft was cut before the server said."""
    if measured.answer.usage_slm:
        return measured.answer.usage_slm.prompt
    assert assistant.models is not None
    messages = build_messages(measured.question, measured.evidence)
    async with aclosing(assistant.models.slm.stream(messages, max_tokens=1, temperature=0.0)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Done) and piece.usage:
                return piece.usage.prompt
    raise RuntimeError("The model's server does not count tokens.")


async def measure(count: int) -> dict[str, dict[str, Any]]:
    """All questions in all ways, one after the other, and the figures of each way."""
    assistant = build_assistant(load_settings(docs_dir=ROOT / "docs"))
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    await assistant.start()
    try:
        await answer(assistant, "Is there a light and a dark theme?", WAYS[0])
        for number in range(count):
            for turn, way in enumerate(WAYS):
                question = QUESTIONS[(number + turn * max(1, count // len(WAYS))) % count]
                found[way].append(await answer(assistant, question, way))
        asked = {way: [one for one in some if one.answer.route != "abstained"] for way, some in found.items()}
        sizes = {way: [await prompt_tokens(assistant, one) for one in some] for way, some in asked.items()}
    finally:
        await assistant.stop()
    return {way: summary([one.answer for one in some], sizes[way]) for way, some in asked.items()}


def summary(answers: list[Answer], sizes: list[int]) -> dict[str, Any]:
    """The figures of one way, over the questions that the model was asked."""
    first = [one.timings.ttft_s * 1e3 for one in answers if one.timings.ttft_s is not None]
    return {
        "asked": len(answers),
        **rounded({"ttft_ms_p50": median(first), "ttft_ms_p95": quantile(first, 0.95)}, 1),
        "prompt_tokens_p50": median(sizes),
        "total_ms_p50": round(median([one.timings.total_s * 1e3 for one in answers]), 1),
        "kept": sum(one.route == "slm" for one in answers),
        "loops": sum("repeats itself" in (one.reason or "") for one in answers),
    }


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", questions=len(QUESTIONS))
    figures = asyncio.run(measure(options.questions))
    headings = ["evidence", "asked", "TTFT p50", "TTFT p95", "prompt tokens", "total p50", "kept", "loops"]
    print(table(headings, [[way, *figure.values()] for way, figure in figures.items()]))
    conclude({"questions": options.questions, "evidence": figures}, options.out)


if __name__ == "__main__":
    main()
