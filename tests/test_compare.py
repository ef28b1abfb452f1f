"""The rows of `compare`, and the file that is filled in by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from rag.backends.scripted import Script, ScriptedBackend
from rag.bm25 import Hit
from rag.cards import Cards
from rag.chunking import Chunk
from rag.commands.tables import comparison_table
from rag.costs import Price
from rag.errors import FileError, ModelBroke
from rag.evidence import Evidence
from rag.shelf import Shelf
from rag.workbench.annotations import BY_HAND, read_filled_in, to_fill_in
from rag.workbench.compare import Brief, Comparison, evidence_for
from rag.workbench.contenders import Contender
from rag.workbench.marks import Marks

pytestmark = pytest.mark.anyio

PORT = "The chat listens on port 8000."
EVIDENCE = (Evidence(PORT, PORT, Chunk(PORT, "ports.md"), 0, len(PORT)),)
SLM, LLM = "It is 8000.", "The chat listens on port 8000, as the page on ports says."


def contender(*scripts: Script | str, alias: str = "slm") -> Contender:
    """A model that plays scripts: the first is the answer to the greeting."""
    return Contender(alias, ScriptedBackend(*scripts, label=alias))


async def rows_of(*contenders: Contender, **brief: Any) -> list[dict[str, Any]]:
    """The rows of these."""
    comparison = Comparison(contenders, Brief("Which port?", **brief))
    async with asyncio.timeout(30):
        await comparison.run()
    return comparison.rows()


async def test_a_row_has_the_workshops_fields_first() -> None:
    """`alias, latency_sec, tokens, sample`; the last model is what the others are compared with."""
    slow = Script(LLM, pace_s=0.01)
    slm, llm = await rows_of(contender("Hi.", SLM), contender("Hi.", slow, alias="llm"), cloud=Price(1.0, 10.0))
    assert list(slm)[:4] == ["alias", "latency_sec", "tokens", "sample"]
    assert (slm["alias"], slm["tokens"], slm["sample"], slm["text"]) == ("slm", 3, SLM, SLM)
    assert "error" not in slm
    assert slm["speed_up"] > 2
    assert (llm["speed_up"], slm["token_delta"], llm["token_delta"]) == (1.0, -9, 0)
    assert slm["cost_cloud_equivalent"] == pytest.approx((2 * 1.0 + 3 * 10.0) / 1e6)
    assert slm["first_token_latency_sec"] <= slm["latency_sec"]
    assert (slm["scores"], slm["judge"], slm["judged_itself"], slm["evidence"]) == (None, None, False, [])


async def test_what_a_model_thinks_is_billed() -> None:
    """`tokens` are the answer's; what a cloud bills has the reasoning in it."""
    (row,) = await rows_of(contender("Hi.", Script(SLM, reasoning="Let me see.")), cloud=Price(1.0, 10.0))
    assert (row["tokens"], row["completion_tokens"], row["reasoning_tokens"]) == (3, 6, 3)
    assert row["cost_cloud_equivalent"] == pytest.approx((2 * 1.0 + 6 * 10.0) / 1e6)


async def test_all_are_asked_the_same_with_the_same_evidence() -> None:
    """Word for word, after a greeting that counts for nothing."""
    one, two = contender("Hi.", SLM), contender("Hi.", LLM, alias="llm")
    rows = await rows_of(one, two, evidence=EVIDENCE)
    assert isinstance(one.backend, ScriptedBackend)
    assert isinstance(two.backend, ScriptedBackend)
    assert one.backend.requests[1] == two.backend.requests[1]
    assert one.backend.requests[1][-1]["content"] == f"Context:\n- {PORT}\n\nQuestion: Which port?"
    assert rows[0]["evidence"] == rows[1]["evidence"] == [{"document": "ports.md", "text": PORT}]


async def test_without_evidence_the_prompt_is_asked_alone() -> None:
    """No instruction to answer from a context that is not there."""
    one = contender("Hi.", SLM)
    await rows_of(one)
    assert isinstance(one.backend, ScriptedBackend)
    assert one.backend.requests[1] == [{"role": "user", "content": "Which port?"}]


async def test_a_model_that_fails_is_a_row_with_an_error_and_what_it_said_until_then() -> None:
    """The workshop's shape; nothing can be compared with a last one that failed."""
    cut = Script("It is perhaps", error=ModelBroke("It broke."), error_after=2)
    ok, broken = await rows_of(contender("Hi.", SLM), contender("Hi.", cut, alias="llm"))
    assert list(broken)[:2] == ["alias", "error"]
    assert (broken["error"], broken["sample"], broken["status"]) == ("It broke.", "It is", "failed")
    assert (ok["speed_up"], ok["token_delta"]) == (None, None)
    gone, ok = await rows_of(Contender("gone", None, "There is none."), contender("Hi.", SLM))
    assert (gone["alias"], gone["error"]) == ("gone", "There is none.")
    assert ok["speed_up"] == 1.0


