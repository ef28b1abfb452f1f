"""How well the search finds what is known to be there, without any model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles
from typing import Any

from rag.evidence import gather
from rag.followup import standalone
from rag.prompts import Turn
from rag.shelf import Shelf
from rag.workbench.questions import Known, has_answer

_DEPTHS = (1, 3, 5, 10)


@dataclass(frozen=True)
class Found:
    """
    What the search found for one question.

    Attributes:
        known: the question.
        place: where the first hit with an answer stands, from 1; None: not among the first ten.
        in_evidence: whether the evidence has an answer.
        context_words: how many words the first five hits have.
        evidence_words: how many words the evidence has.
        search_s: how long the search took, in seconds.
    """

    known: Known
    place: int | None
    in_evidence: bool
    context_words: int
    evidence_words: int
    search_s: float


@dataclass(frozen=True)
class Evaluation:
    """
    Looks questions up as the chat would.

    Attributes:
        shelf: the documents.
        k: how many hits the evidence is gathered from.
        evidence_tokens: its budget, in estimated tokens.
    """

    shelf: Shelf
    k: int
    evidence_tokens: int

    def look_up(self, known: Known) -> Found:
        """Search for one question, with the subject of those before it, and see where its answer is."""
        asked = time.perf_counter()
        turns = [Turn(earlier, "") for earlier in known.history]
        query = standalone(known.question, turns, weight=self.shelf.weight)
        hits = self.shelf.search(query.text, k=_DEPTHS[-1])
        took = time.perf_counter() - asked
        weight = query.weighing(self.shelf.weight, words=self.shelf.index.words)
        evidence = gather(query.text, hits[: self.k], tokens=self.evidence_tokens, weight=weight)

        def right(text: str, *documents: str) -> bool:
            return known.document in ("", *documents) and has_answer(text, known.answers)

        places = [at for at, hit in enumerate(hits, 1) if right(hit.chunk.text, hit.chunk.document, *hit.also)]
        return Found(
            known,
            min(places, default=None),
            any(right(one.text, one.chunk.document, *one.also) for one in evidence),
            sum(len(hit.chunk.text.split()) for hit in hits[:5]),
            sum(len(one.text.split()) for one in evidence),
            took,
        )


def summed_up(found: Sequence[Found]) -> dict[str, Any]:
    """
    The figures over all answerable questions, as `rag eval --retrieval --json` prints them.

    Raises:
        ValueError: there is no question among them.
    """
    if not found:
        raise ValueError("at least one answerable question is needed, was: none")
    times = [one.search_s * 1000 for one in found]
    recall = {
        f"answer_recall@{depth}": _share([one.place is not None and one.place <= depth for one in found])
        for depth in _DEPTHS
    }
    return {
        "questions": len(found),
        **recall,
        "mrr@10": round(fmean(1 / one.place if one.place else 0.0 for one in found), 4),
        "context_words@5": round(fmean(one.context_words for one in found), 1),
        "evidence_recall": _share([one.in_evidence for one in found]),
        "evidence_words": round(fmean(one.evidence_words for one in found), 1),
        "search_ms_p50": round(quantiles(times, n=100, method="inclusive")[49] if len(times) > 1 else times[0], 3),
        "search_ms_p95": round(quantiles(times, n=100, method="inclusive")[94] if len(times) > 1 else times[0], 3),
    }


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)
