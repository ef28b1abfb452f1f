"""A report as one HTML page: no script, nothing from elsewhere, light or dark as the reader's screen is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rag.workbench.charts import charts, drawn
from rag.workbench.paper import Column, columns, mix_quality, mix_shares
from rag.workbench.report import Report
from rag.workbench.selection import Line, short

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --quiet: #555d66; --line: #c9ced4;
  --head: #eef1f4; --strong: #1f5fae; --soft: #b9d2ef; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e8eaed; --quiet: #aab1b9; --line: #3d444c;
  --head: #22272d; --strong: #7fb2f0; --soft: #2c4a6e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1.25rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
ul { padding-left: 1.25rem; }
.choice { list-style: none; padding: .25rem 0 .25rem .9rem; border-left: 4px solid var(--strong); font-size: 1.1rem; }
.choice li + li { margin-top: .5rem; }
.mix { font-size: 1.1rem; margin-bottom: 0; }
.quiet, figcaption, caption { color: var(--quiet); font-size: .9rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
.wide:focus-visible, summary:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .5rem; }
th, td { padding: .45rem .4rem; border-top: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; overflow-wrap: normal; }
thead th:first-child { position: sticky; left: 0; z-index: 1; }
thead th { background: var(--head); vertical-align: bottom; white-space: normal; min-width: 3.25rem; }
.text { text-align: left; }
td.text { white-space: normal; min-width: 4rem; max-width: 18rem; overflow-wrap: break-word; }
td.long { min-width: 10rem; }
tbody th { text-align: left; white-space: normal; position: sticky; left: 0; background: var(--paper);
  min-width: 7rem; max-width: 14rem; overflow-wrap: break-word; }
.charts { display: grid; gap: 1.5rem 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; min-width: 0; }
figcaption { margin-bottom: .4rem; }
svg { display: block; font: 13px system-ui, sans-serif; overflow: hidden; }
svg text { fill: var(--ink); }
svg .name { font-weight: 600; }
.strong { fill: var(--strong); stroke: var(--strong); }
.soft { fill: var(--soft); stroke: var(--strong); }
details { margin: .75rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--head); padding: .7rem; border-radius: 6px;
  font: .9rem/1.45 ui-monospace, monospace; margin: .4rem 0; }
tbody th, thead th:first-child { box-shadow: 1px 0 0 var(--line); }
@media (max-width: 40rem) { tbody th { max-width: 8.5rem; overflow-wrap: anywhere; } }
@media print { .wide { overflow: visible; } }
"""

# Whatever stands in a recording, the page asks nobody for anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(report: Report) -> str:
    """The report as a document of its own. What a recording says is text in it, never markup."""
    body = ["<h1>Models side by side</h1>"]
    if report.choice:
        body += ['<ul class="choice">', *_items(report.choice), "</ul>"]
    if report.lines:
        body += [
            "<h2>Selection</h2>",
            _table(columns(report), report.lines, "One row a model and label; – is not known."),
        ]
    if pictures := charts(report):
        body += ["<h2>Charts</h2>", '<div class="charts">']
        for number, chart in enumerate(pictures, start=1):
            body += [
                f"<figure><h3>{escape(chart.title)}</h3>",
                f"<figcaption>{escape(chart.said)}</figcaption>",
                drawn(chart, number=number),
                "</figure>",
            ]
        body.append("</div>")
    if report.pairs:
        body += ["<h2>The same model under two labels</h2>", "<ul>"]
        for pair in report.pairs:
            body += [f"<li>{escape(pair.text)}", *_list(pair.cautions), "</li>"]
        body.append("</ul>")
    if report.mixes:
        body.append("<h2>At the mix of an evaluation</h2>")
        for mix in report.mixes:
            body += [
                f'<p class="mix">{escape(mix.text)}</p>',
                f"<p>Of {mix.questions:,} questions: {escape(mix_shares(mix))}. {escape(mix_quality(mix))}</p>",
                *_list(mix.notes),
            ]
    body += ["<h2>Energy</h2>", f"<p>{escape(report.energy)}</p>"]
    if report.notes:
        body += ["<h2>Notes</h2>", "<ul>", *_items(report.notes), "</ul>"]
    if report.lines:
        table = _table(_DETAILS, report.lines, "All that was measured; – is not known.")
        body += ["<h2>Details</h2>", "<details><summary>All figures</summary>", table, "</details>"]
    for line in report.lines:
        if line.measured.sample:
            name = escape(f"What {line.measured.alias} wrote ({line.measured.label})")
            body.append(f"<details><summary>{name}</summary><pre>{escape(line.measured.sample)}</pre></details>")
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="referrer" content="no-referrer">',
        "<title>Models side by side</title>", f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>", *body,
        "</main>", "</body>", "</html>", "",
    ])  # fmt: skip


def _list(texts: Sequence[str]) -> list[str]:
    return ['<ul class="quiet">', *_items(texts), "</ul>"] if texts else []


def _items(texts: Iterable[str]) -> list[str]:
    return [f"<li>{escape(text)}</li>" for text in texts]


def _table(own: Sequence[Column], lines: Sequence[Line], caption: str) -> str:
    name, *others = own
    parts = [
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">',
        f"<table><caption>{escape(caption)}</caption>",
        "<thead><tr>",
        *(f'<th scope="col"{_look(column)}>{escape(column.heading)}</th>' for column in own),
        "</tr></thead>",
        "<tbody>",
    ]
    for line in lines:
        cells = "".join(f"<td{_look(column)}>{escape(column.value(line))}</td>" for column in others)
        parts.append(f'<tr><th scope="row">{escape(name.value(line))}</th>{cells}</tr>')
    return "\n".join([*parts, "</tbody>", "</table>", "</div>"])


def _look(column: Column) -> str:
    if not column.text:
        return ""
    return ' class="text long"' if column.heading in _LONG else ' class="text"'


_LONG = ("Quality", "Status", "Machine", "Model id")


def _state(line: Line) -> str:
    one = line.measured
    return one.error or ("failed" if one.failed else one.status or "ok")


_DETAILS = [
    Column("Model", lambda line: line.measured.alias, text=True),
    Column("Label", lambda line: line.measured.label, text=True),
    Column("Made by", lambda line: line.kind, text=True),
    Column("File", lambda line: line.measured.file, text=True),
    Column("Model id", lambda line: line.measured.model or "–", text=True),
    Column("Where", lambda line: line.measured.where or "–", text=True),
    Column("Status", _state, text=True),
    Column("Machine", lambda line: line.measured.machine or "–", text=True),
    Column("When", lambda line: line.measured.when or "–", text=True),
    Column("Fastest, s", lambda line: short(line.measured.latency_min)),
    Column("Slowest, s", lambda line: short(line.measured.latency_max)),
    Column("TTFT p50, s", lambda line: short(line.measured.first_token_latency_p50)),
    Column("TTFT p95, s", lambda line: short(line.measured.first_token_latency_p95)),
    Column("Prompt tokens", lambda line: short(line.measured.prompt_tokens_avg)),
    Column("Completion tokens", lambda line: short(line.measured.completion_tokens_avg)),
    Column("Tokens/s with the prompt's", lambda line: short(line.measured.workshop_tokens_per_sec_avg)),
    Column("Context, tokens", lambda line: "–" if line.context is None else f"{line.context:,}"),
    Column("USD a million in", lambda line: short(line.prices.prompt if line.prices else None)),
    Column("USD a million out", lambda line: short(line.prices.completion if line.prices else None)),
]
