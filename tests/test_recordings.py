"""Recordings are told apart by what is in them, and what is wrong with one is named where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import RagError
from rag.workbench.recordings import Measured, RecordingError, read_recordings
from tests.report_kit import bench, compare, trace, write
from tests.test_evaluate_figures import made

WORKSHOP = {
    "alias": "phi-4-mini", "latency_avg": 38.8, "latency_p95": 44.0, "tokens_per_sec_avg": 5.2, "rounds": 3,
    "first_token_latency_avg": None,
}  # fmt: skip
FIGURES = {"questions": 4, "answer_contains": 0.5, "f1": 0.25, "routes": {"slm": 3, "escalated": 1}}


def rows_of(path: Path, *rows: Any) -> tuple[Measured, ...]:
    """What is read of a file with these rows."""
    return read_recordings([write(path, list(rows))]).measured


def test_each_file_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Bench, compare, figures and a trace, in one report, whatever they are called."""
    found = read_recordings([
        write(tmp_path / "a.json", [bench()]), write(tmp_path / "b.txt", [compare()]),
        write(tmp_path / "c", FIGURES), trace(tmp_path / "d.json", [made()]),
    ])  # fmt: skip
    assert [(one.kind, one.label) for one in found.measured] == [("bench", "cpu"), ("compare", "b")]
    assert [(one.label, one.mode, one.questions, len(one.rows)) for one in found.evaluated] == [
        ("c", None, 4, 0),
        ("d", "hybrid", 1, 1),
    ]
    assert found.notes == ()


def test_a_file_of_the_original_workshop_is_read(tmp_path: Path) -> None:
    """Its six names are enough; its tokens a second are known to count the prompt's."""
    fine, failed = rows_of(tmp_path / "old.json", WORKSHOP, {"alias": "gpt-oss-20b", "error": "timed out"})
    assert (fine.latency_avg, fine.rounds, fine.first_token_latency_avg, fine.memory_mb) == (38.8, 3, None, None)
    assert (fine.workshop, fine.label, fine.failed) == (True, "old", False)
    assert (failed.failed, failed.error, failed.kind) == (True, "timed out", "bench")
    assert rows_of(tmp_path / "new.json", bench())[0].workshop is False


def test_a_compared_answer_has_the_same_names_as_a_benchmark(tmp_path: Path) -> None:
    """One round; `tokens` are the answer's where the prompt's are known, and the sum of both in the workshop's."""
    ours, theirs, failed = rows_of(
        tmp_path / "x.json",
        compare(first_token_latency_sec=0.5, scores={"coherence": 4, "factuality": None, "brevity": 3}),
        {"alias": "old", "latency_sec": 1.5, "tokens": 70, "sample": "…"},
        {"alias": "bad", "error": "no such model"},
    )
    assert (ours.latency_avg, ours.rounds, ours.first_token_latency_avg) == (2.0, 1, 0.5)
    assert (ours.prompt_tokens_avg, ours.completion_tokens_avg, ours.tokens) == (100, 40, None)
    assert ours.scores == {"coherence": 4.0, "brevity": 3.0}
    assert (theirs.prompt_tokens_avg, theirs.completion_tokens_avg, theirs.tokens) == (None, None, 70)
    assert (failed.kind, failed.failed) == ("compare", True)


def test_what_a_compared_model_thought_is_among_what_is_billed(tmp_path: Path) -> None:
    """A report prices it; `tokens` alone would leave it out."""
    (one,) = rows_of(tmp_path / "x.json", compare(completion_tokens=1000, reasoning_tokens=960))
    assert (one.prompt_tokens_avg, one.completion_tokens_avg, one.reasoning_tokens_avg) == (100, 1000, 960)
    assert one.tokens is None


def test_a_label_that_has_the_alias_already_gets_a_number(tmp_path: Path) -> None:
    """Nothing is lost, the models of one run stay under one label, and it is told."""
    first = write(tmp_path / "one.json", [bench("a"), bench("b")])
    second = write(tmp_path / "two.json", [bench("b"), bench("c"), bench("c")])
    found = read_recordings([first, second, first])
    assert [(one.alias, one.label) for one in found.measured] == [
        ("a", "cpu"), ("b", "cpu"), ("b", "cpu (2)"), ("c", "cpu (2)"), ("c", "cpu (3)"),
    ]  # fmt: skip
    assert "one.json is named twice and read once." in found.notes
    assert "b is there twice under the label cpu; that of two.json is called cpu (2)." in found.notes


def test_two_evaluations_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """The later one is called as its whole file is."""
    (tmp_path / "other").mkdir()
    places = ("run.json", "run.jsonl", "other/run.json", "other/run.jsonl")
    found = read_recordings([write(tmp_path / place, FIGURES) for place in places])
    assert [one.label for one in found.evaluated] == ["run", "run.jsonl", "run.json", "run.jsonl (2)"]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param("a laptop", "a laptop", id="in words"),
        pytest.param({"cores": 2, "memory_gb": 25.3}, "2 cores, 25.3 GB of memory", id="in fields"),
        pytest.param({"cores": 2, "memory_gb": None, "gpu": "H200"}, "2 cores, gpu H200", id="in other fields"),
        pytest.param({}, None, id="in no fields"),
        pytest.param(None, None, id="not recorded"),
    ],
)
def test_a_machine_is_words(tmp_path: Path, machine: Any, expected: str | None) -> None:
    """So that two of them can be compared and shown."""
    assert rows_of(tmp_path / "x.json", bench(machine=machine))[0].machine == expected


