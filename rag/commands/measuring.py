"""`eval` and `calibrate`: questions with known answers, asked and counted."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

from rag.assistant import Assistant, build_assistant
from rag.calibration import write_calibration
from rag.commands.terminal import Progress, open_library, print_json, refuse_among_documents
from rag.encoder import Encoder
from rag.errors import CalibrationError, ModelUnavailable, QuestionError
from rag.settings import Mode, Settings
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


async def evaluate(options: argparse.Namespace, settings: Settings) -> int:
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
        print_json(figures)
    else:
        print("\n".join(shown))
    return 0


async def _searched(options: argparse.Namespace, settings: Settings, known: Sequence[Known]) -> dict[str, Any]:
    if not known:
        raise QuestionError(f"{options.questions} has no question with an answer. `answers` must not be empty in all.")
    began = time.perf_counter()
    async with open_library(settings, learn=None) as shelf:
        index_s = time.perf_counter() - began
        known = _present(known, shelf, options, settings)
        evaluation = Evaluation(shelf, k=settings.k, evidence_tokens=settings.evidence_tokens)
        progress = Progress(len(known))
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


async def calibrate(options: argparse.Namespace, settings: Settings) -> int:
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
        refuse_among_documents(path, settings)
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
        print_json(result.figures)
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
        refuse_among_documents(trace, settings)
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
        progress = Progress(len(known), done=len(rows))
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
