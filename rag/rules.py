"""Rules around the judging of drafts: what goes to the large model without one, and what must not go to it."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from rag.cards import Capability, Card, wanted_by
from rag.settings import Escalate

# Of so many answers the time to the first word is known, and for so long it tells something, in seconds. A large model
# that was slow is then tried again; nothing else would ever find out that it is quick by now.
_TTFTS = 5
_TTFT_HOLDS_S = 300.0
# Fewer measurements say nothing: the first answer of a model is often a slow one.
_FEWEST_TTFTS = 3
_MINUTE_S = 60.0
_TASKS: Mapping[Capability, str] = {
    "code": "writing code", "summarise": "summarising", "classify": "classifying", "general": "general knowledge",
}  # fmt: skip
_STEP = 0.05


@dataclass(frozen=True)
class Rules:
    """
    What is decided apart from how good a finished draft is. Each default but those of `early` switches its rule off.

    Attributes:
        escalate: `always`: no question is drafted; `never`: none is escalated; `auto`: the draft decides.
        topics: regular expressions; a question that matches one, in any case, goes to the LLM without a draft.
        weak_coverage: with a lower share of the question's words in the best evidence, the LLM is asked without a
            draft; 0 to 1.
        early_tokens: after so many tokens a draft is judged for the first time; 0: only when it is finished.
        early_confidence: a running draft with a lower confidence is stopped; 0 to 1.
        per_minute, per_chat: the most escalations of all chats in a minute, and of one chat; 0: no limit.
        ttft_budget_s: how long the LLM may usually take to its first word, in seconds; 0: no limit.
    """

    escalate: Escalate = "auto"
    topics: tuple[str, ...] = ()
    weak_coverage: float = 0.0
    early_tokens: int = 12
    early_confidence: float = 0.25
    per_minute: int = 0
    per_chat: int = 0
    ttft_budget_s: float = 0.0


@dataclass
class Ledger:
    """
    What the rules go by: when the LLM was asked, and how long its first word took.

    The times are seconds of any one clock. A chat has a ledger of its own, of which only the count is used.

    >>> ledger = Ledger()
    >>> ledger.escalated(at=10.0), ledger.escalated(at=65.0)
    (None, None)
    >>> ledger.count, ledger.in_last_minute(now=75.0)
    (2, 1)
    """

    count: int = 0
    _asked: deque[float] = field(default_factory=deque)
    _ttfts: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_TTFTS))  # (when, seconds)

    def escalated(self, *, at: float) -> None:
        """Note that the LLM is asked now."""
        self.count += 1
        self._asked.append(at)
        self.in_last_minute(now=at)

    def in_last_minute(self, *, now: float) -> int:
        """How many escalations there were in the 60 seconds before now."""
        while self._asked and self._asked[0] <= now - _MINUTE_S:
            self._asked.popleft()
        return len(self._asked)

    def saw_ttft(self, seconds: float, *, at: float) -> None:
        """Note how long the LLM took from the request to its first word."""
        self._ttfts.append((at, seconds))

    def usual_ttft_s(self, *, now: float) -> float | None:
        """The median of the last 5 times to the first word; None with fewer than 3 in the last 5 minutes."""
        recent = [seconds for at, seconds in self._ttfts if at > now - _TTFT_HOLDS_S]
        return median(recent) if len(recent) >= _FEWEST_TTFTS else None


def reason_to_skip_the_draft(
    question: str, coverage: float, rules: Rules, *, small: Card | None = None, large: Card | None = None
) -> str | None:
    """
    Why a question goes to the large model without a draft; None if it is drafted first.

    Args:
        question: as asked.
        coverage: the share of its words that the best evidence has, 0 to 1.
        rules: what holds.
        small, large: what is known of both models. A question that wants what only the large one is good at is not
            drafted; where nothing is known, nothing follows.

    >>> reason_to_skip_the_draft("What is the torque?", 0.31, Rules(weak_coverage=0.4))
    "weak evidence: 0.31 < 0.40 of the question's words"
    """
    if rules.escalate == "always":
        return "every question is escalated (RAG_ESCALATE)"
    topic = matching(rules.topics, question)
    if topic is not None:
        return f"flagged topic: {topic}"
    wanted = wanted_by(question)
    if small and large and small.lacks(wanted) and wanted in large.capabilities:
        return f"{_TASKS[wanted]} is not what {small.alias} is good at"
    if coverage < rules.weak_coverage:
        return weak_evidence(coverage, rules.weak_coverage)
    return None


def reason_not_to_escalate(
    rules: Rules, *, in_last_minute: int = 0, in_chat: int = 0, ttft_s: float | None = None
) -> str | None:
    """
    Which rule forbids to ask the large model now; None if none does.

    Args:
        rules: what holds.
        in_last_minute: escalations of all chats in the last 60 seconds.
        in_chat: escalations of this chat.
        ttft_s: the LLM's usual time to its first word, in seconds; None: not known, which forbids nothing.

    >>> reason_not_to_escalate(Rules(per_minute=5), in_last_minute=5)
    'limit of 5 escalations a minute reached'
    """
    if rules.escalate == "never":
        return "escalation is switched off (RAG_ESCALATE)"
    if 0 < rules.per_chat <= in_chat:
        return f"limit of {_escalations(rules.per_chat)} in a chat reached"
    if 0 < rules.per_minute <= in_last_minute:
        return f"limit of {_escalations(rules.per_minute)} a minute reached"
    if ttft_s is not None and 0 < rules.ttft_budget_s < ttft_s:
        # Rounded up, so that the two numbers are never the same.
        needs, budget = math.ceil(ttft_s * 1000 - 1e-6), round(rules.ttft_budget_s * 1000)
        return f"the large model needs {needs:,} ms to its first word, the budget is {budget:,}"
    return None


def matching(patterns: Sequence[str], question: str) -> str | None:
    """The first of the regular expressions that a question matches, in any case; None if it matches none."""
    return next((pattern for pattern in patterns if re.search(pattern, question, re.IGNORECASE)), None)


def weak_evidence(share: float, threshold: float) -> str:
    """The sentence for evidence that has too few of the question's words."""
    return f"weak evidence: {below(share, threshold)} of the question's words"


def below(value: float, threshold: float) -> str:
    """
    Both numbers for the screen, the value rounded down, so that it never shows as equal.

    >>> below(0.598, 0.60)
    '0.59 < 0.60'
    """
    return f"{rounded_down(value):.2f} < {threshold:.2f}"


def rounded_down(value: float, digits: int = 2) -> float:
    """A number without what stands behind so many digits."""
    scale = 10.0**digits
    return math.floor(value * scale + 1e-9) / scale


def would_keep(value: float) -> float:
    """
    The highest round threshold, in steps of 0.05, at which a draft of this confidence is kept.

    >>> would_keep(0.58)
    0.55
    """
    return round(math.floor(value / _STEP + 1e-9) * _STEP, 2)


def _escalations(count: int) -> str:
    return f"{count:,} escalation{'' if count == 1 else 's'}"
