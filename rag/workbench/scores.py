"""What one answer is worth, without a model that judges: by its words, its numbers and its sources."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rag.encoder import LANGUAGES
from rag.events import Answer
from rag.evidence import MIN_SUPPORT, Evidence
from rag.hedging import hedges
from rag.meanings import Encodes
from rag.text import numbers, sentences, words
from rag.workbench.questions import has_answer, normal

_CODE_OR_MARK = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\[(?P<number>[1-9]\d{0,2}|no source)\](?!\()", re.DOTALL)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Claim:
    """
    A sentence of an answer.

    Attributes:
        text: without its mark.
        evidence: what it cites; None: `[no source]`.
    """

    text: str
    evidence: Evidence | None


def token_f1(text: str, answers: Sequence[str]) -> float:
    """
    The F1 of the words that a text shares with the answer it is nearest to, 0 to 1; 0 where there is no answer.

    Words are what white space parts after `normal`, as in SQuAD; scripts without spaces give few of them.

    Source: Rajpurkar et al. (2016).

    >>> token_f1("It is port 8000.", ["the port 8000", "9"])
    0.6666666666666666
    """
    said = Counter(normal(text).split())
    return max((_f1(said, Counter(normal(answer).split())) for answer in answers), default=0.0)


def _f1(said: Counter[str], gold: Counter[str]) -> float:
    shared = (said & gold).total()
    return 2 * shared / (said.total() + gold.total()) if shared else 0.0


def abstains(answer: Answer, answers: Sequence[str] = ()) -> bool:
    """
    Whether an answer says that the documents do not say: by its route, or in a model's words.

    Words that have one of the known answers are an answer, whatever they say besides.
    """
    if answer.route in ("abstained", "quoted"):
        return answer.route == "abstained"
    return hedges(answer.plain) and not has_answer(answer.plain, answers)


def claims(answer: Answer) -> list[Claim]:
    """
    The sentences of an answer that `rag.evidence.cite` gave a mark, in order.

    Code and headings have no mark. A quotation has one claim for each sentence quoted.
    """
    sources = {citation.number: citation.evidence for citation in answer.citations}
    if answer.route == "quoted":
        return [Claim(one.text, one) for one in sources.values()]
    found, last = [], 0
    for match in _CODE_OR_MARK.finditer(answer.text):
        if match["number"] is None:
            continue
        number = match["number"]
        found.append(Claim(_last_sentence(answer.text[last : match.start()]), sources.get(_whole(number))))
        last = match.end()
    return found


def _whole(number: str) -> int:
    return int(number) if number.isdigit() else 0


def _last_sentence(text: str) -> str:
    # Before the sentence may stand what has no mark: code, a heading, the head of a table.
    paragraph = re.split(r"\n[ \t]*\n", _FENCED.sub("\n\n", text).strip())[-1]
    if "|" in paragraph:
        paragraph = paragraph.rsplit("\n", 1)[-1]
    spans = sentences(paragraph)
    return paragraph[spans[-1][0] : spans[-1][1]] if spans else ""


def is_backed(sentence: str, source: str, language: str = "en") -> bool:
    """
    Whether a source has all numbers of a sentence and at least 60 % of its content words.

    Numbers are compared without units. Stricter than a citation needs to be in one way, as headings above the source
    do not count, and laxer in another: negations, opposites and the order of the words are not looked at.

    >>> is_backed("The port is 8000.", "Port 8000 is open."), is_backed("The port is 8000.", "The port is 9000.")
    (True, False)
    """
    said = set(words(sentence, language))
    if not {value for value, _ in numbers(sentence)} <= {value for value, _ in numbers(source)}:
        return False
    return not said or len(said & set(words(source, language))) >= MIN_SUPPORT * len(said)


def right_citations(found: Sequence[Claim]) -> int:
    """
    How many of the citations are right: the cited sentence alone backs the claim, as `is_backed` says.

    Over all citations this is the citation precision. A quotation backs itself, so it is always right.
    """
    cited = [one for one in found if one.evidence is not None]
    return sum(is_backed(one.text, one.evidence.text, one.evidence.chunk.language) for one in cited if one.evidence)


def faithfulness(found: Sequence[Claim], evidence: Sequence[Evidence]) -> float | None:
    """
    The share of an answer's sentences that all the evidence taken together backs, as `is_backed` says, 0 to 1.

    Ragas asks a model whether each claim can be inferred from the contexts; here words and numbers decide, so a
    sentence that turns the evidence's words around counts as faithful. None where nothing is claimed.
    """
    if not found:
        return None
    context = "\n".join(f"{' '.join(one.chunk.heading)} {one.text}" for one in evidence)
    language = evidence[0].chunk.language if evidence else "en"
    return sum(is_backed(one.text, context, language) for one in found) / len(found)


def context_precision(evidence: Sequence[Evidence], answers: Sequence[str], document: str = "") -> float | None:
    """
    How far ahead in the evidence the sentences with the answer stand, 0 to 1.

    The mean, over the places that have the answer, of the share of sentences up to there that have it; 0 where none
    has. Ragas asks a model which contexts are relevant; here those are that contain a known answer, and come from the
    named document if one is named. None for a question without an answer.
    """
    if not answers:
        return None
    relevant = [document in ("", one.chunk.document, *one.also) and has_answer(one.text, answers) for one in evidence]
    shares = [sum(relevant[:place]) / place for place, found in enumerate(relevant, start=1) if found]
    return sum(shares) / len(shares) if shares else 0.0


def answer_relevancy(
    question: str, text: str, *, abstained: bool, answerable: bool, language: str, encoder: Encodes | None
) -> float | None:
    """
    How near in meaning an answer is to its question: the cosine of their sentence vectors, 0 to 1.

    Ragas has a model make questions of the answer and compares those with the question; here the answer itself is
    compared, so figures are lower than Ragas'. As there, saying that the documents do not say counts 0, but only where
    they do say. None for a question without an answer that is not answered, an empty text, without an encoder, and in
    a language that the encoder does not know.
    """
    if abstained:
        return 0.0 if answerable else None
    if encoder is None or not text.strip() or language not in LANGUAGES:
        return None
    one, other = encoder.encode([question, text])
    return min(1.0, max(0.0, float(one @ other)))
