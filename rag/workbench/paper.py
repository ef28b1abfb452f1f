r"""A report as text: Markdown for people, CSV for a spreadsheet. What a recording says is text there, never markup."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.workbench.blend import Mix
from rag.workbench.recordings import RecordingError
from rag.workbench.report import Report
from rag.workbench.selection import Line, short

_SAMPLE = 400  # characters of what a model wrote
# A spreadsheet takes a cell that begins so for a formula, also in letters of full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, with the unit, and what stands in it; text is not aligned as numbers are."""

    heading: str
    value: Callable[[Line], str]
    text: bool = False


def columns(report: Report) -> list[Column]:
    """The selection table: latency, throughput, memory, quality, footprint, licence, cost, energy."""
    found = [
        Column("Model", lambda line: line.measured.alias, text=True),
        Column("Label", lambda line: line.measured.label, text=True),
        Column("Latency, s", lambda line: "failed" if line.measured.failed else short(line.measured.latency_avg)),
        Column("p50, s", lambda line: short(line.measured.latency_p50)),
        Column("p95, s", lambda line: short(line.measured.latency_p95)),
        Column("TTFT, s", lambda line: short(line.measured.first_token_latency_avg)),
        Column("Tokens/s", lambda line: short(line.measured.tokens_per_sec_avg)),
        Column("Decode, tokens/s", lambda line: short(line.measured.decode_tokens_per_sec_avg)),
        Column("Rounds", _rounds),
        Column("Memory, MB", lambda line: short(line.measured.memory_mb)),
        Column("Quality", quality, text=True),
        Column("Footprint, MB", lambda line: short(line.footprint_mb)),
        Column("Licence", lambda line: line.licence or "–", text=True),
        Column("Cost, ¢ an answer", lambda line: short(line.cents)),
    ]
    if report.watts is not None:
        found.append(Column("Energy, Wh / 1,000 answers", lambda line: short(line.wh_per_1000)))
    return found


def quality(line: Line) -> str:
    """What is known of a model's quality, in words; – if nothing is."""
    said = []
    if line.answer_contains is not None:
        said.append(f"{line.answer_contains * 100:.0f} % right")
    if line.measured.facets is not None:
        said.append(f"{line.measured.facets * 100:.0f} % of facets")
    if line.scores:
        said.append(", ".join(f"{name} {short(score)}" for name, score in line.scores.items()) + " of 5")
    return "; ".join(said) or "–"


def _rounds(line: Line) -> str:
    one = line.measured
    if one.rounds is None:
        return "–"
    times = f" × {one.prompts:g}" if one.prompts and one.prompts > 1 else ""
    return (
        f"{one.rounds:g}" if one.rounds_ok in (None, one.rounds) else f"{one.rounds_ok:g} of {one.rounds:g}"
    ) + times


def mix_shares(mix: Mix) -> str:
    """Which share of the questions took which way, in words."""
    ways = {"slm": "kept", "llm": "large model only"}
    return ", ".join(f"{share * 100:.0f} % {ways.get(way, way)}" for way, share in mix.shares.items())


def mix_quality(mix: Mix) -> str:
    """How good the answers of a run are, in words; empty if that is not known."""
    if mix.answer_contains is None:
        return ""
    f1 = "" if mix.f1 is None else f" (F1 {short(mix.f1)})"
    return f"{mix.answer_contains * 100:.0f} % of the answers are right{f1}."


def markdown(report: Report) -> str:
    """The report in Markdown."""
    parts = ["# Models side by side"]
    if report.choice:
        parts.append("\n".join(f"- {_plain(one)}" for one in report.choice))
    if report.lines:
        parts += ["## Selection", _table(columns(report), report.lines)]
    if report.pairs:
        told = [_plain(pair.text) + "".join(f"\n  - {_plain(one)}" for one in pair.cautions) for pair in report.pairs]
        parts += ["## The same model under two labels", "\n".join(f"- {one}" for one in told)]
    if report.mixes:
        told = [_mix(mix) for mix in report.mixes]
        parts += ["## At the mix of an evaluation", "\n".join(told)]
    parts += ["## Energy", _plain(report.energy)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {_plain(note)}" for note in report.notes)]
    samples = [line.measured for line in report.lines if line.measured.sample]
    if samples:
        parts.append("## What the models wrote")
        for one in samples:
            words = " ".join((one.sample or "").split())
            cut = words if len(words) <= _SAMPLE else words[:_SAMPLE] + "…"
            parts.append(f"**{_plain(one.alias)}** ({_plain(one.label)}): {_plain(cut)}")
    return "\n\n".join(parts) + "\n"


def _mix(mix: Mix) -> str:
    told = [f"Of {mix.questions:,} questions: {mix_shares(mix)}.", mix_quality(mix), *mix.notes]
    return f"- {_plain(mix.text)}" + "".join(f"\n  - {_plain(one)}" for one in told if one)


def _table(own: Sequence[Column], lines: Sequence[Line]) -> str:
    rows = [
        "| " + " | ".join(column.heading for column in own) + " |",
        "|" + "|".join("---" if column.text else "---:" for column in own) + "|",
    ]
    rows += ["| " + " | ".join(_plain(column.value(line)) for column in own) + " |" for line in lines]
    return "\n".join(rows)


def _plain(text: str) -> str:
    # One line, in which nothing is markup.
    return re.sub(r"([\\`*_\[\]<>|#~&$!])", r"\\\1", " ".join(text.split()))


def as_csv(report: Report) -> str:
    """
    The models alone as CSV: a row each, the names of the JSON as headings, empty where nothing is known.

    A text that a spreadsheet would take for a formula has an apostrophe before it.

    Raises:
        RecordingError: there is no model to make a row of.
    """
    rows = [line.to_json() for line in report.lines]
    if not rows:
        raise RecordingError("CSV has a row a model, and these files measure none alone. Choose another --format.")
    for row in rows:
        row.update({name: row["scores"].get(name) for name in ("coherence", "factuality", "brevity")})
        del row["scores"]
    names = list(rows[0])
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(names)
    table.writerows([[_cell(row[name]) for name in names] for row in rows])
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return "'" + value if value.lstrip(" \u00a0").startswith(_FORMULA) else value
    return "" if value is None else value
