"""The command line: `python -m rag ask | search | check | eval | calibrate | feedback | load`."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag.assistant import Assistant, build_assistant, build_library
from rag.calibration import write_calibration
from rag.check import look_at
from rag.commands import CONFIGURED, parser_for
from rag.encoder import Encoder
from rag.errors import (
    CalibrationError,
    DocumentsError,
    ModelUnavailable,
    QuestionError,
    RagError,
    SettingsError,
)
from rag.events import Answer, Answered, Escalated, Token, Waiting
from rag.feedback import FeedbackError, exported, read_notes, write_questions
from rag.qdrant import Server, load
from rag.settings import Mode, Settings, load_settings
from rag.shelf import Shelf
from rag.workbench.calibrate import calibrated, judged, refuse_few, refuse_unwritable, settings_for
from rag.workbench.comparison import compared, lines, read_earlier
from rag.workbench.drawing import drawn, tables
from rag.workbench.evaluate import Evaluation
from rag.workbench.evaluate import summed_up as found_figures
from rag.workbench.figures import summed_up
from rag.workbench.questions import Known, read_questions, told
from rag.workbench.rows import Row, collect
from rag.workbench.trace import Trace, fingerprint


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
        named = options.docs not in (None, CONFIGURED)
        # A folder named here is searched here, and leaves nothing behind.
        elsewhere: dict[str, Any] = {
            "docs_dir": options.docs,
            "documents": [],
            "index": "bm25",
            "index_dir": None,
            "feedback": None,
        }
        settings = load_settings(**(elsewhere if named else {}))
        if options.run in (_load, _feedback):  # outside the event loop, so that Ctrl-C ends it at once
            return int(options.run(options, settings))
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
    return parser_for(
        {
            "ask": _ask,
            "search": _search,
            "check": _check,
            "eval": _eval,
            "calibrate": _calibrate,
            "load": _load,
            "feedback": _feedback,
        }
    )


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
                    if answer.draft and answer.route in ("quoted", "abstained"):
                        print(f"The draft above is set aside: {answer.reason}\n", file=sys.stderr)
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
    """Measure against known answers: the whole assistant, or how well the search finds what is there."""
    if options.retrieval and (options.mode or options.trace or options.against):
        options.wrong("--retrieval measures the search alone; it takes no --mode, --trace or --against")
    questions = read_questions(options.questions)
    for fault in questions.told:
        print(fault, file=sys.stderr)
    known = questions.known
    if options.retrieval:
        figures = await _searched(options, settings, [one for one in known if one.answers][: options.limit])
        shown = [f"{name:18} {figure}" for name, figure in figures.items()]
    else:
        figures = await _answered(options, settings, known[: options.limit])
        shown = lines(figures)
    if options.json:
        _print_json(figures)
    else:
        print("\n".join(shown))
    return 0


async def _searched(options: argparse.Namespace, settings: Settings, known: Sequence[Known]) -> dict[str, Any]:
    if not known:
        raise QuestionError(f"{options.questions} has no question with an answer. `answers` must not be empty in all.")
    began = time.perf_counter()
    async with _open_library(settings, learn=None) as shelf:
        index_s = time.perf_counter() - began
        known = _present(known, shelf, options, settings)
        evaluation = Evaluation(shelf, k=settings.k, evidence_tokens=settings.evidence_tokens)
        progress = _Progress(len(known))
        found = []
        for one in known:
            found.append(evaluation.look_up(one))
            progress.step()
        progress.end()
    return {**found_figures(found), "chunks": len(shelf.index), "index_s": round(index_s, 3)}


async def _answered(options: argparse.Namespace, settings: Settings, known: Sequence[Known]) -> dict[str, Any]:
    earlier = read_earlier(options.against) if options.against else None  # what is wrong with it is said at once
    if options.trace and options.against and options.trace.resolve() == options.against.resolve():
        raise QuestionError(f"{options.trace} cannot be compared with itself. Name another file for --trace.")
    mode = options.mode or settings.mode
    rows, large_model, _ = await _collected(options, settings, known, mode, options.trace, judge=not options.no_judge)
    figures = summed_up(rows, large_model=large_model)
    return {**figures, "against": compared(rows, figures, earlier)} if earlier else figures


async def _calibrate(options: argparse.Namespace, settings: Settings) -> int:
    """Ask the questions with every draft whole, fit the confidence to what came of it, and write it down."""
    out = options.out or settings.calibration
    if out is None:
        raise CalibrationError("RAG_CALIBRATION is none. Name the file for the weights with --out.")
    trace = options.trace or out.parent / f"{out.stem}.rows.jsonl"
    written = [out, trace, *([options.svg] if options.svg else [])]
    if len({path.resolve() for path in (options.questions, *written)}) <= len(written):
        raise CalibrationError("The questions, --out, --trace and --svg must be different files. Rename one.")
    questions = read_questions(options.questions)
    for fault in questions.told:
        print(fault, file=sys.stderr)
    known = questions.known[: options.limit]
    refuse_few(len(known), options.questions)
    for path in written:
        _refuse_among_documents(path, settings)
        refuse_unwritable(path)
    print(f"What is answered is kept in {trace}; after Ctrl-C, the same command asks only the rest.", file=sys.stderr)
    rows, large_model, model = await _collected(options, settings_for(settings), known, "hybrid", trace)
    found = judged(rows, oracle=large_model is None)
    result = calibrated(found, model=model, large_model=large_model, target=options.target)
    try:
        if options.svg:
            options.svg.write_text(drawn(result.figures), encoding="utf-8")
        write_calibration(out, result.calibration)
    except OSError as error:
        raise CalibrationError(f"The calibration cannot be written ({error}). What was asked is kept.") from error
    if options.json:
        _print_json(result.figures)
        return 0
    print("\n".join(tables(result.figures)))
    threshold = f"{result.figures['threshold']:g}"
    print(f"\n{out} is written. Set RAG_MIN_CONFIDENCE={threshold}, or leave it unset: then the file's is used.")
    if "min_confidence" in settings.model_fields_set:
        print(f"Now RAG_MIN_CONFIDENCE is {settings.min_confidence:g}, which counts more than the file.")
    return 0


async def _collected(
    options: argparse.Namespace,
    settings: Settings,
    known: Sequence[Known],
    mode: Mode,
    trace: Path | None,
    *,
    judge: bool = False,
) -> tuple[list[Row], str | None, str]:
    """The rows of all questions, the large model's name if there is one, and the small model's."""
    if trace:
        _refuse_among_documents(trace, settings)
    assistant = build_assistant(settings)
    try:
        await assistant.start()
        if assistant.faults:  # figures of a half of it would look like those of a bad whole
            raise ModelUnavailable("\n".join(assistant.faults))
        model = assistant.models.slm.label if assistant.models else ""
        known = _present(known, assistant.library.shelf, options, settings)
        await assistant.library.learn()
        rows, large_model = await _rows(assistant, known, mode, trace, judge=judge)
    finally:
        await assistant.stop()
    return rows, large_model, model


async def _rows(
    assistant: Assistant, known: Sequence[Known], mode: Mode, path: Path | None, *, judge: bool
) -> tuple[list[Row], str | None]:
    """The rows of all questions, those that a trace has and those that are asked now; and the large model's name."""
    models = assistant.models
    large = models.llm if models and mode in ("hybrid", "refine") else None
    large_model = large.label if large else None
    with ExitStack() as stack:
        trace = None
        if path:
            trace = stack.enter_context(Trace(path, fingerprint(assistant, mode, large_model=large_model)))
            if trace.warning:
                print(trace.warning, file=sys.stderr)
        rows = trace.kept(known) if trace else []
        done = {row.key for row in rows}
        progress = _Progress(len(known), done=len(rows))
        stack.callback(progress.end)
        encoder = await asyncio.to_thread(Encoder) if len(done) < len(known) else None
        left = [one for one in known if one.key not in done]
        grades = models.llm if models and judge and mode != "slm" else None  # slm: nothing is sent to it
        collected = collect(assistant, left, mode=mode, ask_large=large is not None, encoder=encoder, judge=grades)
        async with aclosing(collected) as fresh:
            async for row in fresh:
                rows.append(row)
                if trace:
                    trace.add(row)
                progress.step()
    # As asked, not as answered: what is drawn from them by chance must not depend on which was quicker.
    places = {one.key: place for place, one in enumerate(known)}
    rows.sort(key=lambda row: places[row.key])
    return rows, large_model


