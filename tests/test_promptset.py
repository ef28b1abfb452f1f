"""The prompts that models are measured with."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rag.errors import FileError
from rag.workbench.promptset import OURS, Prompt, read_prompts


def test_our_own_prompts_are_of_every_category_and_do_not_give_their_facets_away() -> None:
    """Two of each; a facet of a classification may stand among its choices, of others not."""
    prompts = read_prompts(OURS)
    assert Counter(one.category for one in prompts) == {"summarise": 2, "classify": 2, "code": 2, "general": 2}
    assert all(one.facets for one in prompts)
    assert [one.id for one in prompts if one.category == "general" and one.facets_in(one.text)] == []


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        pytest.param("It is PARIS, on the Seine.", 1.0, id="all, in any case"),
        pytest.param("Paris.", 0.5, id="half"),
        pytest.param("Parisian seines", 0.0, id="whole words only"),
        pytest.param("", 0.0, id="nothing said"),
    ],
)
def test_facets_are_found_in_whole_words(answer: str, share: float) -> None:
    """The share of them that an answer has."""
    assert Prompt("?", facets=("Paris", "Seine")).facets_in(answer) == share


def test_without_facets_there_is_no_share() -> None:
    """Null, not 0: nothing is known of the answer."""
    assert Prompt("?").facets_in("anything") is None


def test_all_but_the_prompt_may_be_left_out(tmp_path: Path) -> None:
    """The entries are then named by their numbers; a byte-order mark does no harm."""
    path = tmp_path / "p.json"
    path.write_text('\ufeff[{"prompt": "Why?"}, {"prompt": "How?", "facets": ["so"]}]', encoding="utf-8")
    assert read_prompts(path) == [Prompt("Why?", "1", "general", ()), Prompt("How?", "2", "general", ("so",))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("nope", "is not JSON in UTF-8", id="no JSON"),
        pytest.param("[]", "has no prompts. It must be a list such as", id="empty"),
        pytest.param({"prompt": "x"}, "has no prompts", id="no list"),
        pytest.param([1], "p.json, prompt 1 must be an object such as", id="no object"),
        pytest.param(
            [{"prompt": "x"}, {}], 'prompt 2: "prompt" must be a text that is not empty, was: None', id="none"
        ),
        pytest.param([{"prompt": " "}], '"prompt" must be a text that is not empty', id="empty prompt"),
        pytest.param([{"prompt": "x", "id": 7}], '"id" must be a text that is not empty, was: 7', id="id"),
        pytest.param([{"prompt": "x", "facets": "so"}], '"facets" must be a list of texts that', id="facets"),
        pytest.param([{"prompt": "x", "facets": [""]}], '"facets" must be a list of texts that', id="empty facet"),
        pytest.param([{"prompt": "x", "id": "a"}] * 2, "prompt 2: the \"id\" 'a' is that of an earlier", id="twice"),
    ],
)
def test_a_wrong_set_names_its_place_and_value(tmp_path: Path, content: Any, message: str) -> None:
    """Nothing is measured with half a set."""
    path = tmp_path / "p.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(FileError) as raised:
        read_prompts(path)
    assert message in str(raised.value)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """One that is not there, a folder, and one of another encoding."""
    latin = tmp_path / "latin.json"
    latin.write_bytes('[{"prompt": "Grüße"}]'.encode("latin-1"))
    for path, message in (
        (tmp_path / "gone.json", "cannot be read (No such file"),
        (tmp_path, "cannot be read (Is a directory"),
        (latin, "is not JSON in UTF-8"),
    ):
        with pytest.raises(FileError) as raised:
            read_prompts(path)
        assert message in str(raised.value)
