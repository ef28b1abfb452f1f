"""Signals of a draft, their weights, and the confidence that comes of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rag.calibration import SHIPPED, VERSION, Calibration, read_calibration, write_calibration
from rag.chunking import Chunk
from rag.confidence import doubt_of, judge, repeats_itself
from rag.errors import CalibrationError
from rag.evidence import cite, sentences_of
from rag.opposites import _OPPOSITES, contradicts, is_negated
from rag.signals import SURENESS, Draft, measure, sureness

EVIDENCE = sentences_of(Chunk("The chat listens on port 8000. The garden needs water.", "x.md"))
QUESTION = "Which port does the chat use?"


SURE, UNSURE = [[-0.1, -2.4]], [[-0.6932, -0.6932]]


def drafted(
    text: str,
    question: str = QUESTION,
    logprobs: list[float] | None = None,
    tops: list[list[float]] | None = None,
) -> Draft:
    """A draft written from the evidence."""
    return Draft(text, question, EVIDENCE, 1.0, logprobs, tops)


def signals(draft: str, question: str = QUESTION, logprobs: list[float] | None = None) -> dict[str, float]:
    """The signals of a draft written from the evidence."""
    return dict(measure(drafted(draft, question, logprobs)))


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        pytest.param(None, None, id="server gives none"),
        pytest.param([], None, id="no tokens"),
        pytest.param([-1.0, -3.0], -2.0, id="mean"),
        pytest.param([0.0], 0.0, id="certain"),
        pytest.param([-1.0, math.nan], None, id="not a number"),
        pytest.param([0.5], None, id="positive cannot be"),
        pytest.param([-math.inf], None, id="infinite"),
    ],
)
def test_absurd_log_probabilities_are_no_signal(logprobs: list[float] | None, expected: float | None) -> None:
    """A null is not certainty, and neither is a number that cannot be a log-probability."""
    assert sureness(drafted("", logprobs=logprobs)).get("logprob") == expected
    assert signals("It listens on 8000.", logprobs=logprobs).get("logprob") == expected


def test_sureness_is_of_the_tokens_and_of_their_rivals() -> None:
    """The least and the first say where the model began to guess; rivals say how near a guess it was."""
    found = sureness(drafted("", logprobs=[-2.0, -0.5, -1.0], tops=[[-0.2, -9.0], [-0.5, -1.5], [-1.0, -1.0]]))
    assert (found["least_logprob"], found["first_logprob"]) == (-2.0, -2.0)
    assert found["margin"] == pytest.approx((5.0 + 1.0 + 0.0) / 3)
    sure, unsure = (sureness(drafted("", logprobs=[-0.7], tops=tops))["entropy"] for tops in (SURE, UNSURE))
    assert 0 < sure < unsure == pytest.approx(math.log(2), abs=0.01)


def test_one_token_that_nobody_expected_does_not_decide_alone() -> None:
    """Servers write -9999 for it."""
    assert sureness(drafted("", logprobs=[-9999.0, -0.1]))["least_logprob"] == -10.0


@pytest.mark.parametrize("number", ["127.0.0.1", "1,2,3", "1..2", "१२", "3.0", "-5", "ten", "1.2.3-4", "9" * 400])
def test_a_number_that_stands_in_the_evidence_is_not_invented(number: str) -> None:
    """However it is written, and however odd."""
    evidence = sentences_of(Chunk(f"It is {number} of all.", "x.md"))
    assert Draft(f"So it is {number}!", QUESTION, evidence).invented_numbers == []


def test_a_very_long_draft_is_judged_by_its_beginning() -> None:
    """Judging happens between two tokens."""
    long = drafted("It is 7. " + "word " * 2_000 + "Port 9000.")
    assert (len(long.head), long.invented_numbers) == (4_000, ["7"])


def test_what_is_no_number_is_no_certainty() -> None:
    """A NaN on the way must not keep a draft."""
    assert judge(Draft("8000", QUESTION, EVIDENCE, math.nan)).value == 0.0


@pytest.mark.parametrize(
    "tops",
    [
        pytest.param(None, id="none"),
        pytest.param([], id="empty"),
        pytest.param([[-0.1]], id="no rival"),
        pytest.param([[-0.1, -3.0], [-0.1, -3.0]], id="of other tokens"),
        pytest.param([[0.5, -3.0]], id="positive"),
        pytest.param([[-0.1, math.nan]], id="not a number"),
    ],
)
def test_absurd_rivals_are_no_signal(tops: list[list[float]] | None) -> None:
    """The tokens' own log-probabilities still are; a calibration that needs both is not used then."""
    assert set(sureness(drafted("", logprobs=[-0.1], tops=tops))) == SURENESS - {"margin", "entropy"}
    assert judge(drafted("It listens on 8000.", logprobs=[-0.1], tops=tops)).signal == "support"
    only_the_mean = Calibration("model", {"bias": 0.0, "logprob": 1.0}, {"bias": 0.0})
    assert judge(drafted("8000", logprobs=[-0.1], tops=tops), calibration=only_the_mean).signal == "logprob+support"


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        pytest.param("It listens on 8000.", 1.0, id="all new words found"),
        pytest.param("Port of the chat.", 0.0, id="only repeats the question"),
        pytest.param("It is 9000.", 0.0, id="none found"),
        pytest.param("It listens in the garden.", 0.5, id="words of another sentence do not count"),
        pytest.param("", 0.0, id="empty"),
    ],
)
def test_support_counts_new_words_in_the_top_sentence(draft: str, expected: float) -> None:
    """Words scattered over several sentences are not support, nor are the question's own."""
    assert signals(draft)["support"] == expected


