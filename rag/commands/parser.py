"""What can be typed behind `python -m rag`: the commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from rag.commands.parser_models import add_side_by_side
from rag.settings import Mode

Form = Literal["markdown", "csv", "json", "html"]

#: `check --docs` without a folder: the one of the settings.
CONFIGURED = Path("\0")


def parser_for(run: Mapping[str, Callable[..., Any]]) -> argparse.ArgumentParser:
    """
    Make what reads the command line.

    Args:
        run: what does the work of each command, by its name; it comes back as `run` of the options.
    """
    parser = argparse.ArgumentParser(prog="python -m rag", description="Ask your own documents, from the terminal.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    ask = commands.add_parser("ask", help="answer a question")
    ask.add_argument("question", metavar="QUESTION", help="in plain text, in quotes")
    ask.add_argument("--mode", choices=get_args(Mode), help="which models may answer (default: RAG_MODE)")
    ask.set_defaults(run=run["ask"])

    search = commands.add_parser("search", help="show the chunks that match a query")
    search.add_argument("query", metavar="QUERY", help="in plain text, in quotes")
    search.add_argument("-k", type=_positive, help="the most chunks to show (default: RAG_K)")
    search.set_defaults(run=run["search"])

    check = commands.add_parser("check", help="look at model servers, documents, index, memory and versions")
    check.add_argument(
        "--docs", type=Path, metavar="DIR", nargs="?", const=CONFIGURED,
        help="also list every file of this folder (default: RAG_DOCS_DIR), with its chunks or why it is left out",
    )  # fmt: skip
    check.set_defaults(run=run["check"])

    evaluate = commands.add_parser("eval", help="measure against questions with known answers")
    evaluate.add_argument(
        "questions", type=Path, metavar="QA.jsonl", help="a JSON object with question and answers a line"
    )
    evaluate.add_argument("--retrieval", action="store_true", help="measure the search alone; asks no model")
    evaluate.add_argument(
        "--limit", type=_positive, metavar="N",
        help="take the first N questions only; with --retrieval, of those that have an answer",
    )  # fmt: skip
    evaluate.add_argument("--mode", choices=get_args(Mode), help="which models may answer (default: RAG_MODE)")
    evaluate.add_argument(
        "--trace", type=Path, metavar="ROWS.jsonl",
        help="keep a row a question in this file as it is answered; what is in it is not asked again",
    )  # fmt: skip
    evaluate.add_argument(
        "--against", type=Path, metavar="OLD.json", help="compare with an earlier --json output or trace"
    )
    evaluate.add_argument(
        "--no-judge", action="store_true", help="do not let the large model grade the answers, where there is one"
    )
    evaluate.set_defaults(run=run["eval"], wrong=evaluate.error)

    fitting = commands.add_parser("calibrate", help="fit the confidence and its threshold to your questions")
    fitting.add_argument(
        "questions", type=Path, metavar="QA.jsonl", help="a JSON object with question and answers a line"
    )
    fitting.add_argument(
        "--target", type=_share, default=0.95, metavar="SHARE",
        help="the share of the large model's right answers that the threshold must reach (default: 0.95)",
    )  # fmt: skip
    fitting.add_argument("--limit", type=_positive, metavar="N", help="take the first N questions only")
    fitting.add_argument("--out", type=Path, metavar="FILE", help="write the weights here (default: RAG_CALIBRATION)")
    fitting.add_argument(
        "--trace", type=Path, metavar="ROWS.jsonl",
        help="keep a row a question in this file (default: beside the weights); what is in it is not asked again",
    )  # fmt: skip
    fitting.add_argument("--svg", type=Path, metavar="CURVE.svg", help="draw the curve of quality against cost here")
    fitting.set_defaults(run=run["calibrate"])

    filling = commands.add_parser("load", help="put the documents into the Qdrant collection")
    filling.add_argument(
        "--prune", action="store_true", help="also remove documents that are not in the folder from the collection"
    )
    filling.set_defaults(run=run["load"])

    marked = commands.add_parser("feedback", help="make a file of questions of the answers marked as wrong in the chat")
    marked.add_argument(
        "notes", type=Path, metavar="FILE", nargs="?", help="what readers said of answers (default: RAG_FEEDBACK)"
    )
    marked.add_argument(
        "--out", type=Path, metavar="QA.jsonl", help="write the questions here (default: to standard output)"
    )
    marked.set_defaults(run=run["feedback"], docs=None)

    _add_models(commands, run["models"])
    add_side_by_side(commands, run, positive=_positive)
    _add_report(commands, run["report"])

    for command in (ask, search, evaluate, fitting, filling):
        command.add_argument("--docs", type=Path, metavar="DIR", help="the documents' folder (default: RAG_DOCS_DIR)")
    for command in (ask, search, check, evaluate, fitting, filling):
        command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


def _add_models(commands: Any, run: Callable[..., Any]) -> None:
    listing = commands.add_parser("models", help="list, download and choose better models")
    listing.set_defaults(run=run, docs=None, action=None)
    doing = listing.add_subparsers(title="commands", metavar="COMMAND")
    getting = doing.add_parser("get", help="download a model, and use it from then on")
    using = doing.add_parser("use", help="let a downloaded model answer; none: no downloaded one")
    dropping = doing.add_parser("drop", help="delete a downloaded model")
    for action, command in (("get", getting), ("use", using), ("drop", dropping)):
        command.add_argument("name", metavar="NAME", help="a model of the list")
        command.set_defaults(action=action)
        if action != "drop":
            command.add_argument("--as", dest="role", choices=("slm", "llm"), help="the role (default: as listed)")
    getting.add_argument("--force", action="store_true", help="download it also where there is too little memory")
    listing.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    for command in (getting, using, dropping):  # left alone where `models --json get` has set it
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="the same")


def _add_report(commands: Any, run: Callable[..., Any]) -> None:
    telling = commands.add_parser("report", help="make one report of recordings of models side by side")
    telling.add_argument(
        "recordings", type=Path, metavar="FILE", nargs="+",
        help="the --json output of bench, compare or eval, or a trace of eval",
    )  # fmt: skip
    telling.add_argument("--out", type=Path, metavar="FILE", help="write the report here (default: to standard output)")
    telling.add_argument(
        "--format", choices=get_args(Form), help="the form of the report (default: as --out ends, else markdown)"
    )
    telling.add_argument("--force", action="store_true", help="write over the file behind --out")
    telling.add_argument(
        "--watts", type=_watts, metavar="N", help="reckon the energy at this power of the machine, in watts"
    )
    telling.add_argument(
        "--slm", metavar="ALIAS", help="the small model of a hybrid run, where the run does not name it"
    )
    telling.add_argument(
        "--llm",
        metavar="ALIAS",
        help="the large model of a hybrid run, where the run does not name it (default: RAG_LLM_MODEL)",
    )
    telling.set_defaults(run=run, docs=None)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, was: {text}")
    return int(text)


def _share(text: str) -> float:
    return _above_zero(text, most=1, must="a share above 0 and up to 1, such as 0.95")


def _watts(text: str) -> float:
    return _above_zero(text, most=1e6, must="a power above 0 and up to 1000000 watts")


def _above_zero(text: str, *, most: float, must: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(f"must be {must}, was: {text}")
    return value
