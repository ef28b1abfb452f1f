"""A report as Markdown, CSV and HTML: what a recording says is text in each, whatever it says."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rag.workbench.page import html
from rag.workbench.paper import as_csv, markdown
from rag.workbench.recordings import RecordingError
from rag.workbench.report import Report
from tests.report_kit import bench, compare, report_of, report_on, trace, write
from tests.test_evaluate_figures import made

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></style></svg><b>x",
    "a|b`c`*d*_e_[x](http://evil.example/)![i](http://evil.example/i.png)",
    "=cmd|' /C calc'!A0",
)


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def full(tmp_path: Path) -> Report:
    """A report with all that there can be in one."""
    return report_on(
        write(tmp_path / "a.json", [bench("phi", 2.0, facets=0.8), bench("big", 6.0, facets=0.9), bench("bad", None)]),
        write(tmp_path / "b.json", [bench("phi", 0.5, label="gpu", machine="a server")]),
        write(tmp_path / "c.json", [compare("phi", scores={"coherence": 4, "factuality": 5, "brevity": 3})]),
        trace(tmp_path / "run.jsonl", [made(question="1"), made(question="2", route="quoted")], models=("phi",)),
        watts=45.0,
    )  # fmt: skip


def hostile(folder: Path) -> Report:
    """A report in which every text is an attack."""
    rows: list[dict[str, Any]] = []
    for at, text in enumerate(HOSTILE):
        texts = dict.fromkeys(("label", "model", "where", "sample", "when", "machine"), text)
        rows.append(bench(text, 1.0 + at, **texts))
        rows.append(bench(text, 2.0 + at, **texts, label_two=1))
        rows.append({"alias": text, "error": text, "label": text})
    return report_of(folder, *rows)


def test_the_page_asks_nobody_and_runs_nothing(full: Report) -> None:
    """No script, no link, no picture, no address; a policy that forbids them all."""
    text = html(full)
    page = Page(text)
    assert {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "a",
        "base",
    } == set()
    assert not re.search(r"(?i)url\(|@import|https?:|//[a-z]", text)
    assert "default-src 'none'" in text


def test_nothing_that_a_recording_says_becomes_an_element(full: Report, tmp_path: Path) -> None:
    """The same elements and attributes as of a harmless report, and every word can be read."""
    harmless, page = Page(html(full)), Page(html(hostile(tmp_path)))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements}
    assert {name for _, own in page.elements for name in own} <= {name for _, own in harmless.elements for name in own}
    for text in HOSTILE:
        assert text in page.words


def test_the_page_can_be_read_without_its_charts(full: Report) -> None:
    """Headings of columns and rows are told to a screen reader; each chart has a title and a sentence."""
    text = html(full)
    page = Page(text)
    scopes = [own.get("scope") for tag, own in page.elements if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert scopes.count("row") == 2 * len(full.lines)
    assert [tag for tag, _ in page.elements].count("caption") == 2
    ids = {own["id"] for _, own in page.elements if "id" in own}
    charts = [own for tag, own in page.elements if tag == "svg"]
    assert len(charts) == 4
    for own in charts:
        assert own["role"] == "img"
        assert set((own["aria-labelledby"] or "").split()) <= ids
    assert ("html", {"lang": "en"}) in page.elements


def test_the_charts_are_well_formed_and_to_scale(full: Report) -> None:
    """The longest bar is the longest value, and half of it is half as long."""
    found = re.findall(r"<svg .*?</svg>", html(full), re.DOTALL)
    roots = [ET.fromstring(one) for one in found]
    widths = [float(rect.get("width", "").rstrip("%")) for rect in roots[-1].iter("rect")]
    assert widths == [56.0, 14.0]  # 2 s and 0.5 s
    words = [text.text for text in roots[-1].iter("text")]
    assert words == ["phi: gpu 4 × as fast", "2 s cpu", "0.5 s gpu"]


def test_a_report_of_zeros_is_drawn(tmp_path: Path) -> None:
    """Nothing is divided by the longest bar."""
    text = html(report_of(tmp_path, bench(latency=0.0, first_token_latency_avg=0)))
    assert "p50 0 s" in text
    assert "nan" not in text.casefold()


def test_markdown_has_the_table_and_the_sentences(full: Report) -> None:
    """As many cells in each row as in the heading; unknown is a dash, a failure says so."""
    text = markdown(full)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 2 + len(full.lines)
    assert "| bad | cpu | failed | – |" in text
    assert "phi is the quickest" in text
    assert "at this mix, without the large model" in text
    assert "Energy, Wh / 1,000 answers" in text
    assert "80 % of facets; coherence 4, factuality 5, brevity 3 of 5" in text


def test_markdown_keeps_text_text(tmp_path: Path) -> None:
    """No tag, link, picture, table cell or code begins in an alias, a label or a sample."""
    text = markdown(hostile(tmp_path))
    assert not re.search(r"(?<!\\)[<>`\[\]]", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_csv_has_a_row_a_model(full: Report) -> None:
    """The workshop's names first; empty where nothing is known."""
    rows = list(csv.DictReader(io.StringIO(as_csv(full))))
    assert [row["alias"] for row in rows] == ["phi", "big", "bad", "phi", "phi"]
    assert list(rows[0])[:3] == ["alias", "latency_avg", "latency_p95"]
    assert (rows[0]["latency_avg"], rows[0]["disk_mb"], rows[0]["brevity"]) == ("2", "", "3")
    assert (rows[2]["latency_avg"], rows[2]["cents"]) == ("", "0.2")


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "＝1", "=cmd|' /C calc'!A0"],
)
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    """A spreadsheet would run it; with an apostrophe before it, it is text."""
    rows = list(csv.DictReader(io.StringIO(as_csv(report_of(tmp_path, bench(text, sample=f"{text}\n=2"))))))
    assert rows[0]["alias"] == f"'{text.strip()}"
    assert rows[0]["sample"].startswith("'")


def test_csv_of_no_model_is_refused(tmp_path: Path) -> None:
    """Not an empty file that looks like a result."""
    with pytest.raises(RecordingError, match="CSV has a row a model"):
        as_csv(report_on(trace(tmp_path / "t.jsonl", [made()])))
