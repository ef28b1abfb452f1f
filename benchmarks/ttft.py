"""
What does the evidence budget buy? On a processor, reading the prompt is most of the wait for the first word.

Twenty questions about our manual, answered by the embedded model through the assistant, in this process, with the
default budget of evidence sentences, with every sentence that shares a word with the question, and with the whole
chunks that were found, which is how RAG is commonly done. The three ways take turns, and meet each question at
different times, so that none finds its prompt in the model's cache because of another.

    python -m benchmarks.ttft [--questions 20] [--out FILE]
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from benchmarks.chat import ROOT
from benchmarks.common import arguments, conclude, median, quantile, rounded, table
from benchmarks.questions import QUESTIONS
from rag.assistant import Assistant, build_assistant
from rag.bm25 import Hit
from rag.events import Answer, Answered
from rag.evidence import Evidence, gather
from rag.settings import load_settings

EVERY_SENTENCE = 4000
WAYS = ("budget", "every sentence", "whole chunks")


def whole_chunks(
    question: str, hits: Sequence[Hit], *, tokens: int, weight: Callable[[str], float]
) -> tuple[Evidence, ...]:
    """In place of `gather`: each hit as one long piece of evidence, whatever the budget."""
    return tuple(Evidence(h.chunk.text, h.chunk.text, h.chunk, h.chunk.start, h.chunk.end, h.score) for h in hits)


async def answer(assistant: Assistant, question: str, way: str) -> Answer:
    """One answer, with the evidence of one of the ways."""
    knobs = assistant.knobs if way == "budget" else replace(assistant.knobs, evidence_tokens=EVERY_SENTENCE)
    with patch("rag.assistant.gather", whole_chunks if way == "whole chunks" else gather):
        async with aclosing(assistant.ask(question, knobs=knobs)) as events:
            async for event in events:
                if isinstance(event, Answered):
                    return event.answer
    raise RuntimeError(f"No answer to: {question}")


async def measure(count: int) -> dict[str, list[Answer]]:
    """All questions in all ways, one after the other."""
    assistant = build_assistant(load_settings(docs_dir=ROOT / "docs"))
    found: dict[str, list[Answer]] = {way: [] for way in WAYS}
    await assistant.start()
    try:
        await answer(assistant, "Is there a light and a dark theme?", WAYS[0])
        for number in range(count):
            for turn, way in enumerate(WAYS):
                question = QUESTIONS[(number + turn * max(1, count // len(WAYS))) % count]
                found[way].append(await answer(assistant, question, way))
    finally:
        await assistant.stop()
    return found


def summary(answers: list[Answer]) -> dict[str, Any]:
    """The figures of one way, over the answers that the model was asked for."""
    asked = [(one.timings, one.usage_slm) for one in answers if one.usage_slm and one.timings.ttft_s is not None]
    first = [(timings.ttft_s or 0.0) * 1e3 for timings, _ in asked]
    return {
        "asked": len(asked),
        **rounded({"ttft_ms_p50": median(first), "ttft_ms_p95": quantile(first, 0.95)}, 1),
        "prompt_tokens_p50": median([usage.prompt for _, usage in asked]),
        "completion_tokens_p50": median([usage.completion for _, usage in asked]),
        "total_ms_p50": round(median([timings.total_s * 1e3 for timings, _ in asked]), 1),
    }


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", questions=len(QUESTIONS))
    found = asyncio.run(measure(options.questions))
    figures = {way: summary(answers) for way, answers in found.items()}
    headings = ["evidence", "asked", "TTFT p50", "TTFT p95", "prompt tokens", "completion", "total p50"]
    print(table(headings, [[way, *figure.values()] for way, figure in figures.items()]))
    model = found[WAYS[0]][0].draft_model or found[WAYS[0]][0].model
    conclude({"questions": options.questions, "model": model, "evidence": figures}, options.out)


if __name__ == "__main__":
    main()
