"""`feedback` and `load`: what is kept is turned into something else."""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import asdict

from rag.commands.terminal import print_json, refuse_among_documents
from rag.errors import SettingsError
from rag.feedback import FeedbackError, exported, read_notes, write_questions
from rag.qdrant import Server
from rag.qdrant import load as fill
from rag.settings import Settings


def feedback(options: argparse.Namespace, settings: Settings) -> int:
    """Make a file of questions of what readers said of answers."""
    path = options.notes or settings.feedback
    if path is None:
        raise SettingsError("Marking answers is switched off: RAG_FEEDBACK is none. Name a file behind feedback.")
    found = read_notes(path)
    for fault in found.faults:
        print(fault, file=sys.stderr)
    made = exported(found.notes)
    left = [
        f"{made.only_wrong} only noted as wrong" if made.only_wrong else "",
        f"{made.replaced} replaced by a later one on the same question" if made.replaced else "",
        f"{len(found.faults)} with a fault" if found.faults else "",
    ]
    told = f" Lines left out: {', '.join(filter(None, left))}." if any(left) else ""
    if not made.known:
        raise FeedbackError(f"No line of {path} says what would be right, so there are no questions.{told}")
    if options.out is None:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # what reads the file wants no other
        sys.stdout.write(made.text)
    else:
        refuse_among_documents(options.out, settings)
        write_questions(options.out, made, notes=path)
    where = f" in {options.out}" if options.out else ""
    questions = f"{len(made.known)} question{'s' * (len(made.known) != 1)}"
    print(f"{questions}{where}.{told}", file=sys.stdout if options.out else sys.stderr)
    return 0


def load(options: argparse.Namespace, settings: Settings) -> int:
    """Fill the collection; a line on the terminal says how far it is."""
    if not settings.qdrant_url:
        raise SettingsError("load needs RAG_QDRANT_URL, for example http://localhost:6333.")
    server = Server(settings.qdrant_url, api_key=settings.qdrant_api_key, timeout_s=60)
    seen = sys.stderr.isatty()
    try:
        done = fill(
            server,
            settings.qdrant_collection,
            settings.docs_dir,
            chunk_words=settings.chunk_words,
            language=settings.language,
            prune=options.prune,
            progress=lambda at: print(f"\r{at.line}", end="", file=sys.stderr, flush=True) if seen else None,
        )
    finally:
        if seen:
            print(file=sys.stderr)
        server.close()
    if options.json:
        print_json(asdict(done))
    else:
        print(done.summary)
        for one in done.skipped:
            print(f"{one.name}: {one.reason}", file=sys.stderr)
    return 0