async def test_the_price_of_a_models_card_counts_before_that_of_the_cloud(tmp_path: Path) -> None:
    """As in a report; a card with half a price has none."""
    path = tmp_path / "models.json"
    path.write_text('{"slm": {"price_in": 100, "price_out": 1000}, "llm": {"price_in": 100}}', encoding="utf-8")
    cards = Cards(path)
    cards.refresh()
    found = [contender("Hi.", SLM), contender("Hi.", SLM, alias="llm")]
    comparison = Comparison(found, Brief("Which port?", cloud=Price(1.0, 10.0)), cards=cards)
    await comparison.run()
    costs = [row["cost_cloud_equivalent"] for row in comparison.rows()]
    assert costs == [pytest.approx((2 * 100 + 3 * 1000) / 1e6), pytest.approx((2 * 1 + 3 * 10) / 1e6)]
    assert [row["cost_cloud_equivalent"] for row in await rows_of(contender("Hi.", SLM))] == [None]


async def test_one_after_the_other_is_the_rule_and_together_on_demand() -> None:
    """So that none slows another down, unless that is wanted."""
    most = 0

    async def ask(*, together: bool) -> list[int]:
        nonlocal most
        most = 0
        slow = [contender("Hi.", Script("a b c", pace_s=0.01), alias=str(at)) for at in range(2)]
        places: list[int] = []

        def show(place: int, text: str) -> None:
            nonlocal most
            most = max(most, sum(one.backend.open for one in slow if isinstance(one.backend, ScriptedBackend)))
            places.append(place)

        comparison = Comparison(slow, Brief("?", together=together), show=show)
        await comparison.run()
        assert [row["alias"] for row in comparison.rows()] == ["0", "1"]
        return places

    assert await ask(together=False) == [0, 0, 0, 1, 1, 1]
    assert most == 1
    assert sorted(await ask(together=True)) == [0, 0, 0, 1, 1, 1]
    assert most == 2


@pytest.mark.parametrize("together", [False, True])
async def test_a_stop_keeps_the_answers_that_are_whole(together: bool) -> None:
    """And says of the others that they were stopped, with their beginning."""
    quick, slow = contender("Hi.", SLM), contender("Hi.", Script("a b", pace_s=0.2), alias="llm")
    said: list[str] = []
    comparison = Comparison([quick, slow], Brief("?", together=together), show=lambda place, text: said.append(text))
    task = asyncio.create_task(comparison.run())
    async with asyncio.timeout(10):
        while "a" not in said:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first, second = comparison.rows()
    assert first["text"] == SLM
    assert (second["error"], second["sample"]) == ("Stopped before its answer was whole.", "a")
    assert isinstance(slow.backend, ScriptedBackend)
    assert slow.backend.open == 0


class Near:
    """Documents with one sentence that has one word of many, and this nearness in meaning."""

    def __init__(self, near: float) -> None:
        self._hit = Hit(EVIDENCE[0].chunk, 1.0, closeness=1.0, near=(near,))

    def search(self, query: str, *, k: int) -> list[Hit]:
        """That sentence, whatever is asked."""
        return [self._hit]

    def weight(self, word: str) -> float:
        """All alike."""
        return 1.0


@pytest.mark.parametrize(("near", "count"), [(0.9, 1), (0.1, 0)])
def test_evidence_that_is_near_in_meaning_counts_as_in_the_chat(near: float, count: int) -> None:
    """Few common words do not matter then."""
    shelf = cast(Shelf, Near(near))
    prompt = "Tell whoever calls next week about gates, doors, windows, roofs and any port"
    assert len(evidence_for(shelf, prompt, k=4, tokens=100, min_coverage=0.5)) == count


