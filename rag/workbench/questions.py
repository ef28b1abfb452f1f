"""Questions with known answers, to measure with: JSON Lines in, `Known` out; and when a text has an answer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import QuestionError

_MOST_BYTES = 500_000_000
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Known:
    """
    A question whose answer is known.

    Attributes:
        question: in plain text.
        answers: any of them is right; empty: the documents do not answer it.
        document: the name of the document that has the answer; empty: any.
    """

    question: str
    answers: tuple[str, ...]
    document: str = ""


def read_questions(path: Path) -> list[Known]:
    """
    Read a QA file: JSON Lines of `{"question": str, "answers": [str, ...], "document": str}`.

    Raises:
        QuestionError: the file cannot be read, has no question, or a line is not as above; names the line.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > _MOST_BYTES):
            raise QuestionError(f"{path} is no file of questions of at most {_MOST_BYTES:,} bytes. Name another one.")
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not at the other line ends that JSON may contain
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{path} cannot be read ({error}). Name a file of questions in JSON Lines.") from error
    known = [_known(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not known:
        raise QuestionError(f"{path} has no questions. Put one JSON object on each line.")
    return known


def _known(line: str, where: str) -> Known:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"{where} is not JSON ({error}).") from error
    match found:
        case {"question": str(question), "answers": list(answers), **rest} if question.strip():
            document = rest.get("document", "")
            if all(isinstance(answer, str) for answer in answers) and isinstance(document, str):
                return Known(question, tuple(answers), document)
    raise QuestionError(f'{where} must be {{"question": "…", "answers": ["…"], "document": "…"}}, was: {line[:120]}')


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """
    Whether a text contains one of the answers, both without case, punctuation and English articles.

    Source: the normalisation of SQuAD (Rajpurkar et al. 2016).

    >>> has_answer("It was built by the “Normans”, in 1066.", ["Normans in 1066"])
    True
    """
    plain = _normal(text)
    return any(_normal(answer) in plain for answer in answers if _normal(answer))


def _normal(text: str) -> str:
    kept = "".join(one for one in text.lower() if unicodedata.category(one)[0] != "P")
    return " ".join(_ARTICLES.sub(" ", kept).split())
