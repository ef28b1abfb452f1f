"""The command line: `python -m rag COMMAND`; `rag.commands.parser` has the commands."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import io
import sys
from collections.abc import Sequence
from typing import Any

from rag.commands.asking import ask, check, search
from rag.commands.columns import readable
from rag.commands.keeping import feedback, load
from rag.commands.measuring import calibrate, evaluate
from rag.commands.models import models
from rag.commands.parser import CONFIGURED, parser_for
from rag.commands.reporting import report
from rag.commands.sidebyside import bench, compare
from rag.errors import RagError
from rag.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Returns:
        The exit status: 0, or 1 if the work failed. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no ü still shows the rest
    options = _parser().parse_args(arguments)
    try:
        named = options.docs not in (None, CONFIGURED)
        # A folder named here is searched here, and leaves nothing behind.
        elsewhere: dict[str, Any] = {
            "docs_dir": options.docs,
            "documents": [],
            "index": "bm25",
            "index_dir": None,
            "feedback": None,
        }
        settings = load_settings(**(elsewhere if named else {}))
        if not inspect.iscoroutinefunction(options.run):  # outside the event loop, so that Ctrl-C ends it at once
            return int(options.run(options, settings))
        return int(asyncio.run(options.run(options, settings)))
    except RagError as error:
        print(readable(str(error)), file=sys.stderr)  # a server may have said it
        return 1
    except BrokenPipeError:  # whoever read has seen enough
        sys.stdout = None  # or Python complains at its end
        return 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    return parser_for(
        {
            "ask": ask,
            "search": search,
            "check": check,
            "eval": evaluate,
            "calibrate": calibrate,
            "bench": bench,
            "compare": compare,
            "load": load,
            "feedback": feedback,
            "models": models,
            "report": report,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
