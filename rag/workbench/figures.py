"""The figures over rows: pure, so that they can be made of a run as of a trace, whole or in part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rag.chunking import count_words
from rag.hedging import hedges
from rag.workbench.curve import baselines, saved_at
from rag.workbench.intervals import Floats, Ratio, interval, interval_of, mean, ratio
from rag.workbench.judging import NAMES as JUDGED
from rag.workbench.rows import Row

ORACLE = "oracle: the gold answers stand in"
_BINS = 10
_LEAST_RIGHT = 0.9
_SHARE = 0.95


def summed_up(rows: Sequence[Row], *, large_model: str | None = None) -> dict[str, Any]:
    """
    All figures, as `rag eval --json` prints them; one is None where no row has what it is made of.

    Shares and means are of 0 to 1, times in milliseconds, `tokens` are sums. `intervals` has the 95 % bootstrap
    intervals, over questions, by the names of the figures; `auroc.length` is `length` in `auroc`. `judged` is there
    where a large model graded the answers.

    Args:
        rows: one a question.
        large_model: the name of the one that was asked for each draft; None: the gold answers stand in for it.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("at least one row is needed, was: none")
    shares = ratios(rows)
    ranked = orders(rows)
    draft, large = qualities(rows, oracle=large_model is None)
    judged = [row for row in rows if _is_on_the_curve(row, oracle=large_model is None)]
    scores = {
        "confidence": np.array([row.confidence for row in judged], dtype=float),
        "length": np.array([_words(row) for row in judged], dtype=float),
    }
    ordered = baselines(draft, large, scores, share=_SHARE)
    areas = {name: auroc(*both) for name, both in ranked.items()}
    ece, coverage = calibration_error(rows), coverage_at(_LEAST_RIGHT, rows)

    def share(name: str) -> float | None:
        return _rounded(shares[name].value)

    times = [row.total_ms for row in rows if row.total_ms]
    firsts = [row.ttft_ms for row in rows if row.ttft_ms is not None]
    found: dict[str, Any] = {
        "questions": len(rows),
        "answerable": sum(row.answerable for row in rows),
        **{name: share(name) for name in ("answer_contains", "f1", "draft_contains", "quote_contains")},
        "abstention": {name: share(f"abstention.{name}") for name in ("precision", "recall", "f1")},
        **({"false_premise": share("false_premise")} if any(row.false_premise for row in rows) else {}),
        "escalation_rate": share("escalation_rate"),
        "drafts_stopped": share("drafts_stopped"),
        "routes": dict(sorted(Counter(row.route for row in rows).items())),
        "auroc": {name: _rounded(area) for name, area in areas.items()},
        "ece": _rounded(ece),
        "coverage_at_90": _rounded(coverage),
        **{
            name: share(name)
            for name in (
                "supported_sentences", "citation_precision", "answer_relevancy", "faithfulness", "context_precision",
            )
        },
        **({"judged": {name: share(f"judged.{name}") for name in JUDGED}} if any(row.judged for row in rows) else {}),
        "apgr": _rounded(ordered["confidence"]["apgr"]),
        "escalations_saved_at_95": _rounded(ordered["confidence"]["saved"]),
        "large_model": large_model or ORACLE,
        "ttft_ms_p50": _quantile(firsts, 0.5),
        "ttft_ms_p95": _quantile(firsts, 0.95),
        "total_ms_p50": _quantile(times, 0.5),
        "total_ms_p95": _quantile(times, 0.95),
        "tokens": {
            kind: sum(row.tokens[kind] for row in rows if row.tokens) if any(row.tokens for row in rows) else None
            for kind in ("prompt", "completion")
        },
        "orders": {name: {key: _all_rounded(value) for key, value in one.items()} for name, one in ordered.items()},
    }  # fmt: skip
    sure = {
        **{name: interval(one) for name, one in shares.items()},
        **{
            f"auroc.{name}": interval_of(_resampled_auroc(*both), len(both[0]))
            for name, both in ranked.items()
            if areas[name] is not None
        },
        "apgr": ordered["confidence"]["interval"],
        "escalations_saved_at_95": interval_of(
            lambda at: saved_at(_SHARE, draft[at], large[at], scores["confidence"][at]), len(draft)
        ),
    }
    if found["escalations_saved_at_95"] is None:
        sure.pop("escalations_saved_at_95")
    found["intervals"] = {name: _all_rounded(one) for name, one in sure.items() if one is not None}
    return found


def ratios(rows: Sequence[Row]) -> dict[str, Ratio]:
    """The figures that are shares or means over rows, by name."""

    def of_answerable(value: Callable[[Row], float | None]) -> Ratio:
        return mean([value(row) if row.answerable else None for row in rows])

    drafted = any(row.draft is not None for row in rows)
    right_silence = [float(row.abstained and not row.answerable) for row in rows]
    silent = [float(row.abstained) for row in rows]
    unanswerable = [float(not row.answerable) for row in rows]
    return {
        "answer_contains": of_answerable(lambda row: row.answer_right),
        "f1": of_answerable(lambda row: row.f1),
        "draft_contains": of_answerable(lambda row: row.draft_right if drafted else None),
        "quote_contains": of_answerable(lambda row: row.quote_right),
        "abstention.precision": ratio(right_silence, silent),
        "abstention.recall": ratio(right_silence, unanswerable),
        "abstention.f1": ratio([2 * one for one in right_silence], np.add(silent, unanswerable).tolist()),
        "false_premise": mean([row.abstained if row.false_premise else None for row in rows]),
        "escalation_rate": mean([is_escalated(row) for row in rows]),
        "drafts_stopped": mean([None if row.draft is None else row.stopped for row in rows]),
        "supported_sentences": ratio([row.cited for row in rows], [row.sentences for row in rows]),
        "citation_precision": ratio([row.cited_right for row in rows], [row.cited for row in rows]),
        "answer_relevancy": mean([row.answer_relevancy for row in rows]),
        "faithfulness": mean([row.faithfulness for row in rows]),
        "context_precision": mean([row.context_precision for row in rows]),
        **{f"judged.{name}": mean([(row.judged or {}).get(name) for row in rows]) for name in JUDGED},
    }


