"""
Fit the confidence mix: which signals of a draft tell that it is right?

Answers SQuAD questions (a third of them unanswerable) with the embedded model, notes each draft's signals and
whether it contains a gold answer, and fits a logistic mix with and without log-probabilities. The figures are
cross-validated over five folds; the printed coefficients are fitted on all rows and go into rag/confidence.py.

    python -m benchmarks.confidence --qa QA.jsonl --docs DIR [--limit 420] [--out benchmarks/results/…json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import contains_answer, describe_run, read_qa
from rag.assistant import build_assistant
from rag.backends.base import Text
from rag.confidence import mean_logprob, support_by_top
from rag.evidence import coverage, gather
from rag.prompts import build_messages
from rag.settings import load_settings

SIGNALS = ("support", "coverage", "logprob")


async def collect(qa: Sequence[dict[str, Any]], docs: Path) -> list[dict[str, Any]]:
    """One row a question: the draft, its signals, and whether it is right."""
    settings = load_settings(docs_dir=docs)
    assistant = build_assistant(settings)
    await assistant.start()
    assert assistant.models is not None
    rows: list[dict[str, Any]] = []
    library = assistant.library

    async def one(item: dict[str, Any]) -> None:
        question = item["question"]
        evidence = gather(
            question, library.search(question, k=settings.k), tokens=settings.evidence_tokens, weight=library.weight
        )
        text, logprobs = "", list[float]()
        stream = assistant.models.slm.stream(
            build_messages(question, evidence), max_tokens=settings.slm_max_tokens, temperature=0.0
        )
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if isinstance(piece, Text):
                    text += piece.text
                    logprobs.extend(piece.logprobs or ())
        rows.append(
            {
                "question": question,
                "draft": text,
                "right": contains_answer(text, item["answers"]),
                "answerable": bool(item["answers"]),
                "quoted_right": contains_answer(" ".join(e.text for e in evidence[:2]), item["answers"]),
                "support": support_by_top(text, question, evidence),
                "coverage": coverage(question, evidence, weight=library.weight),
                "logprob": mean_logprob(logprobs),
                "words": len(text.split()),
            }
        )
        if len(rows) % 20 == 0:
            print(f"{len(rows)} of {len(qa)}", flush=True)

    slots = asyncio.Semaphore(settings.slots)

    async def in_turn(item: dict[str, Any]) -> None:
        async with slots:
            await one(item)

    await asyncio.gather(*(in_turn(item) for item in qa))
    await assistant.stop()
    return rows


def fit(features: np.ndarray, right: np.ndarray, *, ridge: float = 1.0, rounds: int = 30) -> np.ndarray:
    """Logistic regression by Newton's method: (n, m) features and (n,) labels to (m + 1,) weights, bias first."""
    x = np.column_stack([np.ones(len(features)), features])
    weights = np.zeros(x.shape[1])
    penalty = ridge * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (chance - right) + penalty @ weights
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
        weights -= np.linalg.solve(hessian, gradient)
    return weights


def auroc(scores: np.ndarray, right: np.ndarray) -> float:
    """The chance that a right draft scores above a wrong one; ties count half."""
    good, bad = scores[right], scores[~right]
    above = (good[:, None] > bad[None, :]).mean() + 0.5 * (good[:, None] == bad[None, :]).mean()
    return float(above)


def cross_validated(features: np.ndarray, right: np.ndarray, folds: int = 5) -> dict[str, float]:
    """AUROC, expected calibration error (10 bins) and what is kept at 0.60, each row scored by the other folds."""
    scores = np.zeros(len(right))
    for fold in range(folds):
        held = np.arange(len(right)) % folds == fold
        weights = fit(features[~held], right[~held])
        scores[held] = 1 / (1 + np.exp(-(weights[0] + features[held] @ weights[1:])))
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs(scores[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    kept = scores >= 0.60
    return {
        "auroc": round(auroc(scores, right), 4),
        "ece": round(float(sum(gaps)), 4),
        "kept_at_0.60": round(float(kept.mean()), 4),
        "right_of_kept": round(float(right[kept].mean()), 4) if kept.any() else float("nan"),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qa", type=Path, required=True)
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=420)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=Path, help="keep the collected rows here, or read them if the file exists")
    options = parser.parse_args()
    if options.rows and options.rows.exists():
        rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    else:
        qa = read_qa(options.qa)
        random.Random(7).shuffle(qa)
        answerable = [item for item in qa if item["answers"]][: options.limit * 2 // 3]
        other = [item for item in qa if not item["answers"]][: options.limit // 3]
        rows = asyncio.run(collect(answerable + other, options.docs))
        random.Random(7).shuffle(rows)
        if options.rows:
            options.rows.write_text("\n".join(json.dumps(row) for row in rows))
    right = np.array([row["right"] for row in rows])
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in (*SIGNALS, "words")}
    result: dict[str, Any] = {
        **describe_run("python -m benchmarks.confidence"),
        "questions": len(rows),
        "answerable": sum(row["answerable"] for row in rows),
        "draft_right_of_answerable": round(right.sum() / sum(row["answerable"] for row in rows), 4),
        "quoted_right_of_answerable": round(
            sum(row["quoted_right"] for row in rows) / sum(row["answerable"] for row in rows), 4
        ),
        "auroc_single": {name: round(auroc(column, right), 4) for name, column in columns.items()},
    }
    for name, used in {
        "support": ("support",),
        "support+coverage": ("support", "coverage"),
        "logprob+support": ("support", "logprob"),
        "logprob+support+coverage": SIGNALS,
    }.items():
        features = np.column_stack([columns[signal] for signal in used])
        weights = fit(features, right)
        named = dict(zip(("bias", *used), (round(float(w), 3) for w in weights), strict=True))
        result[name] = {**cross_validated(features, right), "weights": named}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
