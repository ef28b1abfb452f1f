"""`report`: recordings of models side by side become one report."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import get_args

from rag.cards import Cards
from rag.commands.parser import Form
from rag.commands.terminal import refuse_among_documents, write_files
from rag.settings import Settings
from rag.workbench.page import html
from rag.workbench.paper import as_csv, markdown
from rag.workbench.recordings import RecordingError, read_recordings, seen_text
from rag.workbench.report import Report, reported
from rag.workbench.selection import Prices

_ENDINGS: dict[str, Form] = {
    ".md": "markdown", ".markdown": "markdown", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html",
}  # fmt: skip


def report(options: argparse.Namespace, settings: Settings) -> int:
    """Read the recordings, and write the report on them to standard output or a file."""
    form = _form(options.format, options.out)
    if options.out:
        _refuse(options.out, options.recordings, settings, force=options.force)
    found = read_recordings(options.recordings)
    known = Cards(settings.models_file, wanted="models_file" in settings.model_fields_set)
    known.refresh()
    if known.fault:
        print(known.fault, file=sys.stderr)
    made = reported(
        found,
        cards=known,
        prices=_prices(settings),
        watts=options.watts,
        slm=options.slm,
        llm=options.llm or settings.llm_model,
    )
    for note in found.notes:
        print(note, file=sys.stderr)
    text = _written(made, form)
    if options.out is None:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")  # as a file would have it
        sys.stdout.write(text)
        sys.stdout.flush()  # so that who reads no further is met here, not at the end of Python
        return 0
    write_files([(options.out, text)], force=options.force)
    print(f"The report is in {seen_text(str(options.out), longest=None)}.", file=sys.stderr)
    return 0


def _form(named: Form | None, out: Path | None) -> Form:
    ending = out.suffix.lower() if out else ""
    if named is None and out:
        if ending not in _ENDINGS:
            endings = ", ".join(_ENDINGS)
            raise RecordingError(f"{out} must end with one of {endings}, or name its form with --format.")
        return _ENDINGS[ending]
    return named or get_args(Form)[0]


def _prices(settings: Settings) -> Prices | None:
    if settings.cloud_price_in is None or settings.cloud_price_out is None:
        return None
    return Prices(settings.cloud_price_in, settings.cloud_price_out, "RAG_CLOUD_PRICE_IN and RAG_CLOUD_PRICE_OUT")


def _written(made: Report, form: Form) -> str:
    match form:
        case "markdown":
            return markdown(made)
        case "csv":
            return as_csv(made)
        case "json":
            return json.dumps(made.to_json(), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        case "html":
            return html(made)


def _refuse(out: Path, recordings: list[Path], settings: Settings, *, force: bool) -> None:
    try:
        refuse_among_documents(out, settings)
        there, folder = out.exists(), out.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is closed, links in a ring
        raise RecordingError(f"{seen_text(str(out))} cannot be written ({error}). Name another file.") from error
    if any(_same(out, one) for one in recordings):
        raise RecordingError(f"{out} is one of the recordings. Name another file for the report.")
    if folder:
        raise RecordingError(f"{out} is a folder. Name a file in it.")
    if there and not force:
        raise RecordingError(f"{out} exists. Name another file, or write over it with --force.")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, RuntimeError):
        return False
