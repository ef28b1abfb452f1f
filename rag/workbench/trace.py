"""A trace: the rows of an evaluation in a file, one a line, so that it can be stopped, gone on with and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rag.assistant import Assistant
from rag.errors import QuestionError
from rag.settings import Mode
from rag.workbench.questions import Key, Known
from rag.workbench.rows import Row

# They say where things are, who may wait how long and what a cloud would cost; answers are the same with other values.
_PLACES = frozenset(
    """
    docs_dir documents index_dir qdrant_url qdrant_collection qdrant_api_key slm_api_key llm_api_key queue_limit
    grace_s cloud_price_in cloud_price_out mode feedback models_dir hub_url hub_token
    """.split()
)
_ROOT = Path(__file__).parents[1]
_BESIDE = frozenset({"__main__.py", "feedback.py"})
_SHORT = 16  # characters of a digest


@dataclass(frozen=True)
class Fingerprint:
    """
    What rows must have in common to be counted together: the first line of a trace.

    Attributes:
        mode: which models might answer.
        models: the names of the SLM and of the LLM, if there is one.
        settings, documents: digests of the settings that shape answers, with what the calibration file says if there is
            one, and of the names and texts of the documents.
        code: a digest of the program and the weights that it ships; another one is no reason to refuse, but to say so.
        large_model: as of `figures.summed_up`.
    """

    mode: str
    models: tuple[str, ...]
    settings: str
    documents: str
    code: str
    large_model: str | None = None

    def differs_in(self, other: Fingerprint) -> list[str]:
        """What forbids counting rows of both together, in words."""
        names = {"mode": "mode", "models": "models", "settings": "settings", "documents": "documents"}
        return [said for name, said in names.items() if getattr(self, name) != getattr(other, name)]


def fingerprint(assistant: Assistant, mode: Mode, *, large_model: str | None = None) -> Fingerprint:
    """What makes the answers of a started assistant what they are."""
    settings = assistant.settings
    chosen = settings.model_dump(mode="json", exclude=set(_PLACES))
    if settings.calibration and settings.calibration.is_file():
        chosen["calibration"] = settings.calibration.read_text(encoding="utf-8", errors="replace")
    entries = assistant.library.shelf.entries.values()
    models = assistant.models
    return Fingerprint(
        mode,
        tuple(one.label for one in (models.slm, models.llm) if one) if models else (),
        _digest(json.dumps(chosen, sort_keys=True)),
        _digest("\n".join(sorted(f"{entry.name} {entry.digest}" for entry in entries))),
        _digest("".join(path.read_text(encoding="utf-8") for path in sorted(_ROOT.rglob("*")) if _shapes(path))),
        large_model,
    )


def _shapes(path: Path) -> bool:
    # What measures makes no answer another one, nor does what only reads the command line, or notes what readers say.
    name = path.relative_to(_ROOT).as_posix()
    return name == "calibration.json" or (
        path.suffix == ".py" and not name.startswith(("commands/", "workbench/")) and name not in _BESIDE
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_SHORT]


class Trace:
    """
    A trace that is written while questions are answered. Use it in a `with` block.

    Each row is on the disk's side of the program before the next question is asked, so whatever ends the program costs
    the questions in work alone. A last line that was cut short is taken out.

    Args:
        path: of the file; it need not exist.
        own: what the rows to come have in common.

    Attributes:
        warning: what somebody should know before trusting the whole, in words; empty if there is nothing.

    Raises:
        QuestionError: the file cannot be read or written, is no trace, or its rows were made otherwise.
    """

    def __init__(self, path: Path, own: Fingerprint) -> None:
        self.warning = ""
        self._path = path
        self._rows: dict[Key, Row] = {}
        try:
            begun = path.exists() and path.stat().st_size > 0
            if begun:
                was, rows, whole = _read(path)
                if differences := own.differs_in(was):
                    raise QuestionError(
                        f"{path} was made with other {' and '.join(differences)}. Name another file, or remove it."
                    )
                if was.code != own.code:
                    self.warning = f"The program has changed since {path} was begun; its rows may not fit the new ones."
                self._rows = {row.key: row for row in rows}
                with path.open("r+b") as file:
                    file.truncate(whole)
            # Half a character, as a broken question may have, is written as JSON escapes it.
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise QuestionError(f"{path} cannot be written ({error}). Name another file for the trace.") from error
        if not begun:
            self._write({"trace": 1, **asdict(own)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def kept(self, known: Iterable[Known]) -> list[Row]:
        """The rows of those questions that are in the file, with the same known answers, in the questions' order."""
        found = ((one, self._rows.get(one.key)) for one in known)
        return [row for one, row in found if row and row.known == one]

    def add(self, row: Row) -> None:
        """Keep a row; it takes the place of an earlier one of its question."""
        self._rows[row.key] = row
        self._write(row.to_json())

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise QuestionError(f"{self._path} cannot be written ({error}). What it has is kept.") from error


def read_trace(path: Path) -> tuple[Fingerprint, list[Row]]:
    """
    The fingerprint of a trace and its rows, one a question, the latest of each. A last line cut short is left out.

    Raises:
        QuestionError: it cannot be read, or a line is no row; names the line.
    """
    found, rows, _ = _read(path)
    return found, list({row.key: row for row in rows}.values())


def is_trace(path: Path) -> bool:
    """Whether a file begins as a trace does."""
    try:
        with path.open("rb") as file:
            return file.readline(65_536).startswith(b'{"trace": 1,')
    except OSError:
        return False


def _read(path: Path) -> tuple[Fingerprint, list[Row], int]:
    # Also how many bytes of it are whole lines.
    if not is_trace(path):
        raise QuestionError(f"{path} is no trace of an evaluation. Name another file.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise QuestionError(f"{path} cannot be read ({error}). Name another file.") from error
    whole = raw.rfind(b"\n") + 1
    lines = raw[:whole].split(b"\n")[:-1]
    if not lines:
        raise QuestionError(f"{path} has only the beginning of a trace. Remove it.")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
            if number == 1:
                names = [one.name for one in fields(Fingerprint)]
                first = Fingerprint(**{name: found[name] for name in names} | {"models": tuple(found["models"])})
            else:
                rows.append(Row.from_json(found))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise QuestionError(f"{path}, line {number} is no row of this version's traces ({error}).") from error
    return first, rows, whole
