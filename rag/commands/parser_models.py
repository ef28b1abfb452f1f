"""What can be typed behind `python -m rag bench` and `compare`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_MODELS = "slm, llm, embedded, a name that a server lists, or a .gguf file, with commas between them"


def add_side_by_side(commands: Any, run: Mapping[str, Callable[..., Any]], *, positive: Callable[[str], int]) -> None:
    """
    Add the commands that measure models.

    Args:
        commands: the subparsers.
        run: what does the work, by the command's name.
        positive: reads a whole number of at least 1.
    """
    bench = commands.add_parser("bench", help="measure how fast models answer")
    bench.add_argument(
        "--models", metavar="A,B", help=f"{_MODELS}; auto: all that are found (default: RAG_BENCH_MODELS)"
    )
    bench.add_argument(
        "--rounds", type=positive, metavar="N", help="ask each prompt N times (default: RAG_BENCH_ROUNDS)"
    )
    asked = bench.add_mutually_exclusive_group()
    asked.add_argument("--prompt", type=_text, metavar="TEXT", help="what to ask (default: RAG_BENCH_PROMPT)")
    asked.add_argument(
        "--prompts", type=Path, metavar="FILE.json", help="a set of prompts with the facets that good answers have"
    )
    bench.add_argument(
        "--stream", action=argparse.BooleanOptionalAction,
        help="whether the time of the first text is taken (default: RAG_BENCH_STREAM)",
    )  # fmt: skip
    bench.add_argument(
        "--max-tokens", type=positive, metavar="N", help="the longest answer, in tokens (default: RAG_BENCH_MAX_TOKENS)"
    )
    bench.add_argument(
        "--temperature", type=_temperature, metavar="T", help="of the models, 0 to 2 (default: RAG_BENCH_TEMPERATURE)"
    )
    bench.add_argument(
        "--deterministic", action="store_true",
        help="temperature 0, and the prompts that come with the program unless --prompts names others",
    )  # fmt: skip
    bench.set_defaults(run=run["bench"], docs=None, wrong=bench.error)

    compare = commands.add_parser("compare", help="ask models the same and show their answers side by side")
    compare.add_argument(
        "prompt", metavar="PROMPT", nargs="?", type=_text, help="in quotes (default: RAG_COMPARE_PROMPT)"
    )
    compare.add_argument(
        "--models", metavar="A,B",
        help=f"{_MODELS}; the others are compared with the last one (default: slm,llm)",
    )  # fmt: skip
    compare.add_argument(
        "--evidence", action=argparse.BooleanOptionalAction,
        help="whether the models are shown what the documents say (default: yes, where they say something)",
    )  # fmt: skip
    compare.add_argument(
        "--together", action="store_true", help="ask all at once; models on one machine then slow each other down"
    )
    compare.add_argument(
        "--max-tokens", type=positive, metavar="N", help="the longest answer, in tokens (default: 160)"
    )
    compare.add_argument(
        "--temperature", type=_temperature, metavar="T", help="of the models, 0 to 2 (default: RAG_TEMPERATURE)"
    )
    compare.add_argument(
        "--judge", metavar="MODEL", nargs="?", const="llm",
        help="let a model mark the answers from 1 to 5 for coherence, factuality and brevity (default: llm)",
    )  # fmt: skip
    compare.add_argument(
        "--annotate", type=Path, metavar="FILE", help="write a file to fill in with such marks by hand"
    )
    compare.add_argument("--scores", type=Path, metavar="FILE", help="show a file that was filled in; asks no model")
    compare.set_defaults(run=run["compare"], wrong=compare.error)
    compare.add_argument("--docs", type=Path, metavar="DIR", help="the documents' folder (default: RAG_DOCS_DIR)")

    for command in (bench, compare):
        command.add_argument(
            "--label", type=_text, metavar="TEXT", help="what this run is called in the rows, such as gpu"
        )
        command.add_argument("--out", type=Path, metavar="FILE.json", help="also write the rows to this file")
        command.add_argument("--force", action="store_true", help="replace a file that is there already")
        command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2, was: {text}")
    return value
