"""The figures of a report, worked out on paper; what is not known stays so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.cards import Card, Cards
from rag.workbench.recordings import read_recordings
from rag.workbench.report import Report
from rag.workbench.selection import Prices
from tests.report_kit import bench, compare, report_of, report_on, trace, write
from tests.test_evaluate_figures import made


def cards(*known: Card) -> Cards:
    """What is known of these models."""
    return Cards(None, _cards={card.alias: card for card in known})


# --- A line a model --------------------------------------------------------------------------------------


def test_what_nobody_measured_is_null_and_never_0(tmp_path: Path) -> None:
    """No price, licence, memory, quality, energy."""
    report = report_of(tmp_path, {"alias": "x", "latency_avg": 2.0}, prices=None)
    line = report.to_json()["models"][0]
    unknown = ("cents", "price_in", "licence", "memory_mb", "footprint_mb", "wh_per_1000", "facets", "rubric",
               "answer_contains", "tokens_per_sec_avg", "rounds", "context")  # fmt: skip
    assert {name: line[name] for name in unknown} == dict.fromkeys(unknown)
    assert list(line)[:6] == [
        "alias", "latency_avg", "latency_p95", "tokens_per_sec_avg", "rounds", "first_token_latency_avg",
    ]  # fmt: skip
    json.dumps(report.to_json(), allow_nan=False)


def test_a_card_has_the_licence_the_size_and_the_price(tmp_path: Path) -> None:
    """By alias or model id. What was measured counts more; a card without a price leaves the other price."""
    known = cards(
        Card("a", licence="MIT", size_mb=2300.0, price_in=2.0, price_out=20.0, context=4096),
        Card("b-id", size_mb=10.0),
    )
    report = report_of(tmp_path, bench("a"), bench("b", disk_mb=12.0), bench("c"), cards=known)
    a, b, c = report.lines
    assert (a.licence, a.footprint_mb, a.context) == ("MIT", 2300.0, 4096)
    assert a.cents == pytest.approx(100 * (1000 * 2 + 100 * 20) / 1e6)
    assert (b.licence, b.footprint_mb, b.context) == (None, 12.0, None)
    assert b.cents == pytest.approx(100 * (1000 * 1 + 100 * 10) / 1e6)
    assert (c.licence, c.footprint_mb) == (None, None)


def test_quality_is_found_wherever_the_model_was_judged(tmp_path: Path) -> None:
    """The scores of compare, the mean of several; the right answers of an evaluation of this model alone."""
    runs = [
        write(tmp_path / "b.json", [bench("phi", model="phi-id")]),
        write(tmp_path / "c.json", [
            compare("phi", scores={"coherence": 4, "factuality": 5, "brevity": 3}),
            compare("other", scores={"coherence": 1}),
        ]),
        write(tmp_path / "d.json", [compare("phi", scores={"coherence": 2, "factuality": 5, "brevity": 2})]),
        trace(tmp_path / "t.jsonl", [made(question="1"), made(question="2", right=False)], mode="slm",
              models=("phi-id",)),
    ]  # fmt: skip
    report = report_on(*runs)
    first = report.lines[0]
    assert first.scores == {"coherence": 3.0, "factuality": 5.0, "brevity": 2.5}
    assert first.rubric == pytest.approx(3.5)
    assert (first.answer_contains, first.f1) == (0.5, 0.5)
    assert next(line for line in report.lines if line.measured.alias == "other").rubric is None
    last = report.lines[-1]
    assert (last.kind, last.measured.alias, last.measured.latency_avg) == ("eval", "phi-id", pytest.approx(0.2))


def test_energy_is_reckoned_only_from_a_power_that_was_named(tmp_path: Path) -> None:
    """2 s at 45 W, a thousand times, are 25 Wh."""
    assert report_of(tmp_path, bench()).lines[0].wh_per_1000 is None
    assert "proportional to the time" in report_of(tmp_path, bench()).energy
    with_watts = report_of(tmp_path, bench(), bench("bad", None), watts=45.0)
    assert with_watts.lines[0].wh_per_1000 == pytest.approx(25.0)
    assert with_watts.lines[1].wh_per_1000 is None
    assert "45 W" in with_watts.energy
    assert "not measured" in with_watts.energy


# --- Two labels ------------------------------------------------------------------------------------------


def test_the_same_model_under_two_labels_has_ratios(tmp_path: Path) -> None:
    """Of the second to the first, and no caution where nothing stands against it."""
    report = report_of(
        tmp_path, bench(latency=6.0), bench(latency=2.0, label="gpu", decode_tokens_per_sec_avg=180.0), bench("other")
    )
    (pair,) = report.pairs
    assert (pair.alias, pair.first, pair.second) == ("phi-4-mini", "cpu", "gpu")
    assert pair.latency_ratio == pytest.approx(1 / 3)
    assert pair.tokens_ratio == pytest.approx(3.0)
    assert pair.ttft_ratio == 1.0
    assert pair.text == (
        "phi-4-mini: gpu is 3 times as fast as cpu (2 s against 6 s), and writes 3 times as many tokens a second."
    )
    assert pair.cautions == ()


@pytest.mark.parametrize(
    ("values", "caution"),
    [
        pytest.param({"machine": "a server"}, "The machines differ: a laptop, and a server.", id="machines"),
        pytest.param({"machine": None}, "On which machine both were measured is not recorded.", id="no machine"),
        pytest.param({"rounds": 4, "rounds_ok": 4}, "One is of 4 answers only", id="one round too few"),
        pytest.param({"rounds_ok": 1}, "One is of 1 answer only", id="rounds that failed"),
        pytest.param({"latency_max": 5.4}, "The times of the two overlap", id="overlap"),
        pytest.param({"max_tokens": 500}, "They were not asked the same", id="limits"),
        pytest.param({"model": "other-id"}, "The models behind the alias differ", id="models"),
    ],
)
def test_a_difference_that_may_not_be_one_has_a_caution(tmp_path: Path, values: dict[str, Any], caution: str) -> None:
    """Each for one reason alone."""
    (pair,) = report_of(tmp_path, bench(latency=6.0), bench(latency=2.0, label="gpu", **values)).pairs
    assert [one for one in pair.cautions if caution in one] == list(pair.cautions)
    assert len(pair.cautions) == 1


def test_five_answers_are_enough_however_many_prompts_make_them(tmp_path: Path) -> None:
    """One round of five prompts is five answers."""
    rows = [
        bench(latency=seconds, label=label, rounds=1, rounds_ok=1, prompts=5) for seconds, label in ((6, "a"), (2, "b"))
    ]
    assert report_of(tmp_path, *rows).pairs[0].cautions == ()


def test_tokens_a_second_that_count_the_prompt_are_not_compared(tmp_path: Path) -> None:
    """Those of the workshop's script with ours."""
    old = {"alias": "phi-4-mini", "latency_avg": 6.0, "tokens_per_sec_avg": 80.0, "rounds": 9}
    report = report_on(write(tmp_path / "old.json", [old]), write(tmp_path / "new.json", [bench()]))
    assert report.pairs[0].tokens_ratio is None
    assert any("tokens a second count the prompt's" in note for note in report.notes)
    assert any("these are not compared" in one for one in report.pairs[0].cautions)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([bench(), bench("other", label="gpu")], id="other models"),
        pytest.param([bench(), bench(latency=None, error="boom", label="gpu")], id="one failed"),
        pytest.param([bench(), compare(label="gpu")], id="another kind"),
    ],
)
def test_what_cannot_be_set_beside_each_other_is_not(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """A single prompt is no benchmark, and a failure has no time."""
    assert report_of(tmp_path, *rows).pairs == ()


def test_a_model_that_answered_alone_is_compared_with_itself_over_the_same_questions(tmp_path: Path) -> None:
    """Two traces; where the questions differ, there is a caution."""
    rows = [made(question=str(at)) for at in range(5)]
    first = trace(tmp_path / "a.jsonl", rows, mode="slm", models=("small",))
    same = trace(tmp_path / "b.jsonl", [made(question=str(at), total_ms=400.0) for at in range(5)], mode="slm",
                 models=("small",))  # fmt: skip
    other = trace(tmp_path / "c.jsonl", [*rows, made(question="more")], mode="slm", models=("small",))
    pairs = report_on(first, same, other).pairs
    assert [pair.latency_ratio for pair in pairs] == [pytest.approx(2.0), pytest.approx(1.0)]
    asked = "They were not asked the same, or not with the same limits."
    assert [asked in pair.cautions for pair in pairs] == [False, True]


def test_a_time_of_0_has_no_ratio(tmp_path: Path) -> None:
    """Nothing divides by it."""
    (pair,) = report_of(tmp_path, bench(latency=0.0), bench(label="gpu")).pairs
    assert pair.latency_ratio is None
    assert "cannot be compared" in pair.text


# --- Which one -------------------------------------------------------------------------------------------


def choice(folder: Path, *rows: dict[str, Any]) -> tuple[str, ...]:
    """The sentences on these rows."""
    return report_of(folder, *rows).choice


def test_the_quickest_the_best_and_the_quickest_near_the_best(tmp_path: Path) -> None:
    """Exactly a tenth below the best is within a tenth."""
    rows = [bench("a", 1.0, facets=0.4), bench("b", 2.0, facets=0.72), bench("c", 9.0, facets=0.8), bench("d", None)]
    assert choice(tmp_path, *rows) == (
        "a is the quickest (1 s on average), c is the best (80 % of the expected facets), and b is the quickest within "
        "a tenth of the best.",
    )


def test_runs_are_told_apart(tmp_path: Path) -> None:
    """What a GPU makes quick is not the quicker model."""
    runs = (("cpu", "a", 1), ("cpu", "b", 2), ("gpu", "a", 0.9), ("gpu", "b", 0.1))
    rows = [bench(name, seconds, label=label, facets=0.5) for label, name, seconds in runs]
    first, second = choice(tmp_path, *rows)
    assert first.startswith("Under cpu: a is the quickest (1 s on average), a and b are the best (50 %")
    assert second.startswith("Under gpu: b is the quickest")


def test_without_the_same_measure_none_is_the_best(tmp_path: Path) -> None:
    """One alone has no rival; a quality of 0 is nothing to praise."""
    (said,) = choice(tmp_path, bench("a", 1.0, facets=0.4), bench("b", 2.0))
    assert said == "a is the quickest (1 s on average). Which is the best is not known: no two models have the same " \
        "measure of quality."  # fmt: skip
    (nothing,) = choice(tmp_path, bench("a", 1.0, facets=0), bench("b", 2.0, facets=0))
    assert (
        nothing
        == "a is the quickest (1 s on average). Which is the best is not known: each has 0 of the expected facets."
    )
    (two,) = choice(tmp_path, bench("a", 1.0, facets=0.4), bench("b", 2.0, facets=0.3), bench("c", 3.0))
    assert two.endswith("The quality of c is not known.")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param([bench("a")], None, id="one model"),
        pytest.param([bench("a"), bench("b", None, error="boom")], None, id="one failed"),
        pytest.param([bench("a", label="x"), bench("b", label="y", machine="else")], "not measured in one run",
                     id="two machines"),
        pytest.param([bench("a", label="x", machine=None), bench("b", label="y", machine=None)],
                     "not measured in one run", id="machines unknown"),
        pytest.param([bench("a"), bench("b", max_tokens=9)], "not asked the same", id="other limits"),
        pytest.param([bench("a", 2.0), bench("b", 2.1)], "though its times overlap with those of b", id="overlap"),
        pytest.param([bench("a", 1.0, label="x"), bench("b", 2.0, label="y")], "a is the quickest", id="one machine"),
    ],
)  # fmt: skip
def test_only_what_the_figures_say_is_said(tmp_path: Path, rows: list[dict[str, Any]], said: str | None) -> None:
    """Nothing of one model; no winner over machines or prompts."""
    found = choice(tmp_path, *rows)
    assert (said is None and not found) or (said is not None and said in found[0])