@pytest.mark.parametrize(
    ("name", "draft", "question", "expected"),
    [
        pytest.param("agreement", "It listens on 8000.", QUESTION, 1.0, id="tells all of the sentence"),
        pytest.param("agreement", "On 8000.", QUESTION, 0.5, id="tells half of it"),
        pytest.param("run", "The chat listens on port 8000.", QUESTION, 1.0, id="word for word"),
        pytest.param("run", "8000 listens.", QUESTION, 0.5, id="in another order"),
        pytest.param("echo", "8000", "Who listens on port 8000?", 1.0, id="the sentence is the question"),
        pytest.param("distance", "It is 8000.", QUESTION, 0.1, id="beside the question's words"),
        pytest.param("distance", "It is 9000.", QUESTION, 1.0, id="nowhere"),
        pytest.param("negated", "8000", "Which port is not used?", 1.0, id="a question with a negation"),
        pytest.param("negated", "8000", QUESTION, 0.0, id="a question without one"),
        pytest.param("foreign_number", "8000", "What listens on port 9000?", 1.0, id="a number of its own"),
        pytest.param("foreign_number", "8000", "What listens on port 8000?", 0.0, id="the evidence's number"),
        pytest.param("foreign_name", "8000", "Which port does the Router use?", 1.0, id="a name of its own"),
        pytest.param("kind", "It is 8000.", "How many ports are there?", 1.0, id="a number was asked for"),
        pytest.param("kind", "It is a port.", "How many ports are there?", -1.0, id="and is not there"),
        pytest.param("kind", "It was Ada.", "Who chose the port?", 1.0, id="a name was asked for"),
        pytest.param("kind", "It was chosen.", "Who chose the port?", -1.0, id="and nobody is named"),
        pytest.param("yes_or_no", "Yes.", "Does the chat listen?", 1.0, id="yes or no"),
        pytest.param("nothing_new", "The chat uses a port.", QUESTION, 1.0, id="only the question again"),
        pytest.param("focus", "8000", QUESTION, 1.0, id="all of one chunk"),
        pytest.param("lead", "8000", QUESTION, 0.0, id="two that bear on it alike"),
        pytest.param("invented_number", "It is 20 MB.", QUESTION, 1.0, id="a number from nowhere"),
        pytest.param("invented_number", "Port 9000 is not 8000.", "Is it 9000?", 0.0, id="the question's number"),
        pytest.param("invented_name", "It is in Lyon.", QUESTION, 1.0, id="a name from nowhere"),
        pytest.param("invented_name", "It is the Chat's port.", QUESTION, 0.0, id="a name with an ending"),
        pytest.param("hedged", "The context does not mention a port.", QUESTION, 1.0, id="says that nothing is said"),
        pytest.param("repetition", "red door red door red door", QUESTION, 0.6, id="says it again"),
        pytest.param("length", "It listens on 8000.", QUESTION, 0.05, id="two words of forty"),
        pytest.param("long_evidence", "8000", QUESTION, 0.1, id="four words of forty"),
    ],
)
def test_a_signal_says_what_its_name_says(name: str, draft: str, question: str, expected: float) -> None:
    """Each can be seen in the draft, the question and the evidence alone."""
    assert signals(draft, question)[name] == pytest.approx(expected)


