"""Texts in columns on a terminal."""

from __future__ import annotations

import asyncio
import io
import re

import pytest

from rag.commands.columns import SideBySide, cells, fit, readable, redrawn, table, wrapped
from rag.commands.tables import answers_of, bench_table, comparison_table


def screen(written: str) -> list[str]:
    """What a terminal shows of what was written to it: new lines, a step up, and the rest erased."""
    lines, at = [""], 0
    for up, erase, new, text in re.findall(r"\x1b\[(\d+)A|(\r\x1b\[J)|(\n)|([^\x1b\r\n]+)", written):
        if up:
            at -= int(up)
        elif erase:
            lines = [*lines[:at], ""]
        elif new:
            at += 1
            lines += [""] * (at + 1 - len(lines))
        else:
            lines[at] += text
    return lines


def test_answers_grow_side_by_side() -> None:
    """Each in its own column, whichever grows; what was there before is drawn anew."""
    out = io.StringIO()
    stage = SideBySide(["small", "large"], out, width=83, height=24)
    stage.add(0, "One two three")
    stage.add(1, "A long answer that goes on over the end of its column.")
    stage.add(0, " four.")
    stage.end()
    assert screen(out.getvalue()) == [
        f"{'small':39} │ large",
        f"{'─' * 39} │ {'─' * 39}",
        f"{'One two three four.':39} │ A long answer that goes on over the end",
        f"{'':39} │ of its column.",
        "",
    ]


def test_an_answer_longer_than_the_terminal_is_whole_in_the_end() -> None:
    """While it grows, its end is seen under the names; no more is drawn than there is room for."""
    out = io.StringIO()
    stage = SideBySide(["a", "b"], out, width=83, height=8)
    for number in range(20):
        stage.add(0, f"line {number}\n")
        stage.draw()
    growing = screen(out.getvalue())
    assert len(growing) <= 8
    assert growing[0].startswith("a ")
    assert growing[-2].startswith("line 19")
    stage.end()
    assert [line.split(" │")[0].strip() for line in screen(out.getvalue())[2:-1]] == [f"line {at}" for at in range(20)]


def test_a_model_cannot_command_the_terminal() -> None:
    """What it writes is text."""
    out = io.StringIO()
    stage = SideBySide(["a", "b"], out, width=83, height=24)
    stage.add(0, "\x1b]0;title\x07\x1b[2Jhello\x9b1m")
    stage.draw()
    assert "hello" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert readable("\x1b[2J\x9b1mhello\r") == "[2J1mhello"


def test_what_is_added_is_drawn_by_nobody_but_the_timer() -> None:
    """Who measures a model adds its pieces, and must not pay for the picture of them."""
    out = io.StringIO()
    stage = SideBySide(["a", "b"], out, width=83, height=24)
    before = out.getvalue()
    stage.add(0, "hello")
    assert out.getvalue() == before
    stage.draw()
    drawn = out.getvalue()
    assert "hello" in drawn
    stage.draw()
    assert out.getvalue() == drawn


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("one two three incomprehensible four\n\nfive  six   seven \n", id="words"),
        pytest.param("x" * 100 + " y", id="a long word"),
        pytest.param("日本語のテキストは幅が広い" * 3, id="wide letters"),
        pytest.param("e\u0301" * 50, id="combined letters"),
        pytest.param(" \n  begins late\r\nand\tgoes on", id="white space"),
    ],
)
def test_lines_are_the_same_in_whatever_pieces_a_text_comes(text: str, size: int) -> None:
    """Only the last line is wrapped again, and nobody sees it."""
    stages = []
    for pieces in ([text], [text[at : at + size] for at in range(0, len(text), size)]):
        out = io.StringIO()
        stage = SideBySide(["a", "b"], out, width=24, height=99)
        for piece in pieces:
            stage.add(0, piece)
            stage.draw()
        stages.append(screen(out.getvalue()))
    assert stages[0] == stages[1]


@pytest.mark.anyio
async def test_the_timer_draws_while_it_runs_and_all_at_its_end() -> None:
    """And is over then, also where the terminal is."""
    out = io.StringIO()
    stage = SideBySide(["a", "b"], out, width=83, height=24)
    before = asyncio.all_tasks()
    async with redrawn(stage, every_s=0.01):
        stage.add(0, "first")
        async with asyncio.timeout(5):
            while "first" not in out.getvalue():
                await asyncio.sleep(0.01)
        stage.add(1, "last")
    assert "last" in out.getvalue()
    assert asyncio.all_tasks() == before
    out.close()

    class Gone(SideBySide):
        def draw(self) -> None:
            raise BrokenPipeError

    async with redrawn(Gone(["a", "b"], io.StringIO(), width=83, height=24), every_s=0.01):
        await asyncio.sleep(0.03)


@pytest.mark.parametrize("text", ["日本語のテキストは幅が広い", "word " * 9, "x" * 40, "é" * 30, "", "a\n\n\nb"])
def test_no_line_is_wider_than_its_column(text: str) -> None:
    """Also in scripts whose letters take two places; and nothing but spaces and line ends is lost."""
    lines = wrapped(text, 10)
    assert max(map(cells, lines)) <= 10
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")