def test_what_is_wrong_with_a_row_is_in_the_notes(tmp_path: Path) -> None:
    """Failures with their reason, parts of runs, estimates, prices, machines."""
    notes = report_of(
        tmp_path, bench("a"), bench("b", None, error="404: no such model"), bench("c", error="stalled", rounds_ok=2),
        bench("d", tokens_counted="pieces", machine="a server"),
    ).notes  # fmt: skip
    assert notes == (
        "The tokens of d are an estimate: its server did not count them, or not its reasoning.",
        "b (cpu) gave no answer: 404: no such model",
        "c (cpu) did not get to its end: stalled",
        "Costs are hypothetical: the same tokens at the prices of the test.",
        "Not all was measured on one machine: a laptop; a server.",
    )


# --- Blended averages ------------------------------------------------------------------------------------

KEPT = made(
    question="kept", total_ms=1000.0, usage={"slm": {"prompt": 500, "completion": 50}, "llm": None},
    large_ms=4000.0, large_tokens={"prompt": 1000, "completion": 100},
)  # fmt: skip
ESCALATED = made(
    question="escalated", route="escalated", total_ms=6000.0, large_ms=5000.0,
    usage={"slm": {"prompt": 500, "completion": 50}, "llm": {"prompt": 1000, "completion": 300}},
    large_tokens={"prompt": 1000, "completion": 300},
)  # fmt: skip
SILENT = made(
    question="silent", route="abstained", draft=None, total_ms=100.0, tokens=None, usage={"slm": None, "llm": None}
)
REFUSED = made(question="x" * 9, route="failed", total_ms=0.0)
OLD = made(question="old", route="escalated", total_ms=6000.0, tokens={"prompt": 1500, "completion": 350})