@pytest.mark.parametrize("draft", ["", " ", "…", "\x00", "word " * 5000], ids=["empty", "space", "mark", "NUL", "long"])
def test_signals_of_odd_drafts_are_numbers(draft: str) -> None:
    """Whatever a model writes, also with no evidence at all."""
    for evidence in (EVIDENCE, ()):
        values = measure(Draft(draft, QUESTION, evidence)).values()
        assert all(math.isfinite(value) and -1 <= value <= 1 for value in values)


def test_a_very_long_question_is_judged_by_its_beginning() -> None:
    """In any script: judging happens between two tokens."""
    evidence = sentences_of(Chunk("端口是八千。" * 100, "x.md", language="zh"))
    draft = Draft("端口是八千。" * 100, "端口是什么?" * 1000, evidence)
    assert max(len(draft.said), len(draft.best)) <= 200
    assert measure(draft)["echo"] == measure(Draft(draft.text, "端口是什么?" * 100, evidence))["echo"]


def test_the_signal_says_what_the_score_was_made_of() -> None:
    """Without log-probabilities the ladder steps down and says so."""
    assert judge(drafted("It listens on 8000.", logprobs=[-0.1], tops=SURE)).signal == "logprob+support"
    assert judge(drafted("It listens on 8000.")).signal == "support"
    assert judge(drafted("It listens on 8000.", logprobs=[math.nan], tops=SURE)).signal == "support"


def test_the_parts_add_up_to_the_confidence() -> None:
    """What the card shows is what was decided by."""
    confidence = judge(drafted("It listens on 8000.", logprobs=[-0.1], tops=SURE))
    total = sum(part.value * part.weight for part in confidence.parts)
    assert confidence.value == pytest.approx(1 / (1 + math.exp(-total)))
    assert {part.name for part in confidence.parts} == {"bias", *signals("It listens on 8000."), *SURENESS}


def test_every_signal_has_a_weight_in_the_shipped_calibration() -> None:
    """A signal without one would be computed for nothing; a weight without a signal would be a misspelling."""
    names = {"bias", *signals("8000")}
    assert set(SHIPPED.with_logprobs) == names | SURENESS
    assert set(SHIPPED.without_logprobs) == names


def test_a_supported_draft_has_more_confidence_than_one_that_is_made_up() -> None:
    """And always between 0 and 1."""
    for logprobs, tops in (([-0.1], SURE), (None, None)):
        good = judge(drafted("The chat listens on port 8000.", logprobs=logprobs, tops=tops)).value
        made_up = judge(drafted("Monks in Lyon brewed it.", logprobs=logprobs, tops=tops)).value
        assert 0 < made_up < good < 1


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        pytest.param("The chat listens on port 8000.", None, id="nothing against it"),
        pytest.param("The embedded model is 20 MB.", "the documents do not say 20", id="a number from nowhere"),
        pytest.param("The chat listens on port 8000 [1].", None, id="a citation mark"),
        pytest.param("1. The chat listens on port 8000.\n2. The garden needs water.", None, id="a numbered list"),
        pytest.param("## Step 2\n\nThe chat listens on port 8000.", None, id="a heading"),
        pytest.param("The chat listens on port 8,000.", None, id="with a separator"),
        pytest.param("The chat listens on port 8000.0.", None, id="with decimals"),
        pytest.param("The chat listens on port 8.000.", None, id="with the other separator"),
        pytest.param("`x = 7`\n\nThe chat listens on port 8000.", None, id="in code"),
        pytest.param("The chat listens on port 8000 of 127.0.0.1.", "the documents do not say 127.0.0.1", id="address"),
        pytest.param("There are two: the chat listens on port 8000.", None, id="counted in words"),
        pytest.param("The text does not say.", "the draft says that the documents do not say", id="says nothing"),
        pytest.param("The text does not say why. The chat listens on port 8000.", None, id="and says something"),
        pytest.param("It is in Lyon.", None, id="a name alone may be another spelling"),
    ],
)
def test_some_words_speak_against_a_draft_whatever_its_confidence(text: str, doubt: str | None) -> None:
    """'The embedded model is 20 MB.' once had a confidence of 0.62; the documents say 98."""
    draft = drafted(text)
    assert doubt_of(draft, cite(draft.text, draft.evidence)) == doubt


