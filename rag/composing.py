"""The answer that is made of what the router decided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.costs import Price, Used, cost_of
from rag.events import Answer, Cost
from rag.evidence import Cited, Evidence, cite, quote
from rag.generation import Task
from rag.router import Routed
from rag.rules import weak_evidence
from rag.shelf import Shelf
from rag.text import words
from rag.timings import Stopwatch


@dataclass(frozen=True)
class Prices:
    """What tokens cost: of the SLM and the LLM, None where it runs on this machine, and of a hypothetical cloud."""

    slm: Price | None
    llm: Price | None
    cloud: Price


async def compose(routed: Routed, task: Task, quotes: Sequence[Evidence], *, prices: Prices, llm: str) -> Answer:
    """
    The answer that the router's decision makes: with its citations, its times and what it cost.

    Args:
        routed: the decision.
        task: the question on its way.
        quotes: the sentences that are quoted where no model's words stand.
        prices: of the models.
        llm: the large model's name, where it was asked and said nothing.
    """
    asked_llm = any(stage.name.startswith("llm_") for stage in task.watch.timings().stages)
    task.watch.saw_text()
    if routed.route == "quoted":
        cited = _quotation(quotes, "The documents say:")
    elif routed.route == "abstained":
        cited = _quotation(quotes, "The documents do not say. This comes nearest:")
    else:
        known = routed.final.cited
        cited = known if known else await asyncio.to_thread(cite, routed.final.text, task.evidence)
    task.watch.lap("llm_judge" if asked_llm else "judge")
    draft = routed.draft
    reasoning = routed.final.reasoning
    if routed.route in ("quoted", "abstained") and draft and not reasoning:
        reasoning = draft.reasoning
    replaced = draft if draft is not None and draft is not routed.final and draft.text else None
    usage_slm = draft.usage if draft else None
    usage_llm = routed.final.usage if routed.final is not draft else None
    used = [Used(usage_slm, prices.slm)] if draft else []
    used += [Used(usage_llm, prices.llm)] if asked_llm else []
    return Answer(
        text=cited.text,
        model="" if routed.route in ("quoted", "abstained") else routed.final.model,
        route=routed.route,
        status=routed.status,
        reason=routed.reason,
        confidence=draft.confidence if draft else None,
        citations=cited.citations,
        unsupported=cited.unsupported,
        usage_slm=usage_slm,
        usage_llm=usage_llm,
        timings=task.watch.timings(),
        cost=cost_of(used, cloud=prices.cloud),
        draft=replaced.text if replaced else None,
        slm=draft.model if draft else "",
        llm=(routed.final.model if routed.final is not draft else llm) if asked_llm else "",
        verdict=routed.verdict,
        reasoning=reasoning,
    )


async def abstain(
    question: str, shelf: Shelf, evidence: Sequence[Evidence], share: float, watch: Stopwatch, *, min_coverage: float
) -> Answer:
    """The answer to a question that the documents do not answer: which of them are the nearest, and why it is none."""
    if not words(question):
        why = "the question has no word to search for"
    elif not evidence:
        why = "no document shares a word with the question"
    else:
        why = weak_evidence(share, min_coverage)
    names = [f"`{name}`" for name in await asyncio.to_thread(shelf.nearest, question)]
    text = f"The documents do not say. The nearest ones are: {', '.join(names)}."
    watch.saw_text()
    watch.lap("evidence")
    return Answer(
        text=text,
        model="",
        route="abstained",
        status="complete",
        reason=why,
        confidence=None,
        citations=(),
        unsupported=0,
        usage_slm=None,
        usage_llm=None,
        timings=watch.timings(),
        cost=Cost(cloud_equivalent=0.0),
    )


def _quotation(quotes: Sequence[Evidence], opening: str) -> Cited:
    cited = quote(quotes)
    return replace(cited, text=f"**{opening}**\n\n{cited.text}")
