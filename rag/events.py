"""What happens while a question is answered, in the order in which it happens, and the answer itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rag.backends.base import Usage
from rag.bm25 import Hit
from rag.confidence import Confidence
from rag.evidence import Citation, Evidence, without_marks
from rag.followup import Query
from rag.rules import rounded_down
from rag.shelf import Shelf
from rag.timings import Timings

Route = Literal["slm", "llm", "escalated", "refined", "quoted", "abstained"]
Status = Literal["complete", "partial"]


@dataclass(frozen=True)
class Waiting:
    """
    Nothing can happen yet.

    Attributes:
        why: `queue` for a slot, `model` for a model that is being loaded, `reasoning` for one that thinks first.
        text: a sentence for the reader, with the place in the queue or the name of the model.
    """

    why: Literal["queue", "model", "reasoning"]
    text: str


@dataclass(frozen=True)
class Retrieved:
    """
    The search is over.

    Attributes:
        hits: the chunks that matched, best first.
        evidence: the sentences chosen from them for the prompt, best first.
        quotes: the sentences that would be quoted, best first.
        query: what was searched for; for a follow-up, the question with the conversation's subject.
        shelf: the documents as they were; what cites them cites this state.
    """

    hits: tuple[Hit, ...]
    evidence: tuple[Evidence, ...]
    quotes: tuple[Evidence, ...]
    query: Query
    shelf: Shelf


@dataclass(frozen=True)
class Token:
    """A piece of text, and the model that it came from as far as is known yet."""

    text: str
    model: str


@dataclass(frozen=True)
class Reasoned:
    """
    What a model thought before it answered. It is no part of the answer.

    Attributes:
        text: its beginning, if it is very long.
        model: which model thought.
        seconds: from its first word to the answer's, or to the end where there was no answer.
        tokens: as the server counted them; None if it did not say.
    """

    text: str
    model: str
    seconds: float
    tokens: int | None = None


@dataclass(frozen=True)
class Escalated:
    """
    The draft is set aside, or there is none; the large model is asked. `reason` is a sentence with the numbers.

    Should the large model say nothing where there is no draft, the small one's tokens follow.
    """

    reason: str
    draft: str


@dataclass(frozen=True)
class Cost:
    """
    What the answer cost, in US dollars.

    Attributes:
        local: of the models on this machine: always 0.
        servers: of the servers elsewhere that were asked; 0 if none was, None if their tokens or prices are not known.
        cloud_equivalent: the same tokens at a hypothetical cloud's price; None if tokens or price are not known.
    """

    local: float = 0.0
    servers: float | None = 0.0
    cloud_equivalent: float | None = None


@dataclass(frozen=True)
class Verdict:
    """
    How a draft was judged, and what it cost.

    Attributes:
        threshold: the confidence that it needed, 0 to 1.
        kept_at: the highest threshold, in steps of 0.05, at which it would have been kept (or, if it was stopped,
            written on); None where it was kept, or where something else than its confidence decided.
        tokens: how many it has, as the server counted; as they came, if the server did not count.
        at_most: how many it might have had.
        seconds: from its request to the end of its judging.
        stopped: whether it was stopped before its end because it was hopeless.
    """

    threshold: float
    kept_at: float | None
    tokens: int
    at_most: int
    seconds: float
    stopped: bool = False


@dataclass(frozen=True)
class Answer:
    """
    A question's one and only result.

    Attributes:
        text: with `[1]` behind what a source supports and `[no source]` behind what none does.
        model: the model whose words these are, as its server reported it; empty for a quotation or an abstention.
        route: which way the answer took.
        status: `partial` if it was cut off; `reason` then says by what.
        reason: why it was escalated, refined, quoted, abstained or cut off, or why a kept draft was not checked; None
            for a draft that was simply kept.
        confidence: of the draft; None if there was none.
        citations: in the order of their numbers.
        unsupported: how many of its sentences nothing supports.
        usage_slm, usage_llm: None if the model was not asked or its server did not count.
        draft: what the reader saw before, where the final text replaced it; None otherwise.
        slm, llm: the models that were asked, in these roles; empty where none was.
        query: what was searched for.
        verdict: how the draft was judged; None if there was none.
        reasoning: what the model thought whose words these are, or whose silence made the documents speak; None if it
            did not think.
    """

    text: str
    model: str
    route: Route
    status: Status
    reason: str | None
    confidence: Confidence | None
    citations: tuple[Citation, ...]
    unsupported: int
    usage_slm: Usage | None
    usage_llm: Usage | None
    timings: Timings
    cost: Cost
    draft: str | None = None
    slm: str = ""
    llm: str = ""
    query: Query | None = None
    verdict: Verdict | None = None
    reasoning: Reasoned | None = None

    @property
    def plain(self) -> str:
        """The answer without marks; empty where there was none."""
        return "" if self.route == "abstained" else self.remembered

    @property
    def remembered(self) -> str:
        """What a later question may refer to, as a model should see it: the answer, or what was quoted in its place."""
        if self.route in ("quoted", "abstained"):
            return " ".join(citation.evidence.text for citation in self.citations)
        return without_marks(self.text)

    def to_metadata(self) -> dict[str, Any]:
        """The message metadata: what the page draws, the history keeps and `--json` prints."""
        return {
            "model": self.model,
            "route": self.route,
            "status": self.status,
            "reason": self.reason,
            "confidence": _confidence(self.confidence, self.verdict),
            "draft": _draft(self.verdict),
            "latency": self.timings.to_json(),
            "usage": {"slm": _usage(self.usage_slm), "llm": _usage(self.usage_llm)},
            "cost": {
                "local": self.cost.local,
                "servers": self.cost.servers,
                "cloud_equivalent": self.cost.cloud_equivalent,
                "currency": "USD",
            },
            "searched": _searched(self.query),
            "sources": [
                {
                    "id": citation.number,
                    "document": citation.evidence.chunk.document,
                    "page": citation.evidence.chunk.page,
                    "also": list(citation.evidence.also),
                    "heading": " › ".join(citation.evidence.chunk.heading),
                    "quote": citation.evidence.quote,
                    "score": round(citation.evidence.score, 2),
                }
                for citation in self.citations
            ],
            **_reasoning(self.reasoning),
        }


def _searched(query: Query | None) -> dict[str, str | None] | None:
    return {"for": query.text, "because": query.reason} if query and query.carried else None


@dataclass(frozen=True)
class Answered:
    """The end: always the last event, and always there unless an error is raised instead."""

    answer: Answer


Event = Waiting | Retrieved | Token | Escalated | Answered


def _usage(usage: Usage | None) -> dict[str, int] | None:
    return usage.to_json() if usage else None


def _reasoning(reasoned: Reasoned | None) -> dict[str, Any]:
    if reasoned is None:
        return {}
    ms = round(reasoned.seconds * 1000, 4)
    return {"reasoning": {"text": reasoned.text, "ms": ms, "tokens": reasoned.tokens, "model": reasoned.model}}


def _confidence(confidence: Confidence | None, verdict: Verdict | None) -> dict[str, Any] | None:
    if confidence is None:
        return None
    return {
        "value": rounded_down(confidence.value, 3),  # 0.5996 must not be 0.6, which would have been kept
        "signal": confidence.signal,
        "threshold": verdict.threshold if verdict else None,
        "kept_at": verdict.kept_at if verdict else None,
        "parts": [
            {"name": part.name, "value": round(part.value, 4), "weight": round(part.weight, 4)}
            for part in confidence.parts
        ],
    }


def _draft(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "tokens": verdict.tokens,
        "at_most": verdict.at_most,
        "ms": round(verdict.seconds * 1000, 4),
        "stopped": verdict.stopped,
    }