def test_what_the_documents_bear_out_is_no_hedge() -> None:
    """'Sources are not given' may be just what they say."""
    said = "Sources are not given for code blocks."
    draft = Draft(said, "Are sources given for code?", sentences_of(Chunk(said, "x.md")))
    assert doubt_of(draft, cite(draft.text, draft.evidence)) is None


def test_a_draft_without_one_sentence_that_can_be_cited_is_bare() -> None:
    """One that can be is enough: the others carry their mark."""
    assert cite("Monks in Lyon brewed it.", EVIDENCE).is_bare
    assert not cite("The chat listens on port 8000. Monks in Lyon brewed it.", EVIDENCE).is_bare
    assert not cite("```\nchainlit run app.py\n```", EVIDENCE).is_bare  # code claims nothing


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And is all there is in the folder: no half of one stays behind."""
    path = tmp_path / "calibration.json"
    calibration = Calibration("model", {"bias": 0.5, "support": 1}, {"bias": -1.0}, 60, 0.45, "95 %")
    write_calibration(path, calibration)
    assert read_calibration(path) == calibration
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "no calibration that can be read", id="empty"),
        pytest.param(b"\xff\xfe", "no calibration that can be read", id="not UTF-8"),
        pytest.param(b"[" * 5000, "no calibration that can be read", id="nested"),
        pytest.param(b"[]", "version None", id="no object"),
        pytest.param(b'{"version": 0}', "version 0", id="another version"),
        pytest.param(json.dumps({"version": VERSION}).encode(), "is damaged", id="nothing in it"),
        pytest.param(b" " * 200_000, "too large", id="large"),
    ],
)
def test_a_broken_calibration_is_told_of_with_its_name(tmp_path: Path, content: bytes, says: str) -> None:
    """And with the way to make it again."""
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=says) as error:
        read_calibration(path)
    assert str(path) in str(error.value)
    assert "rag calibrate" in str(error.value)


@pytest.mark.parametrize("weight", ["1", None, True, 10**400, 1e300, "NaN", "Infinity"])
def test_a_weight_that_is_no_number_is_damage(tmp_path: Path, weight: object) -> None:
    """It would be a confidence of nothing."""
    path = tmp_path / "calibration.json"
    write_calibration(path, Calibration("model", {"bias": 0.5}, {"bias": 0.5}))
    body = json.loads(path.read_text()) | {"with_logprobs": {"bias": "here"}}
    path.write_text(json.dumps(body).replace('"here"', weight if weight in ("NaN", "Infinity") else json.dumps(weight)))
    with pytest.raises(CalibrationError, match="damaged"):
        read_calibration(path)


@pytest.mark.parametrize("language", sorted(_OPPOSITES))
def test_opposites_are_pairs_in_every_language(language: str) -> None:
    """A missing space between two pairs once broke every answer from Spanish and Portuguese documents."""
    for pair in _OPPOSITES[language].split():
        one, other = pair.split("/")
        assert contradicts(f"x {one}", f"x {other}", language) or is_negated(one, language)


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        pytest.param("", False, id="empty"),
        pytest.param("Open the port. Close the port. Open the door.", False, id="similar sentences"),
        pytest.param("a b c d e f a b c d e f", True, id="the same six words twice"),
        pytest.param("a b c d e f x a b c d e", False, id="five are not enough"),
        pytest.param("yes " * 12, True, id="one word"),
        pytest.param("東京塔は港区にあります。" * 2, True, id="a script without spaces"),
        pytest.param("東京塔は港区にあります。東京塔の高さは三百三十三です。", False, id="the same name twice"),
    ],
)
def test_a_loop_is_the_same_words_in_the_same_order_again(draft: str, expected: bool) -> None:
    """Six words in a row at the end that were said before."""
    assert repeats_itself(draft) is expected
