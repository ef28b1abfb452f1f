"""Measuring the search against known answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rag.errors import QuestionError
from rag.ingest import Ingest
from rag.shelf import Shelf
from rag.workbench.evaluate import Evaluation, Found, summed_up
from rag.workbench.questions import Known, has_answer, read_questions


@pytest.mark.parametrize(
    ("text", "answers", "right"),
    [
        pytest.param("The port is 8000.", ["8000"], True, id="a part"),
        pytest.param("It was built by “the Normans”!", ["Normans"], True, id="punctuation and articles"),
        pytest.param("a great BATTLE", ["the Great battle"], True, id="case"),
        pytest.param("सेवा पोर्ट ५ हो।", ["पोर्ट ५"], True, id="another script"),
        pytest.param("Nothing here.", ["8000"], False, id="not there"),
        pytest.param("Nothing here.", ["the", "!"], False, id="an answer of nothing"),
        pytest.param("Nothing here.", [], False, id="no answer"),
    ],
)
def test_an_answer_is_found_as_squad_normalises(text: str, answers: list[str], right: bool) -> None:
    """Without case, punctuation and English articles."""
    assert has_answer(text, answers) is right


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        pytest.param("anything at all", "A.A.", False, id="letters that only punctuation makes articles"),
        pytest.param("He is in A.A. now.", "A.A.", True, id="those letters"),
        pytest.param("There is 1 thing", "A-1", False, id="an article of punctuation before a number"),
        pytest.param("Take exit A-1.", "A-1", True, id="that exit"),
        pytest.param("It takes 1.5 s.", "5", False, id="behind a point"),
        pytest.param("It takes 1.5 s.", "1.5", True, id="with its point"),
        pytest.param("Up to 5,000 of them", "5", False, id="before a comma"),
        pytest.param("Up to 5,000 of them", "5000", True, id="thousands"),
        pytest.param("One, 5, or 7.", "5", True, id="in a list"),
        pytest.param("On http://127.0.0.1:8000/", "8000", True, id="a part of an address"),
        pytest.param("नेपाली भाषा", "नेपाल", False, id="before a vowel sign"),
        pytest.param("हाम्रो नेपाल।", "नेपाल", True, id="before a danda"),
        pytest.param("Gro\u0308\u00dfe: 5 m", "gr\u00f6\u00dfe", True, id="decomposed"),
        pytest.param("\uff15\uff10 percent", "50", True, id="full width"),
        pytest.param("서울은 크다", "서울", True, id="before a particle"),
        pytest.param("15개", "5", False, id="a number before Hangul"),
        pytest.param("15개", "15", True, id="the whole number before Hangul"),
    ],
)
def test_an_answer_is_found_in_whole_words(text: str, answer: str, right: bool) -> None:
    """In numbers with their points, with vowel signs, in either way to write a letter; in Korean, before particles."""
    assert has_answer(text, [answer]) is right


def test_a_question_is_looked_up_as_the_chat_would(docs: Path) -> None:
    """The place of the first right hit, the evidence, and sizes in words."""
    ingest = Ingest(docs)
    evaluation = Evaluation(ingest.updated(Shelf()), k=4, evidence_tokens=100)
    found = evaluation.look_up(Known("Which port does the chat listen on?", ("8000",), "ports.md"))
    assert (found.place, found.in_evidence) == (1, True)
    assert 0 < found.evidence_words <= found.context_words
    elsewhere = evaluation.look_up(Known("Which port does the chat listen on?", ("8000",), "home/garden.txt"))
    assert (elsewhere.place, elsewhere.in_evidence) == (None, False)
    ingest.close()


def test_a_copy_of_the_named_document_counts(docs: Path) -> None:
    """The hit names both; either is where the answer is."""
    (docs / "a-copy.md").write_text((docs / "ports.md").read_text(encoding="utf-8"), encoding="utf-8")
    ingest = Ingest(docs)
    evaluation = Evaluation(ingest.updated(Shelf()), k=4, evidence_tokens=100)
    for name in ("ports.md", "a-copy.md"):
        assert evaluation.look_up(Known("Which port?", ("8000",), name)).place == 1
    ingest.close()


def test_figures_are_shares_over_all_questions() -> None:
    """Recall counts what is among the first hits; a miss counts as zero in every figure."""
    known = Known("?", ("x",))
    found = [
        Found(known, 1, True, 100, 50, 0.001),
        Found(known, 4, False, 300, 30, 0.003),
        Found(known, None, False, 200, 40, 0.002),
        Found(known, 10, False, 0, 0, 0.002),
    ]
    figures = summed_up(found)
    assert [figures[f"answer_recall@{depth}"] for depth in (1, 3, 5, 10)] == [0.25, 0.25, 0.5, 0.75]
    assert figures["mrr@10"] == pytest.approx((1 + 1 / 4 + 1 / 10) / 4, abs=1e-4)
    assert (figures["context_words@5"], figures["evidence_words"]) == (150, 30)
    assert (figures["evidence_recall"], figures["questions"], figures["search_ms_p50"]) == (0.25, 4, 2)
    assert summed_up(found[:1])["search_ms_p95"] == 1
    with pytest.raises(ValueError, match="was: none"):
        summed_up([])


def test_a_follow_up_is_looked_up_with_the_subject_of_its_conversation(docs: Path) -> None:
    """As the chat searches: alone it would find nothing."""
    ingest = Ingest(docs)
    evaluation = Evaluation(ingest.updated(Shelf()), k=4, evidence_tokens=100)
    earlier = ("How do I use the reset button?",)
    assert evaluation.look_up(Known("And for how long?", ("ten seconds",), "ports.md")).place is None
    assert evaluation.look_up(Known("And for how long?", ("ten seconds",), "ports.md", earlier)).place == 1
    ingest.close()


def written(path: Path, *lines: object) -> Path:
    """A file with these lines; what is no text becomes JSON."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts), encoding="utf-8", errors="surrogateescape")
    return path


