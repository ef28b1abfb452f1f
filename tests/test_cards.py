"""What is known of models, and what a question wants of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.cards import Card, Cards, read_cards, wanted_by
from rag.errors import CardsError

ROOT = Path(__file__).parent.parent


def written(path: Path, told: Any) -> Path:
    """A file of cards."""
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def test_the_shipped_file_knows_the_models_of_the_workshop_and_the_embedded_one() -> None:
    """With a size and a licence each."""
    cards = Cards(ROOT / "models.json")
    cards.refresh()
    for model in ("SmolLM2-135M-Instruct", "Phi-4-mini-instruct-generic-cpu:5", "openai/gpt-oss-20b"):
        card = cards.of(model)
        assert card is not None
        assert card.size_mb and card.licence and card.capabilities and card.line


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        ("phi-4-mini", "phi-4-mini"),
        ("Phi-4-mini-instruct-generic-cpu:5", "phi-4-mini"),
        ("microsoft/phi-4-mini-instruct", "phi-4-mini"),
        ("phi-4", "phi-4"),
        ("phi-4:latest", "phi-4"),
        ("phi-40", None),
        ("phi-4-reasoning", None),
        ("my-phi-4-mini", None),
        ("", None),
    ],
)
def test_a_card_is_found_by_the_longest_alias_that_begins_the_name(
    tmp_path: Path, model: str, alias: str | None
) -> None:
    """As servers lengthen the names of the models that they serve."""
    cards = Cards(written(tmp_path / "models.json", {"phi-4": {}, "phi-4-mini": {}}))
    cards.refresh()
    found = cards.of(model)
    assert (found.alias if found else None) == alias


def test_a_changed_file_is_read_again_and_a_broken_one_leaves_what_was_known(tmp_path: Path) -> None:
    """It says so until it is mended; a file that is gone means no cards."""
    path = written(tmp_path / "models.json", {"m": {"size_mb": 1}})
    cards = Cards(path)
    cards.refresh()
    assert cards.of("m") == Card("m", size_mb=1)
    path.write_text('{"m": ')
    cards.refresh()
    assert cards.of("m") == Card("m", size_mb=1)
    assert str(path) in cards.fault
    assert "as before" in cards.fault
    written(path, {"m": {"size_mb": 20}})
    cards.refresh()
    assert (cards.of("m"), cards.fault) == (Card("m", size_mb=20), "")
    path.unlink()
    cards.refresh()
    assert (cards.of("m"), cards.fault) == (None, "")
    nothing = Cards(None)
    nothing.refresh()
    assert nothing.all() == []


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param([], "must be a JSON object of models", id="a list"),
        pytest.param({"m": 3}, "m must be a JSON object, was: 3", id="no object"),
        pytest.param({" ": {}}, "must be a JSON object", id="no name"),
        pytest.param({"m": {"capabilities": ["cook"]}}, "must be a list of code, summarise", id="capability"),
        pytest.param({"m": {"capabilities": "code"}}, "capabilities must be", id="a text for a list"),
        pytest.param({"m": {"size_mb": "big"}}, "size_mb must be a number of at least 0, or null", id="text"),
        pytest.param({"m": {"size_mb": True}}, "size_mb must be a number", id="true"),
        pytest.param({"m": {"price_in": -1}}, "price_in must be a number of at least 0", id="negative"),
        pytest.param({"m": {"price_in": float("nan")}}, "price_in must be a number", id="not a number"),
        pytest.param({"m": {"context": 1e300}}, "context must be a number", id="absurd"),
        pytest.param({"m": {"licence": 4}}, "licence must be a text, was: 4", id="licence"),
    ],
)
def test_what_is_of_the_wrong_kind_is_told_with_its_name(tmp_path: Path, told: Any, says: str) -> None:
    """The file, the alias and the value."""
    path = written(tmp_path / "models.json", told)
    with pytest.raises(CardsError) as error:
        read_cards(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[" * 20_000, b"<html>"])
def test_a_file_that_is_no_json_is_told_of(tmp_path: Path, raw: bytes) -> None:
    """Not as a traceback."""
    path = tmp_path / "models.json"
    path.write_bytes(raw)
    with pytest.raises(CardsError, match=r"models\.json cannot be read"):
        read_cards(path)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Write a Python function that reads a CSV file.", "code"),
        ("What does ```x = 1``` do?", "code"),
        ("Summarise the privacy page in two sentences.", "summarise"),
        ("tl;dr of the router?", "summarise"),
        ("Fasse die Seite über Dokumente zusammen.", "summarise"),
        ("Classify this ticket: the printer smokes.", "classify"),
        ("Which category does a scanned PDF belong to?", "classify"),
        ("Which port does Foundry Local use?", "general"),
        ("What does the code of conduct say about programs?", "general"),
        ("", "general"),
    ],
)
def test_what_a_question_wants_is_told_by_its_words(question: str, wanted: str) -> None:
    """Most ask for knowledge."""
    assert wanted_by(question) == wanted


def test_a_model_of_which_nothing_is_known_lacks_nothing() -> None:
    """Nothing follows from silence."""
    assert not Card("m").lacks("code")
    assert Card("m", frozenset({"general"})).lacks("code")
    assert Card("m").line == ""
