"""Whole answers to a part of the house set, by the embedded model: what a reader of the manual gets."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from rag.assistant import build_assistant
from rag.settings import Settings
from rag.workbench.figures import summed_up
from rag.workbench.questions import Known, read_questions
from rag.workbench.rows import Row, collect

ROOT = Path(__file__).resolve().parents[1]
HOUSE = read_questions(Path(__file__).parent / "data" / "house.jsonl").known
SEED = 7


def drawn(count: int, *, answerable: bool) -> list[Known]:
    """Some of the questions without a conversation, the same ones each time."""
    fit = [known for known in HOUSE if bool(known.answers) is answerable and not known.history]
    return random.Random(SEED).sample(fit, count)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Answered through the whole assistant."""

    async def answered() -> list[Row]:
        assistant = build_assistant(Settings(docs_dir=ROOT / "docs"))
        try:
            await assistant.start()
            await assistant.library.learn()
            asked = [*drawn(36, answerable=True), *drawn(12, answerable=False)]
            async with aclosing(collect(assistant, asked)) as found:
                return [row async for row in found]
        finally:
            await assistant.stop()

    return asyncio.run(answered())


@pytest.mark.model
def test_most_answers_are_right_and_all_of_them_are_supported(rows: list[Row]) -> None:
    """Measured on 2026-11-20: see the figures in benchmarks/README.md; these floors are well below."""
    figures = summed_up(rows)
    missed = [row.question for row in rows if row.answerable and not row.answer_right]
    assert figures["answer_contains"] >= 0.5, missed
    assert figures["supported_sentences"] >= 0.95, figures
    assert figures["citation_precision"] >= 0.95, figures


@pytest.mark.model
def test_every_answer_took_a_way_that_its_card_explains(rows: list[Row]) -> None:
    """Kept with a confidence, or replaced with a reason; none failed, and none was cut."""
    assert {row.status for row in rows} == {"complete"}
    assert {row.route for row in rows} <= {"slm", "quoted", "abstained"}
    assert [row.question for row in rows if row.route != "slm" and not row.reason] == []
    kept = [row for row in rows if row.route == "slm"]
    assert all(row.confidence is not None and row.confidence >= 0.6 and row.cited for row in kept)