def test_questions_are_read_from_json_lines(tmp_path: Path) -> None:
    """Empty lines are passed over; no answers means that the documents do not answer."""
    path = written(
        tmp_path / "qa.jsonl",
        '\ufeff{"question": "Why?", "answers": ["so"], "document": "a.md"}',
        "",
        {"question": "How?", "answers": [], "false_premise": True},
        {"question": "And when?", "answers": ["now"], "history": ["Why?"]},
        "",
    )
    questions = read_questions(path)
    assert questions.known == (
        Known("Why?", ("so",), "a.md"),
        Known("How?", (), false_premise=True),
        Known("And when?", ("now",), history=("Why?",)),
    )
    assert questions.faults == ()


GOOD = {"question": "Who?", "answers": ["she"]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param('{"question"', "line 2 is not JSON", id="cut short"),
        pytest.param('{"question": "Why?"}', "line 2 must be", id="no answers"),
        pytest.param('{"question": " ", "answers": []}', "line 2 must be", id="empty question"),
        pytest.param('{"question": "Why?", "answers": [3]}', 'line 2: "answers" must be', id="a number as answer"),
        pytest.param('{"question": "Why?", "answers": [" "]}', 'line 2: "answers" must be', id="an empty answer"),
        pytest.param('["Why?"]', "line 2 must be", id="a list"),
        pytest.param("\udce9", "line 2 is not UTF-8", id="another encoding"),
        pytest.param("[" * 100_000, "line 2 is not JSON", id="too deep"),
        pytest.param(
            '{"question": "Why?", "answers": [], "history": "Who?"}', '"history" must be a list', id="history"
        ),
        pytest.param('{"question": "Why?", "answers": [], "history": [" "]}', '"history" must be a list', id="blank"),
        pytest.param(
            '{"question": "Why?", "answers": [], "false_premise": 1}', '"false_premise" must be', id="premise"
        ),
        pytest.param('{"question": "Why?", "answers": ["so"], "false_premise": true}', "only where", id="both"),
        pytest.param(json.dumps(GOOD), "line 2 is the same as line 1 and is left out: Who?", id="twice"),
    ],
)
def test_a_bad_line_is_told_of_and_the_rest_is_asked(tmp_path: Path, content: str, sentence: str) -> None:
    """What is wrong, where, and what it should be; a thousand questions are not lost for one."""
    questions = read_questions(written(tmp_path / "qa.jsonl", GOOD, content, {"question": "Whose?", "answers": []}))
    assert [one.question for one in questions.known] == ["Who?", "Whose?"]
    (fault,) = questions.faults
    assert sentence in fault
    assert str(tmp_path / "qa.jsonl, line 2") in fault


def test_the_same_words_after_other_questions_are_another_question(tmp_path: Path) -> None:
    """'And its port?' asks for something else in each conversation, and in each document."""
    follow_up = {"question": "And its port?", "answers": ["1"]}
    variants = [follow_up, {**follow_up, "history": ["What is A?"]}, {**follow_up, "document": "b.md"}]
    assert len(read_questions(written(tmp_path / "qa.jsonl", *variants)).known) == 3


def test_of_very_many_faults_some_are_told_and_the_others_counted(tmp_path: Path) -> None:
    """A file of another kind must not fill the screen."""
    questions = read_questions(written(tmp_path / "qa.jsonl", GOOD, *["no JSON"] * 50))
    assert len(questions.faults) == 50
    assert len(questions.told) == 21
    assert questions.told[-1] == "… and 30 more lines that are left out."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", "has no questions", id="empty"),
        pytest.param(b"nothing\n", "line 1 is not JSON", id="no good line"),
        pytest.param('{"question": "Wo?"}\nüber'.encode("latin-1"), "line 2 is not UTF-8. Save it", id="Latin-1"),
    ],
)
def test_a_file_without_a_question_is_an_error(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Nothing would be measured; the sentence says what is wrong with it."""
    path = tmp_path / "qa.jsonl"
    path.write_bytes(content)
    with pytest.raises(QuestionError, match=sentence):
        read_questions(path)


def test_a_missing_file_of_questions_is_a_sentence(tmp_path: Path) -> None:
    """No traceback for a wrong path."""
    with pytest.raises(QuestionError, match="there is no such file"):
        read_questions(tmp_path / "none.jsonl")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe would never end."""
    os.mkfifo(tmp_path / "qa.jsonl")
    with pytest.raises(QuestionError, match="is no file of questions"):
        read_questions(tmp_path / "qa.jsonl")


def test_line_ends_inside_a_string_are_part_of_it(tmp_path: Path) -> None:
    """JSON allows them; only a newline ends a line of JSON Lines."""
    path = tmp_path / "qa.jsonl"
    path.write_text('{"question": "Why\u2028so?", "answers": []}', encoding="utf-8")
    assert read_questions(path).known == (Known("Why\u2028so?", ()),)
