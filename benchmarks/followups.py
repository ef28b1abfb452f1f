"""
Are follow-up questions found? 'And its port?' shares no word with the page that answers it.

Conversations written by hand about our manual and, where `../shared/data` is there, about other articles and in other
languages. Each turn is searched for in four ways: the question alone; always with the question before; as
`rag.followup` rewrites it; and with its subject as a person would add it, which is what can be reached. A turn is
`first`, a `follow`-up, or a `change` of subject, which must not be dragged back to the old one. Figures are shares of
the turns with an answer: a chunk with it is among the best 3 or 5; the evidence for the prompt has it; and the chat
would not say that the documents do not say. `left` are the turns that were searched for exactly as asked. `idle` are
turns without an answer, thanks and matters that no document knows: nothing may be found for them.

Only answered turns are history, as in the chat. The rules were tuned on `dev`, then corrected after a look at `test`;
`fresh` was written before that correction and never looked into.

    python -m benchmarks.followups [--split dev|test|fresh|all] [--json] [--misses] [--out FILE]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import conclude, median, quantile, read_qa, rounded, table
from rag.bm25 import Hit
from rag.evidence import bearing, coverage, is_enough, quote, within
from rag.followup import Query, standalone
from rag.library import Library
from rag.prompts import Turn
from rag.settings import load_settings
from rag.workbench.questions import has_answer

ROOT = Path(__file__).parent.parent
CONVERSATIONS = Path(__file__).parent / "data" / "conversations.jsonl"
FOLDERS = {
    "manual": ROOT / "docs",
    "squad": ROOT.parent / "shared" / "data" / "squad" / "docs",
    "multilingual": ROOT.parent / "shared" / "data" / "multilingual" / "docs",
}
SETTINGS = load_settings(docs_dir=ROOT / "docs")
DEEPEST = 5

Way = Callable[[dict[str, Any], Sequence[Turn], Library], Query]


def with_the_question_before(turn: dict[str, Any], history: Sequence[Turn], library: Library) -> Query:
    """Always, whatever was asked."""
    return Query(f"{history[-1].question} {turn['question']}") if history else Query(turn["question"])


def with_its_subject(turn: dict[str, Any], history: Sequence[Turn], library: Library) -> Query:
    """As the set has it, written by a person."""
    return Query(f"{turn['question']} {turn['subject']}" if "subject" in turn else turn["question"])


WAYS: dict[str, Way] = {
    "question alone": lambda turn, history, library: Query(turn["question"]),
    "always the one before": with_the_question_before,
    "rag.followup": lambda turn, history, library: standalone(turn["question"], history, weight=library.weight),
    "subject by hand": with_its_subject,
}


@dataclass(frozen=True)
class Asked:
    """
    One turn, searched for in one way.

    Attributes:
        turn: as in the set.
        query: what was searched for.
        place: of the first hit with the answer, from 0; 99 if none of five has it.
        in_evidence: whether the sentences for the prompt have the answer.
        abstained: whether the chat would say that the documents do not say.
        rewrite_ms: how long the rewriting took.
    """

    turn: dict[str, Any]
    query: Query
    place: int
    in_evidence: bool
    abstained: bool
    rewrite_ms: float


def is_right(hit: Hit, turn: dict[str, Any]) -> bool:
    """Whether a hit is one of the right documents and has a gold answer."""
    return hit.chunk.document in turn["documents"] and has_answer(hit.chunk.text, turn["answers"])


def converse(turns: Sequence[dict[str, Any]], library: Library, way: Way) -> list[Asked]:
    """One conversation in one way; each answer is the quotation that the chat would give."""
    asked: list[Asked] = []
    history: list[Turn] = []
    for turn in turns:
        began = perf_counter()
        query = way(turn, history, library)
        spent = perf_counter() - began
        hits = library.search(query.text, k=max(DEEPEST, SETTINGS.k))
        place = next((at for at, hit in enumerate(hits[:DEEPEST]) if is_right(hit, turn)), 99)
        weight = query.weighing(library.weight)
        found = bearing(query.text, hits[: SETTINGS.k], weight=weight)
        evidence = within(found, SETTINGS.evidence_tokens)
        share = coverage(query.text, evidence, weight=weight)
        abstained = not is_enough(evidence, share, hits, min_coverage=SETTINGS.min_coverage)
        in_evidence = has_answer(" ".join(one.text for one in evidence), turn["answers"])
        asked.append(Asked(turn, query, place, in_evidence, abstained, spent * 1e3))
        if not abstained:
            history.append(Turn(turn["question"], quote(found).text))
    return asked


def figures(asked: Sequence[Asked]) -> dict[str, Any]:
    """Of the turns of one kind."""
    count = len(asked)
    return {
        "turns": count,
        **rounded(
            {
                "recall@3": sum(one.place < 3 for one in asked) / count,
                "recall@5": sum(one.place < 5 for one in asked) / count,
                "evidence": sum(one.in_evidence for one in asked) / count,
                "answered": sum(one.in_evidence and not one.abstained for one in asked) / count,
                "left": sum(one.query.text == one.turn["question"] for one in asked) / count,
            },
            3,
        ),
    }


def idle_figures(asked: Sequence[Asked]) -> dict[str, Any]:
    """Of the turns that nothing answers."""
    return {
        "turns": len(asked),
        "abstained": sum(one.abstained for one in asked),
        "left": sum(one.query.text == one.turn["question"] for one in asked),
    }


def measure(conversations: Sequence[dict[str, Any]]) -> dict[str, list[Asked]]:
    """
    All conversations in all ways.

    Raises:
        SystemExit: an answer of the set is in none of its documents any more.
    """
    libraries = {
        name: Library(folder, chunk_words=SETTINGS.chunk_words, by_meaning=SETTINGS.by_meaning)
        for name, folder in FOLDERS.items()
    }
    for name in {one["docs"] for one in conversations}:
        asyncio.run(_filled(libraries[name]))
    for one in conversations:
        chunks = libraries[one["docs"]].shelf.index.chunks
        for turn in one["turns"]:
            if turn["answers"] and not any(is_right(Hit(chunk, 0.0), turn) for chunk in chunks):
                raise SystemExit(f"{one['id']}: no chunk of {turn['documents']} has {turn['answers']}.")
    return {
        name: [asked for one in conversations for asked in converse(one["turns"], libraries[one["docs"]], way)]
        for name, way in WAYS.items()
    }


async def _filled(library: Library) -> None:
    await library.refresh()
    await library.learn()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["dev", "test", "fresh", "all"], default="all")
    parser.add_argument("--json", action="store_true", help="the final line only")
    parser.add_argument("--misses", action="store_true", help="show what rag.followup does not find, or drags along")
    parser.add_argument("--out", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    conversations = [
        one
        for one in read_qa(CONVERSATIONS)
        if options.split in ("all", one["split"]) and FOLDERS[one["docs"]].is_dir()
    ]
    asked = measure(conversations)
    kinds = {
        kind: {
            name: figures([one for one in some if one.turn["answers"] and one.turn["kind"] == kind])
            for name, some in asked.items()
        }
        for kind in ("first", "follow", "change")
    }
    kinds["idle"] = {
        name: idle_figures([one for one in some if not one.turn["answers"]]) for name, some in asked.items()
    }
    times = [one.rewrite_ms for one in asked["rag.followup"]]
    if not options.json:
        for kind, of_kind in kinds.items():
            headings = [kind, *next(iter(of_kind.values()))]
            print(table(headings, [[name, *values.values()] for name, values in of_kind.items()]), end="\n\n")
        print(f"rewriting: {median(times):.3f} ms at the median, {quantile(times, 0.95):.3f} at p95")
    if options.misses:
        for one in asked["rag.followup"]:
            as_meant = bool(one.query.carried) == ("subject" in one.turn)
            if one.turn["answers"] and not (as_meant and one.in_evidence and one.place < 3):
                found = f"place {one.place:2}, {'in' if one.in_evidence else 'not in'} the evidence"
                print(f"{one.turn['kind']:6}  {found:30}  {one.query.text} ({one.query.reason})")
    conclude(
        {
            "split": options.split,
            "conversations": len(conversations),
            "turns": len(times),
            "kinds": kinds,
            "rewrite_ms": rounded({"p50": median(times), "p95": quantile(times, 0.95)}, 3),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
