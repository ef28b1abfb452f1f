"""`bench` and `compare`: models measured, and their answers shown, side by side."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rag.cards import Cards
from rag.commands.columns import SideBySide, fit, readable, redrawn
from rag.commands.tables import answers_of, bench_table, comparison_table
from rag.commands.terminal import Progress, open_library, print_json, refuse_among_documents, write_files
from rag.costs import Price
from rag.errors import DocumentsError, FileError, ModelError, ModelUnavailable
from rag.evidence import Evidence
from rag.settings import Settings
from rag.workbench.annotations import read_filled_in, to_fill_in
from rag.workbench.bench import Bench, Plan
from rag.workbench.compare import DEFAULT_PROMPT as COMPARED_PROMPT
from rag.workbench.compare import Brief, Comparison, Outcome, evidence_for
from rag.workbench.contenders import Contender, contenders, names_in
from rag.workbench.marks import marks_by
from rag.workbench.promptset import DEFAULT_PROMPT, OURS, Prompt, read_prompts

_STOPPED = 130
_LONGEST_ANSWER = 160


async def bench(options: argparse.Namespace, settings: Settings) -> int:
    """Measure models, one after the other; a row for each. Ctrl-C keeps what is measured."""
    plan = await asyncio.to_thread(_plan, options, settings)
    await asyncio.to_thread(_refuse_output, options.out, settings, force=options.force)
    names = names_in(settings.bench_models if options.models is None else options.models)
    measuring: list[Bench] = []

    async def measure() -> None:
        async with contenders(settings, names) as found:
            progress = Progress(len(found) * plan.calls, noun="calls")
            measuring.append(Bench(found, plan, step=progress.step))
            try:
                await measuring[0].run()
            finally:
                progress.end()

    stopped = await _until_stopped(measure())  # with the closing: a second Ctrl-C costs nothing that is measured
    rows = [row for one in measuring for row in one.rows()]
    try:
        if options.json:
            print_json(rows)
        else:
            print("\n".join(bench_table(rows)))
    finally:
        if rows:
            _write([(options.out, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")], options)
    return _status(stopped, any(row["status"] != "failed" for row in rows))


async def compare(options: argparse.Namespace, settings: Settings) -> int:
    """Ask models the same, stream their answers side by side, and print a row for each."""
    _refuse_contradictions(options)
    if options.scores:
        rows = await asyncio.to_thread(read_filled_in, options.scores)
        _print_comparison(options, rows, answers=True)
        return 0
    for path in (options.out, options.annotate):
        await asyncio.to_thread(_refuse_output, path, settings, force=options.force)
    prompt = options.prompt or settings.compare_prompt or COMPARED_PROMPT
    brief = Brief(
        prompt,
        await _evidence(prompt, options, settings),
        max_tokens=options.max_tokens or _LONGEST_ANSWER,
        temperature=settings.temperature if options.temperature is None else options.temperature,
        together=options.together,
        label=options.label,
        cloud=Price(settings.cloud_price_in, settings.cloud_price_out),
    )
    names = ["slm", "llm"] if options.models is None else names_in(options.models)
    cards = Cards(settings.models_file)
    await asyncio.to_thread(cards.refresh)
    if cards.fault:
        _tell(cards.fault)
    comparing = _Comparing(brief, cards, options)
    stopped = await _until_stopped(comparing.run(settings, names))
    rows = comparing.rows()
    try:
        _print_comparison(options, rows, answers=not (comparing.streamed and sys.stdout.isatty()))
    finally:
        if rows:
            results = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
            _write([(options.out, results), (options.annotate, to_fill_in(rows))], options)
    if options.annotate and rows:
        print(
            f"{options.annotate} is there to be filled in: then python -m rag compare --scores {options.annotate}",
            file=sys.stderr,
        )
    return _status(stopped, any("error" not in row for row in rows))


def _status(stopped: bool, any_worked: bool) -> int:
    if stopped:
        print("Stopped.", file=sys.stderr)
        return _STOPPED
    return 0 if any_worked else 1


async def _until_stopped(work: Awaitable[None]) -> bool:
    """Do some work; whether it was ended by Ctrl-C, after which what it did is still to be shown."""
    try:
        await work
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
        return True
    return False


def _plan(options: argparse.Namespace, settings: Settings) -> Plan:
    if options.deterministic and (options.temperature is not None or options.prompt is not None):
        options.wrong("--deterministic sets the temperature and the prompts; it takes no --temperature or --prompt")
    if options.prompts or options.deterministic:
        prompts = read_prompts(options.prompts or OURS)
    else:
        prompts = [Prompt(options.prompt or settings.bench_prompt or DEFAULT_PROMPT)]
    temperature = settings.bench_temperature if options.temperature is None else options.temperature
    return Plan(
        prompts,
        rounds=options.rounds or settings.bench_rounds,
        max_tokens=options.max_tokens or settings.bench_max_tokens,
        temperature=0.0 if options.deterministic else temperature,
        first_text=settings.bench_stream if options.stream is None else options.stream,
        label=options.label,
    )


def _refuse_contradictions(options: argparse.Namespace) -> None:
    asking = """
        prompt models evidence together max_tokens temperature judge annotate label out force docs
    """
    beside = {name: getattr(options, name) for name in asking.split()}
    flags = ("together", "force")  # which are false where they are not given; --no-evidence makes evidence so
    if options.scores and any(value is not None for name, value in beside.items() if value or name not in flags):
        options.wrong("--scores shows a file that was filled in; beside it only --json has a meaning")
    if options.annotate and options.out and options.annotate.absolute() == options.out.absolute():
        options.wrong("--annotate and --out name the same file")


def _refuse_output(path: Path | None, settings: Settings, *, force: bool) -> None:
    """Before minutes of work, not after them."""
    if path is None:
        return
    refuse_among_documents(path, settings)
    if path.is_dir():
        raise FileError(f"{path} is a folder. Name a file in it.")
    if path.exists() and not force:
        raise FileError(f"{path} exists already. Name another file, or replace it with --force.")
    if not path.absolute().parent.is_dir():
        raise FileError(f"There is no folder {path.parent} to write {path.name} into. Make it first.")
    places = [path.absolute().parent, *([path] if path.exists() else [])]
    if not all(os.access(place, os.W_OK) for place in places):
        raise FileError(f"{path} must not be written. Name another file.")


def _write(files: Sequence[tuple[Path | None, str]], options: argparse.Namespace) -> None:
    write_files(files, force=options.force, remedy="The results are above.")


async def _evidence(prompt: str, options: argparse.Namespace, settings: Settings) -> Sequence[Evidence]:
    """What the documents say to a prompt, chosen as the chat does; nothing if they do not bear on it."""
    if options.evidence is False:
        return ()
    try:
        async with open_library(settings) as shelf:
            evidence = await asyncio.to_thread(
                evidence_for,
                shelf,
                prompt,
                k=settings.k,
                tokens=settings.evidence_tokens,
                min_coverage=settings.min_coverage,
            )
    except DocumentsError as error:
        if options.evidence:
            raise
        print(f"{error} The models are asked without documents.", file=sys.stderr)
        return ()
    if evidence:
        return evidence
    if options.evidence:
        raise DocumentsError("The documents have nothing on this prompt. Ask another one, or take --no-evidence.")
    print("The documents have nothing on this prompt: the models are asked without them.", file=sys.stderr)
    return ()


class _Comparing:
    """
    A comparison on the terminal; what it has can be read at any time, also after a stop.

    Attributes:
        streamed: whether its answers were shown as they came.
    """

    def __init__(self, brief: Brief, cards: Cards, options: argparse.Namespace) -> None:
        self.streamed = False
        self._cards = cards
        self._brief = brief
        self._options = options
        self._comparison: Comparison | None = None

    def rows(self) -> list[dict[str, Any]]:
        return self._comparison.rows() if self._comparison else []

    async def run(self, settings: Settings, names: Sequence[str]) -> None:
        async with contenders(settings, names) as found:
            if self._options.together and len(found) > 1:
                print("All are asked at once: models on one machine slow each other down.", file=sys.stderr)
            if not self._options.judge:
                await self._ask(found)
                return
            async with contenders(settings, [self._options.judge]) as judges:
                if judges[0].backend is None:
                    raise ModelUnavailable(f"There is no judge. {judges[0].fault} Or name another behind --judge.")
                await _mark((await self._ask(found)).outcomes, judges[0], self._brief)

    async def _ask(self, found: Sequence[Contender]) -> Comparison:
        stage = _stage(found, self._brief, quiet=self._options.json)
        self.streamed = stage is not None
        show = stage.add if stage else lambda place, text: None
        self._comparison = comparison = Comparison(found, self._brief, cards=self._cards, show=show)
        async with redrawn(stage) if stage else nullcontext():
            await comparison.run()
        return comparison


def _stage(found: Sequence[Contender], brief: Brief, *, quiet: bool) -> SideBySide | _OneByOne | None:
    if quiet or not sys.stderr.isatty():
        return None
    size = shutil.get_terminal_size()
    names = [readable(one.alias) for one in found]
    # The terminals of Windows before Windows Terminal do not draw at a place that is told to them.
    draws = os.environ.get("TERM") != "dumb" and (os.name != "nt" or "WT_SESSION" in os.environ)
    if draws and fit(len(found), size.columns):
        return SideBySide(names, sys.stderr, width=size.columns, height=size.lines)
    return None if brief.together and len(found) > 1 else _OneByOne(names)


class _OneByOne:
    """Answers that grow one below the other, where there is no room for columns."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._at: int | None = None
        self._coming: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def add(self, place: int, text: str) -> None:
        self._coming.put((place, text))

    def draw(self) -> None:
        while not self._coming.empty():
            place, text = self._coming.get()
            if place != self._at:
                print(f"{'' if self._at is None else chr(10)}── {readable(self._names[place])} ──", file=sys.stderr)
                self._at = place
            print(readable(text), end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        self.draw()
        print(file=sys.stderr)


async def _mark(outcomes: Sequence[Outcome], judge: Contender, brief: Brief) -> None:
    """Let the judge mark each answer; where it is the same model as the one that answered, that is said."""
    backend = judge.backend
    if backend is None:
        return
    for one in outcomes:
        if one.call is None or one.contender.backend is None:
            continue
        try:
            one.marks, model = await marks_by(backend, brief.prompt, one.call.text, brief.evidence)
        except ModelError as error:
            _tell(f"{one.contender.alias} has no marks: {error}")
            continue
        one.judge = judge.alias
        one.judged_itself = one.contender.is_same(judge, [one.call.model], [model] if model else [])
        if one.judged_itself:
            _tell(f"{one.contender.alias} marked its own answer: do not rely on these marks.")
        if not one.marks:
            _tell(f"{judge.alias} gave no marks that can be read for {one.contender.alias}.")


def _tell(sentence: str) -> None:
    print(readable(sentence), file=sys.stderr)


def _print_comparison(options: argparse.Namespace, rows: Sequence[dict[str, Any]], *, answers: bool) -> None:
    if options.json:
        print_json(rows)
        return
    print("\n".join([*(answers_of(rows) if answers else []), *comparison_table(rows)]))
