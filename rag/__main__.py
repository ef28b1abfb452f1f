"""The command line: `python -m rag ask | search | check | eval | load`."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rag.assistant import Assistant, build_assistant, build_library
from rag.check import look_at
from rag.errors import DocumentsError, QuestionError, RagError, SettingsError
from rag.events import Answer, Answered, Escalated, Token, Waiting
from rag.qdrant import Server, load
from rag.settings import Mode, Settings, load_settings
from rag.shelf import Shelf
from rag.workbench.evaluate import Evaluation, summed_up
from rag.workbench.questions import Known, read_questions

# `check --docs` without a folder: the one of the settings.
_CONFIGURED = Path("\0")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Returns:
        The exit status: 0, or 1 if the work failed. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no ü still shows the rest
    options = _parser().parse_args(arguments)
    try:
        named = options.docs not in (None, _CONFIGURED)
        # A folder named here is searched here, and leaves nothing behind.
        elsewhere: dict[str, Any] = {"docs_dir": options.docs, "documents": [], "index": "bm25", "index_dir": None}
        settings = load_settings(**(elsewhere if named else {}))
        if options.run is _load:  # outside the event loop, so that Ctrl-C ends it at once
            return int(_load(options, settings))
        return int(asyncio.run(options.run(options, settings)))
    except RagError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read has seen enough
        sys.stdout = None  # or Python complains at its end
        return 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rag", description="Ask your own documents, from the terminal.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    ask = commands.add_parser("ask", help="answer a question")
    ask.add_argument("question", metavar="QUESTION", help="in plain text, in quotes")
    ask.add_argument("--mode", choices=get_args(Mode), help="which models may answer (default: RAG_MODE)")
    ask.set_defaults(run=_ask)

    search = commands.add_parser("search", help="show the chunks that match a query")
    search.add_argument("query", metavar="QUERY", help="in plain text, in quotes")
    search.add_argument("-k", type=_positive, help="the most chunks to show (default: RAG_K)")
    search.set_defaults(run=_search)

    check = commands.add_parser("check", help="look at endpoints, models, documents and versions")
    check.add_argument(
        "--docs", type=Path, metavar="DIR", nargs="?", const=_CONFIGURED,
        help="also list every file of this folder (default: RAG_DOCS_DIR), with its chunks or why it is left out",
    )  # fmt: skip
    check.set_defaults(run=_check)

    evaluate = commands.add_parser("eval", help="measure against questions with known answers")
    evaluate.add_argument(
        "questions", type=Path, metavar="QA.jsonl", help="a JSON object with question and answers a line"
    )
    evaluate.add_argument(
        "--retrieval", action="store_true", required=True, help="measure the search alone; asks no model"
    )
    evaluate.add_argument("--limit", type=_positive, metavar="N", help="take the first N answerable questions only")
    evaluate.set_defaults(run=_eval)

    filling = commands.add_parser("load", help="put the documents into the Qdrant collection")
    filling.add_argument(
        "--prune", action="store_true", help="also remove documents that are not in the folder from the collection"
    )
    filling.set_defaults(run=_load)

    for command in (ask, search, evaluate, filling):
        command.add_argument("--docs", type=Path, metavar="DIR", help="the documents' folder (default: RAG_DOCS_DIR)")
    for command in (ask, search, check, evaluate, filling):
        command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, was: {text}")
    return int(text)


async def _ask(options: argparse.Namespace, settings: Settings) -> int:
    assistant = build_assistant(settings)
    try:
        await assistant.start()
        await assistant.library.learn(most=0)
        for fault in assistant.faults:
            print(fault, file=sys.stderr)
        answer = await (_quietly if options.json else _aloud)(assistant, options.question, options.mode)
    finally:
        await assistant.stop()
    if options.json:
        _print_json({"answer": answer.text, **answer.to_metadata()})
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
                    print(text, end="", file=sys.stderr, flush=True)
                case Escalated(reason=reason):
                    print(f"\n{reason}: asking the large model", file=sys.stderr)
                case Answered(answer=answer):
                    print(file=sys.stderr)
                    _print_answer(answer)
                    return answer
    raise AssertionError("an answer ends every question")


def _print_answer(answer: Answer) -> None:
    print(answer.text)
    for citation in answer.citations:
        chunk = citation.evidence.chunk
        print(f"[{citation.number}] {' › '.join((chunk.document, *chunk.heading))}")
    timings = answer.timings
    ttft = "–" if timings.ttft_s is None else f"{timings.ttft_s * 1000:.0f} ms"
    reason = f" ({answer.reason})" if answer.reason else ""
    print(
        f"{answer.route}{reason} · {answer.model or 'no model'} · first text {ttft}, "
        f"all {timings.total_s * 1000:.0f} ms",
        file=sys.stderr,
    )


async def _search(options: argparse.Namespace, settings: Settings) -> int:
    async with _open_library(settings) as shelf:
        hits = shelf.search(options.query, k=options.k or settings.k)
    if options.json:
        _print_json(
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


async def _check(options: argparse.Namespace, settings: Settings) -> int:
    assistant = build_assistant(settings)
    try:
        await assistant.start()
        findings = await look_at(assistant, files=options.docs is not None)
    finally:
        await assistant.stop()
    healthy = all(finding.state != "fault" for finding in findings)
    if options.json:
        _print_json({"ok": healthy, "findings": [finding.to_json() for finding in findings]})
    else:
        marks = {"ok": "✓", "missing": "–", "fault": "✗"}
        for finding in findings:
            print(f"{marks[finding.state]} {finding.name}: {finding.text}")
    return 0 if healthy else 1


async def _eval(options: argparse.Namespace, settings: Settings) -> int:
    """How well the search finds what is known to be there."""
    known = [one for one in read_questions(options.questions) if one.answers][: options.limit]
    if not known:
        raise QuestionError(f"{options.questions} has no question with an answer. `answers` must not be empty in all.")
    began = time.perf_counter()
    async with _open_library(settings, learn=None) as shelf:
        index_s = time.perf_counter() - began
        for one in known:
            if one.document and one.document not in shelf.entries:
                raise QuestionError(f"{options.questions} names {one.document}, which is not in {settings.docs_dir}.")
        evaluation = Evaluation(shelf, k=settings.k, evidence_tokens=settings.evidence_tokens)
        found = [evaluation.look_up(one) for one in _with_progress(known)]
    figures = {**summed_up(found), "chunks": len(shelf.index), "index_s": round(index_s, 3)}
    if options.json:
        _print_json(figures)
    else:
        for name, figure in figures.items():
            print(f"{name:18} {figure}")
    return 0


def _load(options: argparse.Namespace, settings: Settings) -> int:
    """Fill the collection; a line on the terminal says how far it is."""
    if not settings.qdrant_url:
        raise SettingsError("load needs RAG_QDRANT_URL, for example http://localhost:6333.")
    server = Server(settings.qdrant_url, api_key=settings.qdrant_api_key, timeout_s=60)
    seen = sys.stderr.isatty()
    try:
        done = load(
            server,
            settings.qdrant_collection,
            settings.docs_dir,
            chunk_words=settings.chunk_words,
            language=settings.language,
            prune=options.prune,
            progress=lambda at: print(f"\r{at.line}", end="", file=sys.stderr, flush=True) if seen else None,
        )
    finally:
        if seen:
            print(file=sys.stderr)
        server.close()
    if options.json:
        _print_json(asdict(done))
    else:
        print(done.summary)
        for one in done.skipped:
            print(f"{one.name}: {one.reason}", file=sys.stderr)
    return 0


def _with_progress(known: Sequence[Known]) -> Iterator[Known]:
    seen = sys.stderr.isatty()
    for number, one in enumerate(known, start=1):
        if seen:
            print(f"\r{number} of {len(known)} questions", end="", file=sys.stderr, flush=True)
        yield one
    if seen:
        print(file=sys.stderr)


@asynccontextmanager
async def _open_library(settings: Settings, *, learn: int | None = 0) -> AsyncIterator[Shelf]:
    library = build_library(settings)
    try:
        await library.refresh()
        if library.shelf.fault:
            raise DocumentsError(library.shelf.fault)
        await library.learn(most=learn)
        yield library.shelf
    finally:
        await library.close()


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    sys.exit(main())
