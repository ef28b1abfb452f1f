"""The file of what readers say of answers, and the questions that are made of it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.feedback import (
    LONGEST,
    FeedbackError,
    Note,
    alternatives,
    append,
    exported,
    read_notes,
    remove,
    write_questions,
)
from rag.settings import load_settings
from rag.workbench.questions import Known, read_questions
from tests.test_command_line import ROOT, run

TEN = Note("For how long?", answers=("ten seconds", "10 s"), document="ports.md", answer="A year.", at="2026-11-20")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the notes are; nothing is there yet."""
    return tmp_path / "feedback.jsonl"


def test_a_line_has_all_that_is_known_and_is_read_again(path: Path) -> None:
    """The file is made for its owner alone."""
    full = Note("And Größe?", ("Why?",), (), "", "So it is. [1]", "quoted", 0.31, "2026-11-20T13:00:00.000+00:00")
    append(path, TEN)
    append(path, full)
    assert read_notes(path).notes == (TEN, full)
    assert "Größe" in path.read_text(encoding="utf-8")
    assert path.read_bytes().count(b"\n") == 2
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_character_or_another_line_end_stays_one_line(path: Path) -> None:
    """Half a surrogate pair cannot be written as UTF-8; U+2028 ends lines for some programs."""
    append(path, Note("a\ud800\u2028\n\x85b", answers=("x",)))
    (note,) = read_notes(path).notes
    assert note.question == "a?\u2028\n\x85b"