def test_what_a_recording_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    """An alias is one line of letters; half a character is left out; a label falls back to the file's name."""
    row = bench("phi\x1b[31m\n-4\u202e\ud800", label="", sample="one\n\x07two")
    (one,) = rows_of(tmp_path / "x.json", row)
    assert (one.alias, one.label, one.sample) == ("phi[31m -4", "x", "one\ntwo")
    (long,) = rows_of(tmp_path / "x.json", bench("m" * 1000))
    assert len(long.alias) == 120


@pytest.mark.parametrize(
    ("facets", "expected"),
    [
        pytest.param(None, None, id="not measured"),
        pytest.param(0, 0.0, id="none found"),
        pytest.param(0.75, 0.75, id="a share"),
        pytest.param({"Paris": True, "Seine": False}, 0.5, id="by name"),
        pytest.param({}, None, id="none expected"),
    ],
)
def test_facets_are_a_share(tmp_path: Path, facets: Any, expected: float | None) -> None:
    """Not known is never 0, and 0 is not unknown."""
    assert rows_of(tmp_path / "x.json", bench(facets=facets))[0].facets == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "x.json is not JSON (", id="not JSON"),
        pytest.param("", "is not JSON (", id="empty file"),
        pytest.param("[" * 100_000, "too deep", id="too deep"),
        pytest.param([], "x.json is an empty list: nothing was measured", id="empty list"),
        pytest.param([1, "two"], "x.json is a list without an alias in it", id="a list of other things"),
        pytest.param([{"question": "?"}], "is a list without an alias", id="rows of something else"),
        pytest.param({"a": 1}, "x.json is no list of rows", id="an object of something else"),
        pytest.param({"evidence_recall": 0.5}, "the figures of a search", id="a search"),
        pytest.param([bench(), 7], "x.json, row 2 must be an object with an alias, was: 7", id="a row that is none"),
        pytest.param([bench(), {"latency_avg": 1}], "row 2: alias must be a text", id="no alias"),
        pytest.param([bench(" ")], "row 1: alias must be a text that is not empty", id="an empty alias"),
        pytest.param([bench(latency_p95="2 s")], 'row 1: latency_p95 must be a number', id="a text for a number"),
        pytest.param([bench(latency_p95="2 s")], 'was: "2 s"', id="the value is named"),
        pytest.param([bench(rounds=True)], "row 1: rounds must be a number", id="true for a number"),
        pytest.param([bench(latency_avg=-0.1)], "latency_avg must be a number from 0 to 1e+12, or null, was: -0.1",
                     id="negative"),
        pytest.param([bench(latency_avg=float("nan"))], "latency_avg must be a number", id="NaN"),
        pytest.param([bench(memory_mb=float("inf"))], "memory_mb must be a number", id="infinite"),
        pytest.param([bench(memory_mb=10**400)], "memory_mb must be a number", id="beyond a float"),
        pytest.param([bench(where=["a"])], "row 1: where must be a text or null", id="a list for a text"),
        pytest.param([bench(label=3)], "row 1: label must be a text or null, was: 3", id="a number for a label"),
        pytest.param([bench(facets=75)], "facets must be a number from 0 to 1", id="facets in percent"),
        pytest.param([compare(latency=-1)], "row 1: latency_sec must be a number", id="negative in compare"),
        pytest.param([compare(scores=[4])], "row 1: scores must be an object or null", id="scores"),
        pytest.param([compare(scores={"brevity": 6})], "scores: brevity must be a number from 0 to 5", id="a score"),
        pytest.param(FIGURES | {"routes": {}}, "routes must be an object with counts", id="no routes"),
        pytest.param(FIGURES | {"routes": {"slm": "3"}}, "routes must be a number", id="a text for a count"),
        pytest.param(FIGURES | {"routes": {"slm": 0}}, "no question took any route", id="no question"),
        pytest.param(FIGURES | {"f1": 2}, "f1 must be a number from 0 to 1", id="a share above 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_where_it_stands(tmp_path: Path, content: Any, message: str) -> None:
    """File, row, field and value, and never a traceback."""
    with pytest.raises(RecordingError) as caught:
        read_recordings([write(tmp_path / "x.json", content)])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"total_ms": "fast"}, "question 1: total_ms must be a number", id="a time"),
        pytest.param({"total_ms": None}, "question 1: total_ms must be a number", id="no time"),
        pytest.param({"answer_right": "yes"}, "question 1: answer_right must be true or false", id="a judgement"),
        pytest.param({"tokens": {"prompt": 3}}, "question 1: tokens must be an object with two counts", id="tokens"),
        pytest.param({"usage": [1]}, "question 1: usage must be an object or null", id="usage"),
        pytest.param({"history": 7}, "has a question that is none", id="history"),
    ],
)
def test_a_trace_with_a_wrong_type_is_told(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    """What reads traces elsewhere only knows that the names are there."""
    with pytest.raises(RagError) as caught:
        read_recordings([trace(tmp_path / "t.jsonl", [made(**values)])])
    assert message in str(caught.value)


def test_a_trace_that_is_only_begun_has_nothing_to_tell(tmp_path: Path) -> None:
    """It has its first line alone."""
    with pytest.raises(RecordingError, match="has no question in it yet"):
        read_recordings([trace(tmp_path / "t.jsonl", [])])


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    with pytest.raises(RecordingError, match="There is no file"):
        read_recordings([tmp_path / "none.json"])
    with pytest.raises(RecordingError, match="cannot be read"):
        read_recordings([tmp_path])
    (tmp_path / "ring.json").symlink_to(tmp_path / "ring.json")
    with pytest.raises(RecordingError, match="cannot be read"):
        read_recordings([tmp_path / "ring.json"])
    (tmp_path / "x.json").write_bytes(b"\xff\xfe[\x00]\x00")
    with pytest.raises(RecordingError, match="is not JSON"):
        read_recordings([tmp_path / "x.json"])