def is_escalated(row: Row) -> bool:
    """
    Whether the large model had to answer, or would have had to if there were one.

    So a draft that is replaced by a quotation counts; one that is only polished does not.
    """
    return row.route == "escalated" or (row.route == "quoted" and row.draft is not None)


def orders(rows: Sequence[Row]) -> dict[str, tuple[Floats, Floats]]:
    """
    What may tell whether a draft is right, by name: the values, and whether it is, (n,) each.

    Right is a draft that has an answer, so one for a question without an answer is always wrong. A row without a draft,
    or without this value, is left out.
    """
    signals: Mapping[str, Callable[[Row], float | None]] = {
        "confidence": lambda row: row.confidence,
        "confidence_without_logprobs": lambda row: row.confidence_without_logprobs,
        "length": _words,
        "logprob": lambda row: row.signals.get("logprob"),
        "support": lambda row: row.signals.get("support"),
    }
    found = {}
    for name, signal in signals.items():
        pairs = [(signal(row), row.draft_right) for row in rows if row.draft]
        known = [(value, right) for value, right in pairs if value is not None and math.isfinite(value)]
        found[name] = (np.array([one for one, _ in known]), np.array([right for _, right in known], dtype=float))
    return found


def auroc(values: Floats, right: Floats) -> float | None:
    """
    The chance that a right one has a higher value than a wrong one; ties count half. None without either.

    >>> auroc(np.array([0.2, 0.5, 0.5]), np.array([0.0, 0.0, 1.0]))
    0.75
    """
    good = float(right.sum())
    bad = len(right) - good
    if not good or not bad:
        return None
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    return float((ranks[place][right > 0].sum() - good * (good + 1) / 2) / (good * bad))


def calibration_error(rows: Sequence[Row]) -> float | None:
    """
    The expected calibration error of the confidence, 0 to 1: how far it is, on average, from the share that is right.

    Ten bins of equal width; the last one has 1.0 too. Over all judged drafts; None without one.

    Source: Naeini et al. (2015).
    """
    known = _judged(rows)
    if not known:
        return None
    values = np.array([row.confidence for row in known], dtype=float)
    right = np.array([row.draft_right for row in known], dtype=float)
    bins = np.minimum((values * _BINS + 1e-9).astype(int), _BINS - 1)
    gaps = [abs((values - right)[bins == one].sum()) for one in np.unique(bins)]
    return float(sum(gaps) / len(known))


def coverage_at(least: float, rows: Sequence[Row]) -> float | None:
    """
    The largest share of the answerable questions that a threshold keeps with so many of the kept drafts right.

    A question without a draft cannot be kept. Drafts of the same confidence are kept together, or not at all. 0 where
    no threshold will do, None where there is no judged draft.

    Source: the risk-coverage curve of selective prediction (Geifman and El-Yaniv 2017).
    """
    known = _judged([row for row in rows if row.answerable])
    if not known:
        return None
    known.sort(key=lambda row: -(row.confidence or 0.0))
    right, most = 0, 0
    for kept, (row, following) in enumerate(zip(known, [*known[1:], None], strict=True), start=1):
        right += row.draft_right
        ends_its_group = following is None or following.confidence != row.confidence
        if ends_its_group and right >= least * kept - 1e-9:
            most = kept
    return most / sum(row.answerable for row in rows)


def qualities(rows: Sequence[Row], *, oracle: bool) -> tuple[Floats, Floats]:
    """
    For the cost-quality curve: what each judged draft is worth, and what would replace it, 0 or 1, (n,) each.

    Worth 1 is a reply that has the answer, or, where there is none, that says so. Here, unlike in `orders`, a draft
    that rightly says that the documents do not say is right: the reader needs nothing better.

    Args:
        rows: those without a judged draft, or whose large answer is not known, are left out.
        oracle: whether a right reply stands in for the large model.
    """
    used = [row for row in rows if _is_on_the_curve(row, oracle=oracle)]
    draft = [_is_good(row, row.draft or "", right=row.draft_right) for row in used]
    large = [oracle or _is_good(row, row.large or "", right=bool(row.large_right)) for row in used]
    return np.array(draft, dtype=float), np.array(large, dtype=float)


def _is_on_the_curve(row: Row, *, oracle: bool) -> bool:
    return bool(_judged([row])) and (oracle or row.large is not None)


def _is_good(row: Row, text: str, *, right: bool) -> bool:
    return right if row.answerable else hedges(text)


def _judged(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.draft and row.confidence is not None and math.isfinite(row.confidence)]


def _words(row: Row) -> float:
    return float(count_words(row.draft or ""))


def _resampled_auroc(values: Floats, right: Floats) -> Callable[[Any], float | None]:
    return lambda at: auroc(values[at], right[at])


def _quantile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 1) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _all_rounded(value: Any) -> Any:
    return [_rounded(one) for one in value] if isinstance(value, tuple) else _rounded(value)