@pytest.mark.parametrize(
    ("count", "width", "room"), [(2, 80, True), (2, 60, False), (3, 110, True), (3, 90, False), (1, 200, False)]
)
def test_columns_need_room(count: int, width: int, room: bool) -> None:
    """Otherwise the answers stand one below the other."""
    assert fit(count, width) is room


def test_a_table_is_aligned() -> None:
    """Texts to the left, numbers to the right."""
    assert table(["a", "b", "c"], [["xx", "yyy", "1"], ["日本", "y", "100"]], texts=2) == [
        "a     b      c",
        "xx    yyy    1",
        "日本  y    100",
    ]


BENCH = {
    "alias": "A-model-with-a-name-that-is-much-too-long-for-a-table", "status": "partial", "error": "It broke.",
    "latency_avg": 160.8312, "latency_p50": 160.8312, "latency_p95": 170.0, "first_token_latency_avg": 12.3456,
    "first_token_latency_p95": 13.0, "tokens_per_sec_avg": 10.0, "decode_tokens_per_sec_avg": 1234.5,
    "workshop_tokens_per_sec_avg": 25.0, "memory_mb": 13456.7, "facets": 0.5, "tokens_counted": "pieces",
}  # fmt: skip


def test_the_table_of_bench_fits_a_hundred_places() -> None:
    """With the longest figures and names; what is not known is a dash; what the workshop would say stands below."""
    unknown = dict.fromkeys(BENCH) | {"alias": "m", "status": "failed", "error": "Nobody."}
    lines = bench_table([BENCH, unknown])
    assert max(map(cells, lines[:3])) <= 100
    assert lines[2].split() == ["m", "failed", *"–" * 9]
    assert f"{BENCH['alias']}: It broke." in lines
    assert "m: Nobody." in lines
    assert lines[-1].startswith("instead of 10.0, 2.5 times as many: A-model")
    assert any(line.startswith("Tokens counted by us") for line in lines)


@pytest.mark.parametrize("name", ["alias", "error", "model", "judge", "text"])
def test_what_a_server_says_cannot_command_the_terminal_from_a_table(name: str) -> None:
    """Neither by its models' names nor by its errors."""
    bad = "phi\x1b]0;title\x07\x1b[2J\x9b1m"
    failed = {"alias": "b", "error": "No."} | ({name: bad} if name in ("alias", "error") else {})
    scores = {"coherence": 5, "factuality": 4, "brevity": 3}
    row = {"alias": "a", "model": "a", "text": "It is.", "judge": "j", "scores": scores, "judged_itself": True}
    row |= {} if name == "error" else {name: bad}
    lines = [*comparison_table([row, failed]), *answers_of([row, failed]), *comparison_table([failed])]
    lines += bench_table([BENCH | ({name: bad} if name in BENCH or name == "model" else {})])
    assert any("phi" in line for line in lines)
    assert not any(letter in line for letter in "\x1b\x07\x9b" for line in lines)


@pytest.mark.parametrize(
    ("alias", "model", "told"),
    [
        pytest.param("phi-4-mini", "Phi-4-mini-instruct-generic-cpu:5", False, id="its longer name"),
        pytest.param("m on http://host/v1", "m", False, id="its shorter name"),
        pytest.param("phi-4-mini", "SmolLM2-135M", True, id="a stand-in"),
        pytest.param("phi-4-mini", None, False, id="not known"),
    ],
)
def test_a_stand_in_is_told_of(alias: str, model: str | None, told: bool) -> None:
    """What a server says has answered counts for more than what was asked for."""
    said = f"{alias}: the server says that {model} answered."
    assert (said in bench_table([BENCH | {"alias": alias, "model": model}])) is told
    assert (said in comparison_table([{"alias": alias, "model": model}])) is told


def test_the_table_of_compare_fits_a_hundred_places_and_is_silent_of_what_is_not_there() -> None:
    """No columns of marks where nobody gave any; a cost that is not known is a dash."""
    row = {
        "alias": BENCH["alias"], "latency_sec": 160.83, "first_token_latency_sec": 12.345, "tokens": 12345,
        "decode_tokens_per_sec": 1234.5, "speed_up": 123.45, "token_delta": -12345, "cost_cloud_equivalent": None,
    }  # fmt: skip
    plain = comparison_table([row])
    assert "coher." not in plain[0]
    assert plain[1].endswith("–")
    scores = {"coherence": 5, "factuality": None, "brevity": 1}
    marked = comparison_table(
        [row | {"scores": scores, "judge": "j", "judged_itself": True}, {"alias": "x", "error": "No."}]
    )
    assert max(map(cells, marked[:2])) <= 100
    assert marked[1].split()[-3:] == ["5", "–", "1"]
    assert "x: No." in marked
    assert marked[-1].startswith("Marked its own answer: A-model")
    assert comparison_table([{"alias": "x", "error": "No."}]) == ["x: No."]
