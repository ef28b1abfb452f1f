"""What readers say of wrong answers: a line each in a file, of which a file of questions can be made."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.errors import RagError
from rag.seen import TURNING
from rag.workbench.questions import Known, normal
from rag.writing import write_whole

#: The longest that a reader can write, in characters.
LONGEST = 500

# How long another process is waited for that is writing to the same file, in seconds.
_WAIT_S = 1.0
# What would turn the text around it, or hide in it.
# A file is written anew where more than this share of it is what was taken out.
_MOST_BLANK = 0.5
# How often a file is opened again that another process puts a new one in the place of.
_TRIES = 20
_SHAPE = '{"question": "…", "answers": ["…"] or null, "document": "…", "history": ["…"]}'
_REMEDIES = {
    errno.ENOSPC: "Free some space on the disk",
    errno.EDQUOT: "Free some space on the disk",
    errno.EFBIG: "Make the file shorter",
    errno.ENOENT: "Make its folder",
    errno.ENOTDIR: "Make its folder",
    errno.EISDIR: "Move that folder away",
}

_writing = threading.Lock()


class FeedbackError(RagError):
    """The file cannot be read or written, or has nothing to make questions of; or the words cannot be used."""


@dataclass(frozen=True)
class Note:
    """
    What a reader says of one answer.

    Attributes:
        question: as it was asked.
        history: the questions before it in the same conversation, oldest first.
        answers: any of them would be right; empty: the documents do not say; None: it is only known to be wrong.
        document: the one cited document that has such an answer; empty where none has, or several have.
        answer: what the chat said, or how that begins; empty where it cites a file that was dropped into the chat.
        route: the way that the answer took.
        confidence: of its draft, 0 to 1; None if there was none.
        at: when it was noted, ISO 8601 in UTC.
    """

    question: str
    history: tuple[str, ...] = ()
    answers: tuple[str, ...] | None = None
    document: str = ""
    answer: str = ""
    route: str = ""
    confidence: float | None = None
    at: str = ""

    @property
    def line(self) -> bytes:
        """Its line of the file."""
        # What is no character, half of a surrogate pair say, is a question mark.
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


@dataclass(frozen=True)
class Notes:
    """
    A file of notes.

    Attributes:
        notes: in the order in which they were written.
        faults: a sentence for each line that is none, with its number.
    """

    notes: tuple[Note, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """
    What a file of notes says would be right.

    Attributes:
        known: each question once, as it was answered last.
        replaced: how many notes a later one on the same question replaces.
        only_wrong: how many notes do not say what would be right.
    """

    known: tuple[Known, ...]
    replaced: int
    only_wrong: int

    @property
    def text(self) -> str:
        """A file of questions, as `read_questions` reads it."""
        lines = (
            {"question": one.question, "answers": list(one.answers), "document": one.document}
            | ({"history": list(one.history)} if one.history else {})
            for one in self.known
        )
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def alternatives(words: str) -> tuple[str, ...]:
    r"""
    The answers in what a reader wrote, without marks that cannot be seen.

    Raises:
        FeedbackError: it is too long, or has no letter or digit.

    >>> alternatives("ten seconds; 10\x00 s;; ten seconds")
    ('ten seconds', '10 s')
    """
    if len(words) > LONGEST:
        raise FeedbackError(f"That is too long: {len(words):,} characters; the limit is {LONGEST}. Shorten it.")
    found = [" ".join("".join(map(_seen, part)).split()) for part in words.split(";")]
    # What is nothing in a comparison is no answer.
    answers = tuple(dict.fromkeys(one for one in found if normal(one) and any(map(str.isalnum, one))))
    if not answers:
        raise FeedbackError("Type a few words that would be right, or choose one of the other two buttons.")
    return answers


def append(path: Path, note: Note) -> None:
    """
    Add a line to the file, which is made if it is not there, for its owner alone. Call it in a thread.

    Raises:
        FeedbackError: the disk is full, or the file cannot be written; it is as it was.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    with _writing, _told("cannot be written", path), _locked(path, flags) as (file, alone):
        end = os.fstat(file).st_size
        data = note.line
        if end:
            os.lseek(file, end - 1, os.SEEK_SET)
            data = data if os.read(file, 1) == b"\n" else b"\n" + data  # what somebody's editor left off
        if os.write(file, data) < len(data):
            if alone:
                os.ftruncate(file, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove(path: Path, note: Note) -> bool:
    """
    Take a line out of the file. Call it in a thread.

    The last line is cut off; another one is blanked where it stands, so that nothing else moves. A file that is more
    blank than not is written anew, if no other chat is writing to it.

    Returns:
        Whether it was there.

    Raises:
        FeedbackError: the file cannot be written.
    """
    with _writing, _told("cannot be written", path):
        try:
            with _locked(path, os.O_RDWR) as (file, alone):
                data = _all_of(file)
                start = _last_line(data, note.line)
                if start is None:
                    return False
                end = start + len(note.line)
                if alone and end == len(data):
                    os.ftruncate(file, start)
                    data = data[:start]
                else:
                    blank = b" " * (len(note.line) - 1)
                    os.lseek(file, start, os.SEEK_SET)
                    os.write(file, blank)
                    data = data[:start] + blank + data[end - 1 :]
                if alone:
                    _tidy(path, file, data)
                return True
        except FileNotFoundError:
            return False


def read_notes(path: Path) -> Notes:
    """
    Read a file of notes. A line that is none is left out and told of in `faults`.

    Raises:
        FeedbackError: the file is missing or cannot be read.
    """
    if not path.exists():
        raise FeedbackError(f"There is no {path}: no answer was marked as wrong yet, or RAG_FEEDBACK is another file.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FeedbackError(
            f"{path} cannot be read ({error.strerror}). Name a file that the chat has written."
        ) from error
    notes: list[Note] = []
    faults: list[str] = []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            notes.append(_note(line))
        except ValueError as error:
            faults.append(f"{path}, line {number} {error}")
    return Notes(tuple(notes), tuple(faults))


def exported(notes: Sequence[Note]) -> Exported:
    """
    Make questions of those notes that say what would be right.

    >>> last = exported([Note("Why?", answers=("so",)), Note("Why?", answers=()), Note("Why?")])
    >>> last.known, last.replaced, last.only_wrong
    ((Known(question='Why?', answers=(), document='', history=(), false_premise=False),), 1, 1)
    """
    known: dict[tuple[str, tuple[str, ...]], Known] = {}
    right = [note for note in notes if note.answers is not None]
    for note in right:
        key = (note.question, note.history)
        known.pop(key, None)  # the last one stands where it was written
        known[key] = Known(note.question, note.answers or (), note.document, note.history)
    return Exported(tuple(known.values()), len(right) - len(known), len(notes) - len(right))


def write_questions(path: Path, made: Exported, *, notes: Path) -> None:
    """
    Write a file of questions, for its owner alone where it is new; whole, or not at all.

    Args:
        path: where to; what is there is replaced.
        made: the questions.
        notes: the file that they are from, which is not written over.

    Raises:
        FeedbackError: it is the file of notes, or cannot be written.
    """
    if path.resolve() == notes.resolve():
        raise FeedbackError(f"{path} has the notes themselves. Name another file behind --out.")
    content = made.text.encode("utf-8", "replace")
    try:
        write_whole(path, content, over=True, private=True)
    except OSError as error:
        raise FeedbackError(f"{path} cannot be written ({error.strerror}). Name another file behind --out.") from error


def _seen(letter: str) -> str:
    if letter.isspace() or unicodedata.category(letter) == "Cc":
        return " " if letter.isspace() else ""
    return "" if letter in TURNING or unicodedata.category(letter) == "Cs" else letter


@contextlib.contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Allow the chat to write there")
        place = os.path.abspath(path)
        raise FeedbackError(
            f"{place} {what} ({error.strerror or error}). {remedy}, or set RAG_FEEDBACK to another file."
        ) from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    binary = getattr(os, "O_BINARY", 0)
    file = os.open(path, flags | binary | getattr(os, "O_NONBLOCK", 0), 0o600)  # a pipe must not keep us waiting
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(path: Path, flags: int) -> Iterator[tuple[int, bool]]:
    # The file, and whether no other chat is writing to it; not one that another chat has put a new one in the place of.
    for left in reversed(range(_TRIES)):
        with _opened(path, flags) as file:
            alone = _lock(file)
            if _is_at(path, file) or not left:
                yield file, alone
                return


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _tidy(path: Path, file: int, data: bytes) -> None:
    # Leaves the blank lines out of a file that we have locked, and whose content this is, if most of it is blank.
    kept = b"".join(line + b"\n" for line in data.split(b"\n") if line.strip())
    if len(data) - len(kept) > _MOST_BLANK * len(data):
        with contextlib.suppress(OSError):  # the blanks do no harm
            unchanged = lambda: _is_at(path, file) and os.fstat(file).st_size == len(data)  # noqa: E731
            write_whole(path, kept, over=True, private=True, still=unchanged)


def _lock(file: int) -> bool:
    # Whether no other chat is writing to the file; a line is one write, so that without it only tidying is left off.
    try:
        import fcntl
    except ImportError:
        return False
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        except OSError:  # a disk without locks
            return False


def _all_of(file: int) -> bytes:
    pieces = []
    while piece := os.read(file, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _last_line(data: bytes, line: bytes) -> int | None:
    start = data.rfind(b"\n" + line)
    if start >= 0:
        return start + 1
    return 0 if data.startswith(line) else None


def _note(line: bytes) -> Note:
    try:
        found: Any = json.loads(line.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("is not JSON (too deep).") from error
    except ValueError as error:
        raise ValueError(f"is not JSON ({error}).") from error
    match found:
        case {"question": str(question), "answers": (list() | None) as answers, **rest} if question.strip():
            history: Any = rest.get("history", [])
            document: Any = rest.get("document", "")
            confidence: Any = rest.get("confidence")
            earlier = _texts(history) and all(one.strip() for one in history)
            if _texts(answers or []) and earlier and isinstance(document, str):
                return Note(
                    question=question,
                    history=tuple(history),
                    answers=tuple(answers) if isinstance(answers, list) else None,
                    document=document,
                    answer=str(rest.get("answer", "")),
                    route=str(rest.get("route", "")),
                    confidence=confidence if isinstance(confidence, float) else None,
                    at=str(rest.get("at", "")),
                )
    raise ValueError(f"must be {_SHAPE}, was: {line[:120].decode('utf-8', 'replace')}")


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