@pytest.mark.parametrize(
    ("place", "name", "value", "wanted"),
    [
        pytest.param(1, "latency_sec", float("nan"), "a number or null, was: nan", id="no number"),
        pytest.param(1, "latency_sec", "1", "a number or null, was: 1", id="a text"),
        pytest.param(1, "speed_up", float("inf"), "a number or null, was: inf", id="no end"),
        pytest.param(1, "cost_cloud_equivalent", 10**400, "a number or null, was: 1000", id="too much"),
        pytest.param(1, "tokens", 2.5, "a whole number or null, was: 2.5", id="half a token"),
        pytest.param(1, "token_delta", True, "a whole number or null, was: True", id="true"),
        pytest.param(1, "judge", ["me"], "a text or null, was: ['me']", id="a list of judges"),
        pytest.param(1, "model", 3, "a text or null, was: 3", id="a model that is none"),
        pytest.param(1, "judged_itself", "no", "true, false or null, was: no", id="no as a text"),
        pytest.param(1, "machine", {"a": [float("nan")]}, "without numbers that JSON has not", id="deep inside"),
        pytest.param(2, "sample", {"a": 1}, "a text or null, was: {'a': 1}", id="sample of a failure"),
        pytest.param(2, "text", 7, "a text or null, was: 7", id="text of a failure"),
        pytest.param(2, "model", [], "a text or null, was: []", id="model of a failure"),
        pytest.param(2, "error", None, "a text, was: None", id="no reason"),
        pytest.param(2, "alias", " ", "the name of a model, was:  ", id="no name"),
    ],
)
async def test_a_value_that_cannot_be_shown_is_named(
    tmp_path: Path, place: int, name: str, value: Any, wanted: str
) -> None:
    """With its file, row and field; what is read can be drawn as a table and as JSON."""
    path = await filled(tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    found["rows"][place - 1][name] = value
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(FileError) as raised:
        read_filled_in(path)
    assert f'{path}, row {place}: "{name}" must be {wanted}' in str(raised.value)


async def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path) -> None:
    """As some programs save it."""
    path = await filled(tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    found["rows"][0] |= {"tokens": 12.0, "token_delta": -3.0}
    path.write_text(json.dumps(found), encoding="utf-8")
    lines = comparison_table(read_filled_in(path))
    assert "-3" in lines[1].split()


async def filled(tmp_path: Path, **scores: Any) -> Path:
    """An annotation file as it is after a person had it."""
    rows = await rows_of(contender("Hi.", SLM), Contender("gone", None, "There is none."))
    made = json.loads(to_fill_in(rows))
    made["rows"][0]["scores"] |= scores
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


async def test_a_file_to_fill_in_is_read_back_with_its_marks(tmp_path: Path) -> None:
    """Every answer has its nulls; what is left null stays null; a model that failed has none."""
    path = await filled(tmp_path)
    untouched, failed = read_filled_in(path)
    assert untouched["scores"] == Marks().to_json()
    assert untouched["judge"] == BY_HAND
    assert "scores" not in failed
    (marked, _) = read_filled_in(await filled(tmp_path, coherence=4, brevity="5"))
    assert marked["scores"] == {"coherence": 4, "factuality": None, "brevity": 5}
    assert marked["text"] == SLM


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        pytest.param({"coherence": 7}, "row 1: coherence must be a whole number from 1 to 5, or null, was: 7", id="7"),
        pytest.param({"brevity": "good"}, "brevity must be a whole number from 1 to 5, or null, was: good", id="word"),
        pytest.param(
            {"factuality": 2.5}, "factuality must be a whole number from 1 to 5, or null, was: 2.5", id="half"
        ),
        pytest.param({"style": 3}, "\"scores\" has 'style'; it may have coherence, factuality, brevity", id="unknown"),
    ],
)
async def test_a_wrong_mark_names_its_field_and_value(tmp_path: Path, scores: dict[str, Any], message: str) -> None:
    """So that it is found in a file of many answers."""
    path = await filled(tmp_path, **scores)
    with pytest.raises(FileError) as raised:
        read_filled_in(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "is not JSON in UTF-8", id="no JSON"),
        pytest.param("[]", 'has no list of "rows"', id="a list"),
        pytest.param('{"rows": []}', 'has no list of "rows"', id="no rows"),
        pytest.param('{"rows": [1]}', "row 1 must be an object, was: 1", id="no object"),
        pytest.param('{"rows": [{"alias": 3}]}', '"alias" must be the name of a model, was: 3', id="alias"),
        pytest.param('{"rows": [{"alias": "m"}]}', '"text" must be a text, was: None', id="no text"),
        pytest.param(
            '{"rows": [{"alias": "m", "text": "a", "sample": "a", "latency_sec": "1"}]}',
            '"latency_sec" must be a number or null, was: 1',
            id="a text for a number",
        ),
        pytest.param(
            '{"rows": [{"alias": "m", "text": "a", "sample": "a"}]}', '"scores" must be an object', id="no scores"
        ),
    ],
)
def test_what_is_no_annotation_file_is_a_sentence(tmp_path: Path, content: str, message: str) -> None:
    """With the value that is wrong."""
    path = tmp_path / "marks.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FileError) as raised:
        read_filled_in(path)
    assert message in str(raised.value)
