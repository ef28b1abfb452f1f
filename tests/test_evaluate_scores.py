"""What one answer is worth, without a model that judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rag.chunking import Chunk
from rag.encoder import Floats
from rag.events import Answer, Cost, Route
from rag.evidence import Evidence, cite, quotable, quote, sentences_of
from rag.timings import Timings
from rag.workbench import scores

TEXT = "The chat listens on port 8000. It was made in Lyon by two monks.\n\n```\nport = 8000\n```\n"


def evidence() -> tuple[Evidence, ...]:
    """The sentences of a small document."""
    return sentences_of(Chunk(TEXT, "ports.md", heading=("Ports",), end=len(TEXT)))


def answer(text: str, route: Route = "slm", found: Sequence[Evidence] = ()) -> Answer:
    """An answer as the assistant would have cited it."""
    cited = quote(found) if route == "quoted" else cite(text, found)
    return Answer(
        text=text if route == "abstained" else cited.text, model="", route=route, status="complete", reason=None,
        confidence=None, citations=cited.citations, unsupported=cited.unsupported, usage_slm=None, usage_llm=None,
        timings=Timings((), None, 0.0), cost=Cost(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "answers", "value"),
    [
        pytest.param("The Normans!", ["the normans"], 1.0, id="as SQuAD normalises"),
        pytest.param("in 1066 in France", ["France"], 0.4, id="one of four words"),
        pytest.param("red red red", ["red"], 0.5, id="a word counts as often as both have it"),
        pytest.param("port 8000", ["9", "port 8000"], 1.0, id="the best of several"),
        pytest.param("", ["x"], 0.0, id="nothing said"),
        pytest.param("x", [], 0.0, id="nothing known"),
        pytest.param("x", ["the"], 0.0, id="an answer of nothing"),
    ],
)
def test_f1_is_that_of_squad(text: str, answers: list[str], value: float) -> None:
    """Two times what is shared by what both have."""
    assert scores.token_f1(text, answers) == pytest.approx(value)


def test_claims_are_the_sentences_that_citing_marks() -> None:
    """Each with what it cites; code has no mark and is no part of a sentence."""
    text = "The chat listens on port 8000. Monks like Lyon very much.\n\n```\nx[1] = 2\n```\nIt was made in Lyon."
    cited = answer(text, found=evidence())
    found = scores.claims(cited)
    assert [one.text for one in found] == [
        "The chat listens on port 8000.", "Monks like Lyon very much.", "It was made in Lyon.",
    ]  # fmt: skip
    assert [one.evidence is not None for one in found] == [True, False, True]
    assert sum(one.evidence is None for one in found) == cited.unsupported


def test_claims_in_lists_and_tables_are_their_own() -> None:
    """As many as citing counts."""
    text = "Here is what there is:\n\n- port 8000\n- Lyon\n\n| what | where |\n|---|---|\n| monks | Lyon |\n"
    cited = answer(text, found=evidence())
    found = scores.claims(cited)
    assert len(found) == cited.text.count("[")
    assert found[-1].text.strip("| ").split(" | ") == ["monks", "Lyon"]


def test_a_quotation_backs_itself() -> None:
    """Every quoted sentence is a claim with its source; the label above it is none."""
    found = scores.claims(answer("", "quoted", evidence()))
    assert len(found) == scores.right_citations(found) == len(quotable(evidence()))


HEDGE = "The context does not mention it."


@pytest.mark.parametrize(
    ("text", "route", "answers", "silent"),
    [
        pytest.param("The documents do not say.", "abstained", ["documents"], True, id="by its route"),
        pytest.param(HEDGE, "slm", ["8000"], True, id="in the model's words"),
        pytest.param(HEDGE, "slm", [], True, id="rightly"),
        pytest.param("The context does not mention it, but it is 8000.", "slm", ["8000"], False, id="and answers"),
        pytest.param("It is 8000.", "escalated", ["8000"], False, id="an answer"),
    ],
)
def test_silence_is_told_from_answers(text: str, route: Route, answers: list[str], silent: bool) -> None:
    """Whoever gives the answer is not silent, whatever is said besides."""
    assert scores.abstains(answer(text, route, evidence()), answers) is silent


def test_a_quotation_is_never_silence() -> None:
    """A document may say that another one does not say."""
    assert not scores.abstains(answer("", "quoted", sentences_of(Chunk(HEDGE, "a.md", end=len(HEDGE)))))


@pytest.mark.parametrize(
    ("sentence", "source", "backed"),
    [
        pytest.param("The port is 8000.", "Open port 8000.", True, id="all there"),
        pytest.param("The port is 8000.", "Open port 9000.", False, id="another number"),
        pytest.param("red green blue black white", "red green blue", True, id="exactly six in ten"),
        pytest.param("red green blue black white", "red green", False, id="four in ten"),
        pytest.param("It is so.", "", True, id="no content word"),
        pytest.param("Hold the button ten seconds.", "Hold the button 10 seconds.", True, id="a number in words"),
    ],
)
def test_a_source_backs_what_it_has_the_numbers_and_words_of(sentence: str, source: str, backed: bool) -> None:
    """All numbers, and 60 % of the content words."""
    assert scores.is_backed(sentence, source) is backed


def test_a_citation_that_only_a_heading_backs_is_not_right() -> None:
    """The cited sentence alone counts."""
    (under,) = sentences_of(Chunk("It is open.", "a.md", heading=("Firewall", "Port 8000"), end=11))
    claim = scores.Claim("The firewall port 8000 is open.", under)
    assert scores.right_citations([claim, scores.Claim("It is open.", under), scores.Claim("x", None)]) == 1


def test_faithfulness_looks_at_all_evidence_together() -> None:
    """A sentence made of two sources is faithful, though neither alone backs it."""
    mixed = [scores.Claim("Two monks listen on port 8000.", None), scores.Claim("Nobody drinks tea.", None)]
    assert scores.faithfulness(mixed, evidence()) == 0.5
    assert scores.faithfulness([], evidence()) is None
    assert scores.faithfulness(mixed, ()) == 0.0


def test_context_precision_is_the_mean_precision_at_the_places_that_have_the_answer() -> None:
    """First of two: 1. Second: 1/2. Both: 1. Nowhere: 0."""
    first, second = evidence()[:2]
    assert scores.context_precision([first, second], ["8000"]) == 1.0
    assert scores.context_precision([second, first], ["8000"]) == 0.5
    assert scores.context_precision([second, first, first], ["8000"]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.context_precision([first], ["nowhere"]) == 0.0
    assert scores.context_precision([first], ["8000"], "another.md") == 0.0
    assert scores.context_precision([], ["8000"]) == 0.0
    assert scores.context_precision([first], []) is None


class Encoder:
    """Two vectors at an angle of 60 degrees."""

    def encode(self, texts: Sequence[str]) -> Floats:
        return np.array([[1.0, 0.0], [0.5, 3**0.5 / 2]], dtype=np.float32)


def test_relevancy_is_the_cosine_of_question_and_answer() -> None:
    """Silence is worth nothing where there is an answer, and is not measured where there is none."""

    def measured(
        text: str = "x", *, abstained: bool = False, answerable: bool = True, language: str = "en"
    ) -> float | None:
        return scores.answer_relevancy(
            "?", text, abstained=abstained, answerable=answerable, language=language, encoder=Encoder()
        )

    assert measured() == pytest.approx(0.5)
    assert measured(abstained=True) == 0.0
    assert measured(abstained=True, answerable=False) is None
    assert measured("  ") is None
    assert measured(language="sl") is None
    nobody = scores.answer_relevancy("?", "x", abstained=False, answerable=True, language="en", encoder=None)
    assert nobody is None
