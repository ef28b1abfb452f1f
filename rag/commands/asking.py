"""`ask`, `search` and `check`."""

from __future__ import annotations

import argparse
import sys
from contextlib import aclosing

from rag.assistant import Assistant, build_assistant
from rag.check import look_at
from rag.commands.columns import readable
from rag.commands.terminal import open_library, print_json
from rag.events import Answer, Answered, Escalated, Token, Waiting
from rag.settings import Mode, Settings


async def ask(options: argparse.Namespace, settings: Settings) -> int:
    assistant = build_assistant(settings)
    try:
        await assistant.start()
        await assistant.library.learn(most=0)
        for fault in assistant.faults:
            print(readable(fault), file=sys.stderr)
        answer = await (_quietly if options.json else _aloud)(assistant, options.question, options.mode)
    finally:
        await assistant.stop()
    if settings.show_usage:
        print(readable(_usage_line(answer)), file=sys.stderr)
    if options.json:
        print_json({"answer": answer.text, **answer.to_metadata()})
    return 0 if answer.status == "complete" else 1


async def _quietly(assistant: Assistant, question: str, mode: Mode | None) -> Answer:
    async with aclosing(assistant.ask(question, mode=mode)) as events:
        async for event in events:
            if isinstance(event, Answered):
                return event.answer
    raise AssertionError("an answer ends every question")


async def _aloud(assistant: Assistant, question: str, mode: Mode | None) -> Answer:
    """The draft streams to standard error; standard output gets the answer alone."""
    async with aclosing(assistant.ask(question, mode=mode)) as events:
        async for event in events:
            match event:
                case Waiting(text=text):
                    print(text, file=sys.stderr)
                case Token(text=text):
                    print(readable(text), end="", file=sys.stderr, flush=True)
                case Escalated(reason=reason):
                    why = readable(reason).rstrip(".")
                    print(f"\n{why}: asking the large model", file=sys.stderr)
                case Answered(answer=answer):
                    print(file=sys.stderr)
                    if answer.draft and answer.route in ("quoted", "abstained"):
                        print(f"The draft above is set aside: {readable(answer.reason or '')}\n", file=sys.stderr)
                    _print_answer(answer)
                    return answer
    raise AssertionError("an answer ends every question")


def _print_answer(answer: Answer) -> None:
    print(readable(answer.text) if sys.stdout.isatty() else answer.text)
    for citation in answer.citations:
        chunk = citation.evidence.chunk
        print(f"[{citation.number}] {' › '.join((chunk.document, *chunk.heading))}")
    timings = answer.timings
    ttft = "–" if timings.ttft_s is None else f"{timings.ttft_s * 1000:.0f} ms"
    reason = f" ({answer.reason})" if answer.reason else ""
    model = readable(answer.model or "no model")
    print(
        f"{answer.route}{readable(reason)} · {model} · first text {ttft}, all {timings.total_s * 1000:.0f} ms",
        file=sys.stderr,
    )
    if answer.reasoning:
        seconds = answer.reasoning.seconds
        took = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
        print(f"{readable(answer.reasoning.model)} reasoned for {took}", file=sys.stderr)


def _usage_line(answer: Answer) -> str:
    """The tokens of each model that was asked, as its server counted them."""
    told = []
    for model, usage in ((answer.slm, answer.usage_slm), (answer.llm, answer.usage_llm)):
        if model:
            counted = f"{usage.prompt:,} prompt and {usage.completion:,} completion tokens" if usage else "not counted"
            told.append(f"{model}: {counted}")
    return "; ".join(told) or "no model was asked"


async def search(options: argparse.Namespace, settings: Settings) -> int:
    async with open_library(settings) as shelf:
        hits = shelf.search(options.query, k=options.k or settings.k)
    if options.json:
        print_json(
            [
                {
                    "document": hit.chunk.document,
                    "also": list(hit.also),
                    "heading": " › ".join(hit.chunk.heading),
                    "page": hit.chunk.page,
                    "start": hit.chunk.start,
                    "end": hit.chunk.end,
                    "score": round(hit.score, 4),
                    "closeness": hit.closeness,
                    "text": hit.chunk.text,
                }
                for hit in hits
            ]
        )
        return 0
    for hit in hits:
        print(f"{hit.score:7.2f}  {' › '.join((hit.chunk.document, *hit.chunk.heading))}")
        print(f"         {' '.join(hit.chunk.text.split())[:160]}")
    if not hits:
        print("No document shares a word with the query.", file=sys.stderr)
    return 0


async def check(options: argparse.Namespace, settings: Settings) -> int:
    assistant = build_assistant(settings)
    try:
        await assistant.start()
        findings = await look_at(assistant, files=options.docs is not None)
    finally:
        await assistant.stop()
    healthy = all(finding.state != "fault" for finding in findings)
    if options.json:
        print_json({"ok": healthy, "findings": [finding.to_json() for finding in findings]})
    else:
        marks = {"ok": "✓", "missing": "–", "fault": "✗"}
        for finding in findings:
            print(readable(f"{marks[finding.state]} {finding.name}: {finding.text}"))
    return 0 if healthy else 1
