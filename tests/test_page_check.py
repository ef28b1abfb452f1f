"""The check as a page in the chat: how its findings are put in order and in words."""

from __future__ import annotations

import doctest

import pytest

import ui.checking
from rag.probing import Finding
from ui.checking import asks_to_check, checked
from ui.choices import commands

OK = Finding("versions", "ok", "Python 3.11.7")
SLM = Finding("SLM", "ok", "phi-4-mini on http://127.0.0.1/v1: streams")
LLM = Finding("LLM", "fault", "No model server at http://h/v1. Start it, or set RAG_LLM_URL.")
NO_LLM = Finding("LLM", "missing", "There is no large model.")
LEFT = Finding("documents: a*b.md", "missing", "left out: empty")


def test_faults_come_first_and_then_the_models() -> None:
    """What is to be done stands on top; files that are left out are in the other report."""
    made = checked([OK, LEFT, SLM, LLM], seconds=0.42)
    assert [one["name"] for one in made.props["findings"]] == ["LLM", "SLM", "versions"]
    assert made.props["counts"] == {"fault": 1, "missing": 0, "ok": 2}
    assert made.text.startswith("1 fault, 2 of 3 things work. Looking took 0.4 s.")
    assert "- ✗ LLM: No model server at http://h/v1. Start it, or set RAG\\_LLM\\_URL." in made.text


def test_what_is_missing_and_not_needed_is_no_fault() -> None:
    """The page says so in its first words."""
    made = checked([OK, SLM, NO_LLM], seconds=1.0)
    assert made.text.startswith("No fault was found. Looking took 1.0 s.")
    assert made.props["findings"][0] == {"name": "LLM", "state": "missing", "text": "There is no large model."}


@pytest.mark.parametrize(
    ("text", "command", "asked"),
    [
        pytest.param("/check", None, True, id="typed"),
        pytest.param("  /check please ", None, True, id="with words"),
        pytest.param("anything", "check", True, id="chosen"),
        pytest.param("/checks", None, False, id="another word"),
        pytest.param("What does /check do?", None, False, id="a question"),
        pytest.param("/docs", "docs", False, id="another command"),
    ],
)
def test_a_question_about_the_check_is_a_question(text: str, command: str | None, asked: bool) -> None:
    """Only the command itself is one."""
    assert asks_to_check(text, command) is asked


def test_both_commands_are_in_the_list_and_the_examples_are_true() -> None:
    """Whoever types a slash finds them."""
    assert [one["id"] for one in commands()] == ["docs", "compare", "check"]
    assert doctest.testmod(ui.checking).failed == 0