def mixed(*paths: Path, **options: Any) -> Any:
    """The averages of the first evaluation."""
    return report_on(*paths, **options).mixes[0]


def test_a_trace_has_the_averages_of_both_ways(tmp_path: Path) -> None:
    """At the mix, a question took 7.1 s / 3; the large model alone would have taken 9.1 s / 3."""
    mix = mixed(trace(tmp_path / "t.jsonl", [KEPT, ESCALATED, SILENT, REFUSED]))
    assert (mix.questions, mix.kept, mix.escalated) == (3, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert mix.seconds == pytest.approx(7.1 / 3)
    assert mix.always_seconds == pytest.approx(9.1 / 3)
    assert mix.cents == pytest.approx((1000 + 300 * 10) / 1e4 / 3)
    assert mix.always_cents == pytest.approx((2000 + 400 * 10) / 1e4 / 3)
    assert mix.measured
    assert (mix.answer_contains, mix.f1) == (1.0, 0.5)
    assert mix.text == "t: at this mix: 2.37 s and 0.133 ¢ a question, against 3.03 s and 0.2 ¢ always-LLM."
    assert "Always-LLM was timed with large on the same questions, 3 of 3." in mix.notes
    assert "Left out as refused: 1 question." in mix.notes


def test_without_a_large_model_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    """Null, and it is said; never 0."""
    rows = [made(question="1", total_ms=1000.0), made(question="2", route="quoted", total_ms=2000.0)]
    mix = mixed(trace(tmp_path / "t.jsonl", rows, models=("small",)))
    assert (mix.seconds, mix.cents, mix.always_seconds, mix.always_cents) == (1.5, 0.0, None, None)
    assert mix.text == (
        "t: at this mix, without the large model: 1.5 s and 0 ¢ a question; gpt-oss-20b was not measured, so "
        "always-LLM is not known."
    )
    assert any("never measured" in note for note in mix.notes)
    assert any(note.startswith("50 % of the answers are quotations") for note in mix.notes)


def test_a_large_model_that_was_timed_on_a_few_questions_is_not_averaged(tmp_path: Path) -> None:
    """The escalated ones are the hard ones; nine in ten must be timed."""
    few = [KEPT, ESCALATED, *(made(question=str(at), total_ms=1000.0) for at in range(2))]
    assert mixed(trace(tmp_path / "few.jsonl", few)).always_seconds is None
    nine = [made(question=str(at), large_ms=2000.0) for at in range(9)]
    assert mixed(trace(tmp_path / "nine.jsonl", [*nine, made(question="9")])).always_seconds == 2.0


def test_a_trace_of_the_large_model_alone_is_what_the_mix_stands_against(tmp_path: Path) -> None:
    """If it is of the same model; whether the questions are the same is said."""
    hybrid = [made(question="a", total_ms=500.0)]
    tokens = {"prompt": 1000, "completion": 100}
    alone = [made(question="a", route="llm", draft=None, total_ms=3000.0, tokens=tokens)]
    first = trace(tmp_path / "h.jsonl", hybrid)
    mix = mixed(first, trace(tmp_path / "l.jsonl", alone, mode="llm"))
    assert (mix.always_seconds, mix.always_cents) == (3.0, pytest.approx(0.2))
    assert "Always-LLM is l, where large alone answered the same questions." in mix.notes
    other = [made(question="b", route="llm", draft=None, total_ms=3000.0)]
    assert "other questions" in " ".join(mixed(first, trace(tmp_path / "o.jsonl", other, mode="llm")).notes)
    assert mixed(first, trace(tmp_path / "x.jsonl", alone, mode="llm", models=("x",))).always_seconds is None


def test_a_benchmark_stands_in_for_a_large_model_that_the_run_did_not_time(tmp_path: Path) -> None:
    """It says that its prompts were others."""
    mix = mixed(trace(tmp_path / "t.jsonl", [made(total_ms=500.0)]), write(tmp_path / "b.json", [bench("LARGE", 8.0)]))
    assert (mix.always_seconds, mix.always_cents) == (8.0, pytest.approx(0.2))
    assert any("to other prompts" in note for note in mix.notes)


def test_tokens_that_cannot_be_told_apart_have_no_price(tmp_path: Path) -> None:
    """An escalated row of an older trace has the tokens of both models in one; a kept one has none of the large."""
    mix = mixed(trace(tmp_path / "t.jsonl", [OLD, KEPT]))
    assert (mix.seconds, mix.cents) == (3.5, None)
    assert "3.5 s and an unknown cost a question" in mix.text
    assert mixed(trace(tmp_path / "k.jsonl", [made(total_ms=1000.0)])).cents == 0.0


def test_without_a_price_no_cents(tmp_path: Path) -> None:
    """The seconds stay."""
    mix = mixed(trace(tmp_path / "t.jsonl", [KEPT, ESCALATED]), prices=None)
    assert (mix.seconds, mix.cents, mix.always_cents) == (3.5, None, None)


def test_a_small_model_whose_card_has_a_price_is_paid_for(tmp_path: Path) -> None:
    """Otherwise it runs on the reader's own machine, and that is said."""
    runs = [trace(tmp_path / "t.jsonl", [KEPT, ESCALATED]), write(tmp_path / "b.json", [bench("small")])]
    free, paid = mixed(*runs), mixed(*runs, cards=cards(Card("small", price_in=1.0, price_out=10.0)))
    assert any("its tokens are not paid for" in note for note in free.notes)
    assert paid.cents - free.cents == pytest.approx((500 + 50 * 10) / 1e4)


def test_figures_alone_are_reckoned_with_what_was_benchmarked(tmp_path: Path) -> None:
    """Three in four took the small model alone, one in four both; the small one must be named."""
    figures = {"answer_contains": 0.5, "f1": 0.2, "routes": {"slm": 3, "escalated": 1}, "large_model": "large",
               "total_ms_p50": 900.0}  # fmt: skip
    runs = [write(tmp_path / "e.json", figures), write(tmp_path / "b.json", [bench("small", 1.0), bench("large", 8.0)])]
    mix = mixed(*runs, slm="small")
    assert (mix.seconds, mix.always_seconds, mix.measured) == (3.0, 8.0, False)
    assert (mix.cents, mix.always_cents) == (pytest.approx(0.05), pytest.approx(0.2))
    assert any(note.startswith("Reckoned of the shares") for note in mix.notes)
    unnamed = mixed(*runs)
    assert (unnamed.seconds, unnamed.always_seconds) == (None, 8.0)
    assert (
        unnamed.text == "e: what a question takes at this mix is not known; half of the questions took 0.9 s or less."
    )
    assert any("Name it with --slm" in note for note in unnamed.notes)
    alone = mixed(runs[0], slm="small")
    assert (alone.seconds, alone.always_seconds) == (None, None)
    assert any("small and large were not measured" in note for note in alone.notes)


def test_a_large_model_that_is_the_gold_answers_is_none(tmp_path: Path) -> None:
    """It stood in for a model; it has no name to look up."""
    figures = {"answer_contains": 0.5, "routes": {"slm": 1}, "large_model": "oracle: the gold answers stand in"}
    (run,) = read_recordings([write(tmp_path / "e.json", figures)]).evaluated
    assert run.large_model is None


def test_prices_are_for_a_million_tokens_in_dollars() -> None:
    """A million in and a million out at 0.15 and 0.60 dollars are 75 cents."""
    assert Prices(0.15, 0.60, "").cents(1e6, 1e6) == pytest.approx(75.0)


def test_an_empty_report_is_one_too(tmp_path: Path) -> None:
    """An evaluation alone has no model to choose."""
    report = report_on(trace(tmp_path / "t.jsonl", [made()]))
    assert isinstance(report, Report)
    assert (report.lines, report.pairs, report.choice, len(report.mixes)) == ((), (), (), 1)