def _refuse_among_documents(path: Path, settings: Settings) -> None:
    folder, place = settings.docs_dir.resolve(), path.resolve()
    if settings.documents or not place.is_relative_to(folder):
        return
    if not any(part.startswith(".") for part in place.relative_to(folder).parts):  # what is hidden is not read
        raise QuestionError(f"{path} lies among the documents and would be read as one. Put it elsewhere.")


def _present(known: Sequence[Known], shelf: Shelf, options: argparse.Namespace, settings: Settings) -> Sequence[Known]:
    """The questions whose documents are there; of the others it is told, as they must not look like a bad search."""
    absent = [one for one in known if one.document and one.document not in shelf.entries]
    where = f"which is not in {settings.docs_dir}, and is left out."
    faults = [f"{options.questions}, line {one.line} names {one.document}, {where}" for one in absent]
    if len(absent) == len(known):
        raise QuestionError("\n".join([*told(faults), "No question is left. Name the folder with --docs."]))
    for fault in told(faults):
        print(fault, file=sys.stderr)
    return [one for one in known if one not in absent]


def _feedback(options: argparse.Namespace, settings: Settings) -> int:
    """Make a file of questions of what readers said of answers."""
    path = options.notes or settings.feedback
    if path is None:
        raise SettingsError("Marking answers is switched off: RAG_FEEDBACK is none. Name a file behind feedback.")
    found = read_notes(path)
    for fault in found.faults:
        print(fault, file=sys.stderr)
    made = exported(found.notes)
    left = [
        f"{made.only_wrong} only noted as wrong" if made.only_wrong else "",
        f"{made.replaced} replaced by a later one on the same question" if made.replaced else "",
        f"{len(found.faults)} with a fault" if found.faults else "",
    ]
    told = f" Lines left out: {', '.join(filter(None, left))}." if any(left) else ""
    if not made.known:
        raise FeedbackError(f"No line of {path} says what would be right, so there are no questions.{told}")
    if options.out is None:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # what reads the file wants no other
        sys.stdout.write(made.text)
    else:
        _refuse_among_documents(options.out, settings)
        write_questions(options.out, made, notes=path)
    where = f" in {options.out}" if options.out else ""
    questions = f"{len(made.known)} question{'s' * (len(made.known) != 1)}"
    print(f"{questions}{where}.{told}", file=sys.stdout if options.out else sys.stderr)
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


class _Progress:
    """A line on the terminal that says how far a long work is; nothing where standard error is none."""

    def __init__(self, whole: int, *, done: int = 0) -> None:
        self._whole, self._done = whole, done
        self._seen = sys.stderr.isatty()
        self._show()

    def step(self) -> None:
        """One more question is done."""
        self._done += 1
        self._show()

    def end(self) -> None:
        """Go to the next line."""
        if self._seen:
            print(file=sys.stderr)

    def _show(self) -> None:
        if self._seen:
            print(f"\r{self._done} of {self._whole} questions", end="", file=sys.stderr, flush=True)


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