def test_threads_write_whole_lines_and_take_back_only_their_own(path: Path) -> None:
    """Whatever the order, no line is cut, lost or doubled."""
    kept = [Note(f"q{at}", answers=("x" * 5000,)) for at in range(40)]
    taken_back = [Note(f"u{at}", answers=("y" * 3000,)) for at in range(40)]

    def work(at: int) -> None:
        append(path, taken_back[at])
        append(path, kept[at])
        assert remove(path, taken_back[at])

    threads = [threading.Thread(target=work, args=(at,)) for at in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_notes(path)
    assert found.faults == ()
    assert sorted(found.notes, key=lambda note: note.question) == sorted(kept, key=lambda note: note.question)


def test_undo_leaves_the_file_as_it_was(path: Path) -> None:
    """The last line is cut off; one in the middle is blanked; one that is gone was not there."""
    other = Note("Other?", answers=())
    append(path, TEN)
    before = path.read_bytes()
    append(path, other)
    assert remove(path, other)
    assert path.read_bytes() == before
    append(path, other)
    assert remove(path, TEN)
    assert not remove(path, TEN)
    assert read_notes(path).notes == (other,)
    path.unlink()
    assert not remove(path, other)
    assert not path.exists()


def test_what_was_taken_out_does_not_fill_the_file(path: Path) -> None:
    """Marked again and again, an answer is one line; the permissions that somebody has set stay."""
    note = replace(TEN, answer="x" * 500)
    append(path, TEN)
    if os.name == "posix":
        path.chmod(0o640)
    append(path, note)
    for at in range(50):
        later = replace(note, at=f"2026-11-20T13:00:{at:02}")
        append(path, later)
        assert remove(path, note)
        note = later
    assert read_notes(path).notes == (TEN, note)
    assert path.stat().st_size < 3 * (len(TEN.line) + len(note.line))
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert remove(path, TEN)
    assert remove(path, note)
    assert path.read_bytes() == b""


@pytest.mark.skipif(os.name != "posix", reason="links and locks of POSIX")
def test_the_file_behind_a_link_is_written_anew_and_not_the_link(path: Path, tmp_path: Path) -> None:
    """Whoever has put it elsewhere wants it there."""
    real = tmp_path / "elsewhere.jsonl"
    append(real, TEN)
    path.symlink_to(real)
    append(path, Note("q"))
    assert remove(path, TEN)
    assert path.is_symlink()
    assert real.read_bytes() == Note("q").line


def test_a_disk_that_refuses_a_new_file_leaves_the_blanks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is out all the same, and nothing is left behind."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "no")

    append(path, TEN)
    append(path, Note("q"))
    monkeypatch.setattr(os, "replace", refuse)
    assert remove(path, TEN)
    assert read_notes(path).notes == (Note("q"),)
    assert path.stat().st_size == len(TEN.line) + len(Note("q").line)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


MARKING = """
import sys
from pathlib import Path
from rag.feedback import Note, append, remove
path, name = Path(sys.argv[1]), sys.argv[2]
for at in range(60):
    gone = Note(f"gone {name} {at}", answer="x" * 2000)
    append(path, gone)
    append(path, Note(f"{name} {at}"))
    assert remove(path, gone)
"""


@pytest.mark.skipif(os.name != "posix", reason="without locks the file is not written anew")
def test_processes_that_write_the_file_anew_lose_no_line_of_one_another(path: Path) -> None:
    """Who has waited for the lock of a file that is gone takes the new one."""
    writers = [
        subprocess.Popen([sys.executable, "-c", MARKING, str(path), name], cwd=ROOT, stderr=subprocess.PIPE)
        for name in "abc"
    ]
    told = [writer.communicate(timeout=60)[1] for writer in writers]
    assert told == [b"", b"", b""]
    found = read_notes(path)
    assert found.faults == ()
    assert sorted(note.question for note in found.notes) == sorted(f"{one} {at}" for one in "abc" for at in range(60))


def test_of_two_equal_lines_undo_takes_one(path: Path) -> None:
    """Each stands for a click."""
    append(path, TEN)
    append(path, TEN)
    assert remove(path, TEN)
    assert read_notes(path).notes == (TEN,)


def test_a_last_line_that_an_editor_left_open_is_ended_first(path: Path) -> None:
    """Or two notes would be one broken line."""
    path.write_bytes(TEN.line.rstrip(b"\n"))
    append(path, TEN)
    assert read_notes(path).notes == (TEN, TEN)


def test_a_full_disk_leaves_the_file_as_it_was_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is taken back."""
    append(path, TEN)
    before, write = path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(FeedbackError, match=r"feedback\.jsonl cannot be written .*Free some space on the disk, or set"):
        append(path, TEN)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        pytest.param(errno.EROFS, "Allow the chat to write there, or set RAG_FEEDBACK", id="read-only"),
        pytest.param(errno.ENOSPC, "Free some space on the disk", id="full"),
    ],
)
def test_what_the_disk_says_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str) -> None:
    """With the whole path and the remedy."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FeedbackError) as raised:
        append(path, TEN)
    assert str(path) in str(raised.value)
    assert remedy in str(raised.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_named(path: Path) -> None:
    """And what to do about it."""
    path.parent.chmod(0o500)
    try:
        with pytest.raises(FeedbackError, match=r"Permission denied.*Allow the chat to write there"):
            append(path, TEN)
    finally:
        path.parent.chmod(0o700)


def test_a_missing_folder_and_a_folder_in_its_place_are_named(path: Path, tmp_path: Path) -> None:
    """Neither is made or replaced."""
    with pytest.raises(FeedbackError, match="Make its folder"):
        append(tmp_path / "gone" / "f.jsonl", TEN)
    path.mkdir()
    with pytest.raises(FeedbackError, match="Move that folder away"):
        append(path, TEN)


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        pytest.param("ten seconds", ("ten seconds",), id="one"),
        pytest.param(" 10 s ;ten\tseconds;; 10 s;", ("10 s", "ten seconds"), id="several, once each"),
        pytest.param("a\x00b\x1b[31m\u202egnp", ("ab[31mgnp",), id="control characters"),
        pytest.param("<img src=x onerror=alert(1)>", ("<img src=x onerror=alert(1)>",), id="markup is text"),
        pytest.param("\ud800ten", ("ten",), id="half a character"),
        pytest.param("x" * LONGEST, ("x" * LONGEST,), id="longest"),
        pytest.param("दस सेकेन्ड", ("दस सेकेन्ड",), id="Nepali"),
    ],
)
def test_words_are_taken_as_they_are_but_for_what_cannot_be_seen(words: str, answers: tuple[str, ...]) -> None:
    """Parted at semicolons."""
    assert alternatives(words) == answers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param("", "Type a few words", id="nothing"),
        pytest.param(" ;\x00; ?! ; the", "Type a few words", id="nothing that can be compared"),
        pytest.param("\u200b; €", "Type a few words", id="no letter or digit"),
        pytest.param("x" * (LONGEST + 1), "501 characters; the limit is 500", id="too long"),
        pytest.param("x" * 10_000_000, "10,000,000 characters", id="ten megabytes"),
    ],
)
def test_words_that_cannot_be_used_are_refused(words: str, said: str) -> None:
    """With the limit and the remedy."""
    with pytest.raises(FeedbackError, match=said):
        alternatives(words)


def test_the_last_one_wins_where_the_conversation_is_the_same() -> None:
    """After other questions it is another one; who only says 'wrong' takes nothing back."""
    notes = [
        Note("Port?", answers=("80",)),
        Note("Port?", ("Which host?",), ("90",)),
        Note("Sun?", answers=()),
        Note("Port?", answers=("8000",), document="ports.md"),
        Note("Port?"),
    ]
    made = exported(notes)
    assert made.known == (
        Known("Port?", ("90",), history=("Which host?",)),
        Known("Sun?", ()),
        Known("Port?", ("8000",), "ports.md"),
    )
    assert (made.replaced, made.only_wrong) == (1, 1)


