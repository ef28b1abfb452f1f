"""What the commands share: progress on the terminal, JSON, and the documents of the settings."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rag.assistant import build_library
from rag.errors import DocumentsError, FileError, QuestionError
from rag.settings import Settings
from rag.shelf import Shelf
from rag.writing import write_whole


class Progress:
    """A line on the terminal that says how far a long work is; nothing where standard error is none."""

    def __init__(self, whole: int, *, done: int = 0, noun: str = "questions") -> None:
        self._whole, self._done, self._noun = whole, done, noun
        self._seen = sys.stderr.isatty()
        self._show()

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        self._show()

    def end(self) -> None:
        """Go to the next line."""
        if self._seen:
            print(file=sys.stderr)

    def _show(self) -> None:
        if self._seen:
            print(f"\r{self._done} of {self._whole} {self._noun}", end="", file=sys.stderr, flush=True)


@asynccontextmanager
async def open_library(settings: Settings, *, learn: int | None = 0) -> AsyncIterator[Shelf]:
    library = build_library(settings)
    try:
        await library.refresh()
        if library.shelf.fault:
            raise DocumentsError(library.shelf.fault)
        await library.learn(most=learn)
        yield library.shelf
    finally:
        await library.close()


def refuse_among_documents(path: Path, settings: Settings) -> None:
    folder, place = settings.docs_dir.resolve(), path.resolve()
    if settings.documents or not place.is_relative_to(folder):
        return
    if not any(part.startswith(".") for part in place.relative_to(folder).parts):  # what is hidden is not read
        raise QuestionError(f"{path} lies among the documents and would be read as one. Put it elsewhere.")


def write_files(files: Sequence[tuple[Path | None, str]], *, force: bool, remedy: str = "Name another file.") -> None:
    """
    Write each of some files, whole or not at all, in UTF-8; of None there is nothing to write.

    Args:
        files: the places and the texts; one that cannot be written keeps no other from being tried.
        force: whether a file that is there is replaced.
        remedy: what to do about a disk that is full, or the like.

    Raises:
        FileError: at least one could not be written; says why of each.
    """
    faults = []
    for path, text in files:
        if path is None:
            continue
        try:
            write_whole(path, text.encode("utf-8", "replace"), over=force)
        except FileExistsError:  # since we looked
            faults.append(f"{path} exists by now and is kept. {remedy} With --force it is replaced.")
        except OSError as error:
            faults.append(f"{path} cannot be written ({error.strerror or error}). {remedy}")
    if faults:
        raise FileError("\n".join(faults))


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))
