"""What was recorded of models side by side: outputs of bench, compare and eval, and traces, told apart by content."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from rag.errors import RagError
from rag.seen import seen
from rag.workbench.rows import Row
from rag.workbench.trace import is_trace, read_trace

Kind = Literal["bench", "compare"]

# Nothing that is measured here comes near; what is beyond would overflow in a product.
_MOST = 1e12
_LONGEST_NAME = 120
_SHOWN = 60  # characters of a wrong value in a message
_RUBRIC = ("coherence", "factuality", "brevity")
_OF_COMPARE = {
    "latency_avg": "latency_sec",
    "first_token_latency_avg": "first_token_latency_sec",
    "decode_tokens_per_sec_avg": "decode_tokens_per_sec",
    "prompt_tokens_avg": "prompt_tokens",
    "completion_tokens_avg": "completion_tokens",
    "reasoning_tokens_avg": "reasoning_tokens",
}
_OF_MACHINE = {"cores": "{} cores", "memory_gb": "{} GB of memory"}
_ASKED = ("prompts", "prompt", "evidence", "max_tokens", "temperature", "together")
_ONLY_BENCH = ("latency_avg", "latency_p95", "rounds", "tokens_per_sec_avg")
_ONLY_COMPARE = ("latency_sec", "scores")
_WANTED = "Name the --json output of bench, compare or eval, or a trace of eval."


class RecordingError(RagError):
    """A recording cannot be read, or is none; or the report on it cannot be written."""


@dataclass(frozen=True)
class Measured:
    """
    One row: a model as one run measured it. Names are those of the JSON; what was not measured is None.

    Attributes:
        alias: the model's name for people.
        label: what tells the runs apart, such as gpu; the row's own, or the name of its file.
        kind: `bench`, or `compare` for a single prompt; then `latency_avg` is that one answer's.
        file: the name of the file.
        latency_*: question sent to answer complete, in seconds.
        first_token_latency_*: the TTFT, in seconds.
        tokens_per_sec_avg: tokens a second; `decode_…` from the first text on, `workshop_…` with the prompt's counted.
        workshop: whether the row was made by the original workshop's script, whose tokens a second count the prompt's.
        rounds, rounds_ok: how often each prompt was asked, and answered; `prompts` is how many there were.
        prompt_tokens_avg, completion_tokens_avg: tokens an answer; `tokens` is their sum where only that is known.
        reasoning_tokens_avg: how many of the completion tokens were reasoning.
        tokens_counted: by whom, `server` or `pieces`, which is an estimate.
        facets: the share of the expected facets that the answers have, 0 to 1.
        scores: of the rubric, 1 to 5, by name.
        asked: what was asked, with which limits; only to be compared.
    """

    alias: str
    label: str
    kind: Kind
    file: str
    model: str | None = None
    where: str | None = None
    status: str | None = None
    error: str | None = None
    sample: str | None = None
    when: str | None = None
    machine: str | None = None
    tokens_counted: str | None = None
    asked: str = ""
    latency_avg: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_min: float | None = None
    latency_max: float | None = None
    first_token_latency_avg: float | None = None
    first_token_latency_p50: float | None = None
    first_token_latency_p95: float | None = None
    first_token_latency_min: float | None = None
    first_token_latency_max: float | None = None
    tokens_per_sec_avg: float | None = None
    decode_tokens_per_sec_avg: float | None = None
    workshop_tokens_per_sec_avg: float | None = None
    rounds: float | None = None
    rounds_ok: float | None = None
    prompts: float | None = None
    prompt_tokens_avg: float | None = None
    completion_tokens_avg: float | None = None
    reasoning_tokens_avg: float | None = None
    tokens: float | None = None
    memory_mb: float | None = None
    disk_mb: float | None = None
    facets: float | None = None
    scores: Mapping[str, float] | None = None
    workshop: bool = False

    @property
    def failed(self) -> bool:
        """Whether no answer came."""
        return self.latency_avg is None

    @property
    def calls(self) -> float | None:
        """How many answers the figures are of; of several prompts, at least."""
        rounds = self.rounds if self.rounds_ok is None else self.rounds_ok
        return None if rounds is None else max(rounds * (self.prompts or 1), 1)


@dataclass(frozen=True)
class Evaluated:
    """
    An evaluation against known answers.

    Attributes:
        file, label: the name of the file, with and without its ending.
        mode: which models might answer; None where only the figures were kept.
        models: the names of the SLM and of the LLM; empty where only the figures were kept.
        large_model: the one whose answers stand against the drafts; None if there was none.
        questions: how many were asked.
        routes: how many of them took which way.
        answer_contains, f1: shares of 0 to 1.
        total_ms_p50: the median of the whole time, in milliseconds.
        rows: of a trace; empty where only the figures were kept.
    """

    file: str
    label: str
    mode: str | None
    models: tuple[str, ...]
    large_model: str | None
    questions: int
    routes: Mapping[str, int]
    answer_contains: float | None = None
    f1: float | None = None
    total_ms_p50: float | None = None
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Recordings:
    """What the files have, in their order; `notes` are sentences on what was changed in reading them."""

    measured: tuple[Measured, ...]
    evaluated: tuple[Evaluated, ...]
    notes: tuple[str, ...] = ()


_TEXTS = tuple(one.name for one in fields(Measured) if one.type == "str | None")
_NUMBERS = tuple(one.name for one in fields(Measured) if one.type == "float | None" and one.name != "facets")


def read_recordings(paths: Sequence[Path]) -> Recordings:
    """
    Read files of any kind. A file that is named twice is read once.

    Where a label has an alias already, the later rows are kept under the label with a number, such as `gpu (2)`.

    Raises:
        RecordingError: a file is missing or none of ours, or a row has a wrong type; names the file, row and field.
        QuestionError: a trace is damaged.
    """
    measured: list[Measured] = []
    evaluated: list[Evaluated] = []
    notes: list[str] = []
    seen: set[str] = set()
    for path in paths:
        place = os.path.realpath(path)  # unlike `resolve`, it takes links in a ring
        if place in seen:
            notes.append(f"{seen_text(path.name)} is named twice and read once.")
            continue
        seen.add(place)
        if is_trace(path):
            evaluated.append(_named_apart(_of_trace(path), evaluated))
            continue
        found = _json_of(path)
        if isinstance(found, dict) and "answer_contains" in found and "routes" in found:
            evaluated.append(_named_apart(_of_figures(found, path), evaluated))
        else:
            fresh, told = _numbered(_of_list(found, path), measured)
            measured += fresh
            notes += told
    return Recordings(tuple(measured), tuple(evaluated), tuple(notes))


def seen_text(text: str, *, longest: int | None = _LONGEST_NAME) -> str:
    r"""
    A text as it may be shown: without what moves a terminal's cursor or turns the writing around.

    >>> seen_text("phi\x1b[31m\u202e-4")
    'phi[31m-4'
    """
    kept = "".join(letter for letter in seen(text) if unicodedata.category(letter) != "Cs").strip()
    if longest is None:
        return kept
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _json_of(path: Path) -> Any:
    name = seen_text(str(path), longest=None)
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise RecordingError(f"There is no file {name}. {_WANTED}") from error
    except OSError as error:
        raise RecordingError(f"{name} cannot be read ({error.strerror}). {_WANTED}") from error
    except RecursionError as error:
        raise RecordingError(f"{name} is nested too deep to be read. {_WANTED}") from error
    except ValueError as error:
        raise RecordingError(f"{name} is not JSON ({seen_text(str(error))}). {_WANTED}") from error


def _of_list(found: Any, path: Path) -> list[Measured]:
    name = seen_text(path.name)
    if isinstance(found, dict) and "evidence_recall" in found:
        raise RecordingError(f"{name} has the figures of a search, which asks no model. {_WANTED}")
    if not isinstance(found, list):
        raise RecordingError(f"{name} is no list of rows. {_WANTED}")
    if not found:
        raise RecordingError(f"{name} is an empty list: nothing was measured. Measure again, or leave it out.")
    if not any(isinstance(row, dict) and "alias" in row for row in found):
        raise RecordingError(f"{name} is a list without an alias in it. {_WANTED}")
    # A row of a model that failed looks the same from both commands.
    compares = any(name in row for row in found if isinstance(row, dict) for name in _ONLY_COMPARE)
    benches = any(name in row for row in found if isinstance(row, dict) for name in _ONLY_BENCH)
    usual: Kind = "compare" if compares and not benches else "bench"
    return [_row(row, f"{name}, row {place}", path, usual) for place, row in enumerate(found, start=1)]


def _row(row: Any, place: str, path: Path, usual: Kind) -> Measured:
    if not isinstance(row, dict):
        raise RecordingError(f"{place} must be an object with an alias, was: {_shown(row)}")
    if not isinstance(row.get("alias"), str) or not seen_text(row["alias"]):
        raise RecordingError(f"{place}: alias must be a text that is not empty, was: {_shown(row.get('alias'))}")
    texts: dict[str, Any] = {}
    for name in (*_TEXTS, "label"):
        value = row.get(name)
        if name == "tokens_counted" and isinstance(value, bool):
            value = "server" if value else "pieces"
        if name == "machine" and isinstance(value, dict):
            value = ", ".join(_OF_MACHINE.get(key, f"{key} {{}}").format(one) for key, one in value.items() if one)
        if value is not None and not isinstance(value, str):
            raise RecordingError(f"{place}: {name} must be a text or null, was: {_shown(value)}")
        texts[name] = (
            seen_text(value, longest=None if name in ("sample", "error") else _LONGEST_NAME) if value else None
        )
    numbers: dict[str, Any] = {name: _number(row.get(name), f"{place}: {name}") for name in _NUMBERS}
    kind: Kind = "compare" if any(name in row for name in _ONLY_COMPARE) else usual
    if any(name in row for name in _ONLY_BENCH):
        kind = "bench"
    if kind == "compare":
        for name, theirs in _OF_COMPARE.items():
            numbers[name] = _number(row.get(theirs), f"{place}: {theirs}")
        numbers["rounds"] = None if numbers["latency_avg"] is None else 1.0
        if numbers["prompt_tokens_avg"] is not None:  # the workshop's script tells the sum alone
            if numbers["completion_tokens_avg"] is None:
                numbers["completion_tokens_avg"] = numbers["tokens"]
            numbers["tokens"] = None
    else:
        numbers["tokens"] = None
    label = texts.pop("label") or seen_text(path.stem) or "recording"
    return Measured(
        seen_text(row["alias"]), label, kind, seen_text(path.name),
        asked=_shown({name: row[name] for name in _ASKED if name in row}, longest=None),
        facets=_facets(row.get("facets"), f"{place}: facets"),
        scores=_scores(row.get("scores"), f"{place}: scores"),
        workshop=kind == "bench" and _is_rate_of_workshop(row),
        **texts, **numbers,
    )  # fmt: skip


def _is_rate_of_workshop(row: Mapping[str, Any]) -> bool:
    return row.get("tokens_per_sec_avg") is not None and "workshop_tokens_per_sec_avg" not in row


def _number(value: Any, place: str, *, most: float = _MOST) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:  # NaN is neither
        raise RecordingError(f"{place} must be a number from 0 to {most:g}, or null, was: {_shown(value)}")
    return float(value)


def _facets(value: Any, place: str) -> float | None:
    # A share, or whether each was found.
    if isinstance(value, dict) and value:
        found = [_number(float(one) if isinstance(one, bool) else one, place, most=1) for one in value.values()]
        known = [one for one in found if one is not None]
        return sum(known) / len(known) if known else None
    return _number(None if value == {} else value, place, most=1)


def _scores(value: Any, place: str) -> Mapping[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RecordingError(f"{place} must be an object or null, was: {_shown(value)}")
    found = {name: _number(value.get(name), f"{place}: {name}", most=5) for name in _RUBRIC}
    return {name: score for name, score in found.items() if score is not None} or None


def _numbered(rows: Sequence[Measured], before: Sequence[Measured]) -> tuple[list[Measured], list[str]]:
    # A whole run gets one number, so that its models stay side by side.
    taken = {(row.label, row.alias, row.kind) for row in before}
    behind = {}
    for label in {row.label for row in rows}:
        own = [(row.alias, row.kind) for row in rows if row.label == label]
        free = (n for n in range(len(before) + 1) if not any((_with(label, n), *one) in taken for one in own))
        behind[label] = next(free)
    times: Counter[tuple[str, str, Kind]] = Counter()
    found, notes = [], []
    for row in rows:
        label = _with(row.label, behind[row.label] + times[row.label, row.alias, row.kind])
        times[row.label, row.alias, row.kind] += 1
        if label != row.label:
            notes.append(
                f"{row.alias} is there twice under the label {row.label}; that of {row.file} is called {label}."
            )
        found.append(replace(row, label=label))
    return found, notes


def _named_apart(run: Evaluated, before: Sequence[Evaluated]) -> Evaluated:
    labels = {one.label for one in before}
    names = (run.label, run.file, *(f"{run.file} ({at})" for at in range(2, len(before) + 3)))
    return replace(run, label=next(name for name in names if name not in labels))


def _with(label: str, behind: int) -> str:
    return f"{label} ({behind + 1})" if behind else label


def _of_figures(found: Mapping[str, Any], path: Path) -> Evaluated:
    name = seen_text(path.name)
    large = found.get("large_model")
    routes = found.get("routes")
    if not isinstance(routes, dict) or not routes:
        raise RecordingError(f"{name}: routes must be an object with counts, was: {_shown(routes)}")
    counts = {seen_text(route): int(_number(count, f"{name}: routes") or 0) for route, count in routes.items()}
    if not sum(counts.values()):
        raise RecordingError(f"{name}: no question took any route. Measure again, or leave it out.")
    shares: dict[str, Any] = {
        one: _number(found.get(one), f"{name}: {one}", most=1) for one in ("answer_contains", "f1")
    }
    median = _number(found.get("total_ms_p50"), f"{name}: total_ms_p50")
    known = isinstance(large, str) and not large.startswith("oracle")
    return Evaluated(
        name, seen_text(path.stem), None, (), seen_text(str(large)) if known else None, sum(counts.values()), counts,
        **shares, total_ms_p50=median,
    )  # fmt: skip


def _of_trace(path: Path) -> Evaluated:
    name = seen_text(path.name)
    try:
        made, rows = read_trace(path)
    except TypeError as error:  # its rows cannot even be told apart
        raise RecordingError(f"{name} has a question that is none ({seen_text(str(error))}). {_WANTED}") from error
    if not rows:
        raise RecordingError(f"{name} has no question in it yet. Go on with the evaluation, or leave it out.")
    for place, row in enumerate(rows, start=1):
        _check(row, f"{name}, question {place}")
    right = [row.answer_right for row in rows if row.answerable]
    shared = [row.f1 for row in rows if row.answerable and row.f1 is not None]
    return Evaluated(
        name, seen_text(path.stem), seen_text(str(made.mode)), tuple(seen_text(str(one)) for one in made.models),
        seen_text(str(made.large_model)) if made.large_model else None, len(rows),
        dict(sorted(Counter(seen_text(row.route) for row in rows).items())),
        answer_contains=sum(right) / len(right) if right else None,
        f1=sum(shared) / len(shared) if shared else None,
        rows=tuple(rows),
    )  # fmt: skip


def _check(row: Row, place: str) -> None:
    # The trace's reader knows that the names are there, not what is behind them.
    for name in ("answerable", "answer_right"):
        if not isinstance(getattr(row, name), bool):
            raise RecordingError(f"{place}: {name} must be true or false, was: {_shown(getattr(row, name))}")
    for name, most in (("total_ms", _MOST), ("ttft_ms", _MOST), ("large_ms", _MOST), ("f1", 1.0)):
        if _number(getattr(row, name), f"{place}: {name}", most=most) is None and name == "total_ms":
            raise RecordingError(f"{place}: total_ms must be a number, was: null")
    if row.usage is not None and not isinstance(row.usage, dict):
        raise RecordingError(f"{place}: usage must be an object or null, was: {_shown(row.usage)}")
    for tokens in (row.tokens, row.large_tokens, *(row.usage or {}).values()):
        for name in ("prompt", "completion") if tokens is not None else ():
            if not isinstance(tokens, dict) or _number(tokens.get(name), f"{place}: tokens") is None:
                raise RecordingError(f"{place}: tokens must be an object with two counts, was: {_shown(tokens)}")


def _shown(value: Any, *, longest: int | None = _SHOWN) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = "something too large to show"
    return seen_text(text, longest=longest)