BAD = [
    b"no JSON",
    b'{"question": "", "answers": ["x"]}',
    b'{"question": "q", "answers": "x"}',
    b'{"question": "q"}',
    b'{"question": "q", "answers": [1]}',
    b'{"question": "q", "answers": [], "history": [""]}',
    b'{"question": "q", "answers": [], "document": 3}',
    b"\xff\xfe",
    b"[" * 100_000,
]


def test_the_command_makes_a_file_of_questions(path: Path, tmp_path: Path) -> None:
    """It passes through `read_questions` as it is; what is left out is counted, and bad lines are named."""
    for note in (TEN, Note("And?", ("For how long?",), ()), Note("Bad?"), TEN):
        append(path, note)
    with path.open("ab") as file:
        file.write(b"\n".join([*BAD, b"   ", b'{"question": "By hand?", "answers": ["yes"]}']))
    done = run("feedback", "--out", "qa.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "3 questions in qa.jsonl. Lines left out: 1 only noted as wrong, 1 replaced by a later one on the same "
        "question, 9 with a fault.\n"
    )
    named = [line for line in done.stderr.splitlines() if line]
    assert [line.split(" ")[2] for line in named] == [str(number) for number in range(5, 5 + len(BAD))]
    assert "Traceback" not in done.stderr
    read = read_questions(tmp_path / "qa.jsonl")
    assert read.faults == ()
    assert read.known == (
        Known("And?", (), history=("For how long?",)),
        Known(TEN.question, TEN.answers or (), "ports.md"),
        Known("By hand?", ("yes",)),
    )
    assert run("feedback", str(path), cwd=tmp_path).stdout == (tmp_path / "qa.jsonl").read_text(encoding="utf-8")


def test_questions_that_cannot_be_written_leave_the_earlier_ones(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file of questions would look like a whole one."""
    out, made = tmp_path / "qa.jsonl", exported([TEN])
    write_questions(out, made, notes=path)
    if os.name == "posix":
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FeedbackError, match=r"qa\.jsonl cannot be written \(full\)"):
        write_questions(out, exported([Note("Other?", answers=())]), notes=path)
    assert out.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["qa.jsonl"]


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
def test_questions_can_be_written_to_what_is_no_file(path: Path) -> None:
    """It is not replaced by one."""
    write_questions(Path("/dev/null"), exported([TEN]), notes=path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        pytest.param([], {}, "There is no feedback.jsonl: no answer was marked", id="no file"),
        pytest.param([], {"RAG_FEEDBACK": "none"}, "RAG_FEEDBACK is none. Name a file", id="switched off"),
        pytest.param(["only.jsonl"], {}, "No line of only.jsonl says what would be right", id="nothing to export"),
        pytest.param(["x.jsonl", "--out", "x.jsonl"], {}, "has the notes themselves", id="same file"),
        pytest.param(["x.jsonl", "--out", "docs/x.jsonl"], {}, "would be read as one", id="among the documents"),
        pytest.param(["x.jsonl", "--out", "no/x.jsonl"], {}, "cannot be written", id="no folder"),
        pytest.param(["docs"], {}, "cannot be read", id="a folder"),
    ],
)
def test_the_command_says_why_there_are_no_questions(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    """And leaves what is there as it is."""
    (tmp_path / "docs").mkdir()
    append(tmp_path / "only.jsonl", Note("Bad?"))
    append(tmp_path / "x.jsonl", TEN)
    before = (tmp_path / "x.jsonl").read_bytes()
    done = run("feedback", *arguments, cwd=tmp_path, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "x.jsonl").read_bytes() == before


def test_where_the_notes_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never where they would be read as a document; where nobody has named a place, it is hidden there."""
    monkeypatch.chdir(tmp_path)
    assert load_settings().feedback == Path("feedback.jsonl")
    assert load_settings(docs_dir=tmp_path).feedback == Path(".feedback.jsonl")
    monkeypatch.setenv("RAG_FEEDBACK", "docs/notes.jsonl")
    with pytest.raises(SettingsError, match="RAG_FEEDBACK lies among the documents"):
        load_settings()
    monkeypatch.setenv("RAG_FEEDBACK", str(tmp_path))
    with pytest.raises(SettingsError, match="RAG_FEEDBACK is a folder"):
        load_settings()
    monkeypatch.setenv("RAG_FEEDBACK", "None")
    assert load_settings().feedback is None
