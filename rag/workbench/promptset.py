"""The prompts that models are measured with: one of ours, one of the user's, or a file of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import FileError
from rag.workbench.given import read_given
from rag.workbench.questions import has_answer

#: What is asked where nobody says what: of a length that shows the speed of writing.
DEFAULT_PROMPT = "Explain in about eighty words why somebody would run a language model on their own machine."

#: The prompts that come with the program: two each to summarise, classify, write code, and of general knowledge.
OURS = Path(__file__).with_name("prompts.json")

_MOST_BYTES = 10_000_000
_SHAPE = '[{"id": "…", "category": "…", "prompt": "…", "facets": ["…"]}]'


@dataclass(frozen=True)
class Prompt:
    """
    What a model is asked, and what a good answer has in it.

    Attributes:
        text: in plain text.
        id: its name in the set.
        category: what it is about, such as `summarise, classify, code, general`.
        facets: texts that a good answer contains; empty if that is not known.
    """

    text: str
    id: str = "prompt"
    category: str = "general"
    facets: tuple[str, ...] = ()

    def facets_in(self, answer: str) -> float | None:
        """
        The share of the facets that an answer contains, in whole words; None if there are none.

        >>> Prompt("…", facets=("Paris", "Seine")).facets_in("It is Paris.")
        0.5
        """
        if not self.facets:
            return None
        return sum(has_answer(answer, [facet]) for facet in self.facets) / len(self.facets)


def read_prompts(path: Path) -> list[Prompt]:
    """
    Read a set of prompts: a JSON list of `{"id", "category", "prompt", "facets"}`, all but `prompt` optional.

    Raises:
        FileError: the file cannot be read, or an entry is wrong; it is named with its number and value.
    """
    found = read_given(
        path,
        most_bytes=_MOST_BYTES,
        kind="set of prompts",
        get="Name a file with a set of prompts.",
        shape=f"It must be a list such as {_SHAPE}.",
    )
    if not isinstance(found, list) or not found:
        raise FileError(f"{path} has no prompts. It must be a list such as {_SHAPE}.")
    prompts = [_prompt(one, f"{path}, prompt {number}", number) for number, one in enumerate(found, start=1)]
    _refuse_twice([one.id for one in prompts], path)
    return prompts


def _prompt(found: Any, where: str, number: int) -> Prompt:
    if not isinstance(found, dict):
        raise FileError(f"{where} must be an object such as {_SHAPE[1:-1]}, was: {str(found)[:80]}")
    values: dict[str, str] = {"id": str(number), "category": "general"}
    for name in ("prompt", "id", "category"):
        value = found.get(name, values.get(name))
        if not isinstance(value, str) or not value.strip():
            raise FileError(f'{where}: "{name}" must be a text that is not empty, was: {str(value)[:80]}')
        values[name] = value
    facets = found.get("facets", [])
    if not isinstance(facets, list) or not all(isinstance(one, str) and one.strip() for one in facets):
        raise FileError(f'{where}: "facets" must be a list of texts that are not empty, was: {str(facets)[:80]}')
    return Prompt(values["prompt"], values["id"], values["category"], tuple(facets))


def _refuse_twice(ids: Sequence[str], path: Path) -> None:
    for number, one in enumerate(ids, start=1):
        if one in ids[: number - 1]:
            raise FileError(f'{path}, prompt {number}: the "id" {one!r} is that of an earlier prompt, too.')
