"""Questions with known answers, to measure with: JSON Lines in, `Known` out; and when a text has an answer."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rag.chunking import is_unspaced
from rag.errors import QuestionError

_MOST_BYTES = 500_000_000
_MOST_TOLD = 20
_ARTICLES = frozenset({"a", "an", "the"})
_IN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")
_SHAPE = '{"question": "…", "answers": ["…"], "document": "…"}, with "answers": [] where there is none'

#: What tells one question from another: its text, the questions before it, its document and its answers.
Key = tuple[str, tuple[str, ...], str, tuple[str, ...]]


@dataclass(frozen=True)
class Known:
    """
    A question whose answer is known.

    Attributes:
        question: in plain text.
        answers: any of them is right; empty: the documents do not answer it.
        document: the name of the document that has the answer; empty: any.
        history: the questions asked before it in the same conversation, oldest first.
        false_premise: it takes for granted what is not so; it has no answers then.
        line: where it stands in its file, from 1 on; 0 if that is not known.
    """

    question: str
    answers: tuple[str, ...]
    document: str = ""
    history: tuple[str, ...] = ()
    false_premise: bool = False
    line: int = field(default=0, compare=False, repr=False)

    @property
    def key(self) -> Key:
        """What tells it from the others of its file."""
        return self.question, self.history, self.document, self.answers


@dataclass(frozen=True)
class Questions:
    """
    A file of questions.

    Attributes:
        known: those that can be asked, in order; at least one.
        faults: a sentence for each line that is left out, with its number.
    """

    known: tuple[Known, ...]
    faults: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """The faults, as many as somebody will read."""
        return told(self.faults)


def read_questions(path: Path) -> Questions:
    """
    Read a QA file: JSON Lines of `{"question": str, "answers": [str, ...], "document": str}`.

    A line may also have `"history": [str, ...]`, the questions before it, and `"false_premise": true`. A line that is
    wrong, or is the same as an earlier one, is left out and told of in `faults`.

    Raises:
        QuestionError: the file is missing, cannot be read, or has no question that can be asked.
    """
    known: dict[Key, Known] = {}
    first: dict[Key, int] = {}
    faults: list[str] = []
    for number, raw in enumerate(_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            line = raw.decode("utf-8")
            if not line.strip():
                continue
            one = replace(_known(line, where), line=number)
        except UnicodeDecodeError:
            faults.append(f"{where} is not UTF-8. Save it as UTF-8.")
            continue
        except QuestionError as error:
            faults.append(str(error))
            continue
        if one.key in known:
            faults.append(f"{where} is the same as line {first[one.key]} and is left out: {one.question[:80]}")
            continue
        known[one.key], first[one.key] = one, number
    if not known:
        raise QuestionError("\n".join([*told(faults), f"{path} has no questions. Put one JSON object on each line."]))
    return Questions(tuple(known.values()), tuple(faults))


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        raise QuestionError(f"{path} cannot be read: there is no such file. Name a file of questions in JSON Lines.")
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise QuestionError(f"{path} is no file of questions of at most {_MOST_BYTES:,} bytes. Name another one.")
        raw = path.read_bytes()
    except OSError as error:
        raise QuestionError(f"{path} cannot be read ({error}). Name a file of questions in JSON Lines.") from error
    return raw.removeprefix(codecs.BOM_UTF8).split(b"\n")  # not at the other line ends that JSON may contain


def told(faults: Sequence[str]) -> list[str]:
    """Faults, as many as somebody will read."""
    more = len(faults) - _MOST_TOLD
    return [*faults[:_MOST_TOLD], *([f"… and {more:,} more lines that are left out."] if more > 0 else [])]


def _known(line: str, where: str) -> Known:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"{where} is not JSON ({error}).") from error
    match found:
        case {"question": str(question), "answers": list(answers), **rest} if question.strip():
            document, history = rest.get("document", ""), rest.get("history", [])
            if not _all_texts(answers) or not all(map(str.strip, answers)):
                raise QuestionError(
                    f'{where}: "answers" must be a list of texts that are not empty, was: {answers!r:.80}'
                )
            if isinstance(document, str):
                if not isinstance(history, list) or not _all_texts(history) or not all(map(str.strip, history)):
                    raise QuestionError(f'{where}: "history" must be a list of earlier questions, was: {history!r:.80}')
                false_premise = rest.get("false_premise", False)
                if not isinstance(false_premise, bool) or (false_premise and answers):
                    raise QuestionError(
                        f'{where}: "false_premise" must be true or false, and true only where "answers" is empty.'
                    )
                return Known(question, tuple(answers), document, tuple(history), false_premise)
    raise QuestionError(f"{where} must be {_SHAPE}, was: {line[:120]}")


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """
    Whether a text contains one of the answers, both without case, punctuation and English articles.

    In whole words and numbers, where a script has spaces between them: 5 does not stand in 15, nor in 1.5.

    Source: the normalisation of SQuAD (Rajpurkar et al. 2016).

    >>> has_answer("It was built by the “Normans”, in 1066.", ["Normans in 1066"]), has_answer("In 1066.", ["6"])
    (True, False)
    """
    # In a name such as http://localhost:8000, which `normal` makes one word, a part is a word too.
    told = [(made, made(text)) for made in (_spaced, normal)]
    return any(_stands_in(plain, wanted) for made, plain in told for answer in answers if (wanted := made(answer)))


def _stands_in(plain: str, wanted: str) -> bool:
    at = plain.find(wanted)
    while at >= 0 and not (_is_edge(plain, at) and _is_edge(plain, at + len(wanted))):
        at = plain.find(wanted, at + 1)
    return at >= 0


def _is_edge(plain: str, at: int) -> bool:
    """Whether a word may begin or end at a place."""
    return at in (0, len(plain)) or not all(map(_holds, plain[at - 1 : at + 1]))


def _holds(letter: str) -> bool:
    """
    Whether a character and its neighbour may be one word: not in a script without spaces between words, nor in
    Korean, where particles cling to a word. Vowel signs hold; so does the point in a number, the only one left.
    """
    if is_unspaced(letter) or "\uac00" <= letter <= "\ud7a3":
        return False
    return letter.isalnum() or letter in ".," or unicodedata.category(letter)[0] == "M"


def normal(text: str) -> str:
    """
    A text as SQuAD compares it: lower case, no punctuation, no English articles, single spaces; and NFKC.

    >>> normal("The  End, at last!")
    'end at last'
    """
    return " ".join(plain for _, plain in _words(text))


def _spaced(text: str) -> str:
    # As `normal`, but with spaces for punctuation, except for the points and commas of a number.
    words = []
    for word, _ in _words(text):
        kept = {found.start() for found in _IN_NUMBER.finditer(word)}
        words += ["".join(" " if _is_punctuation(one) and at not in kept else one for at, one in enumerate(word))]
    return " ".join(" ".join(words).split())


def _words(text: str) -> Iterator[tuple[str, str]]:
    # Those between spaces that are no articles, as they are and without punctuation.
    for word in unicodedata.normalize("NFKC", text).lower().split():
        plain = "".join(one for one in word if not _is_punctuation(one))
        if plain and plain not in _ARTICLES:
            yield word, plain


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "P"
