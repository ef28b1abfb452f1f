"""
What should the embedded model be shown, and in what words? The log of what was tried, to be run again.

The same answerable SQuAD questions are put to the embedded model in each way: how many sentences of the evidence, in
which order, in what words, with an example or without one. A draft is right when it contains a gold answer. Needs the
data that lies beside this repository in development; nothing of it ships.

    python -m benchmarks.prompts [--questions 120] [--out FILE]
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chat import ROOT
from benchmarks.common import arguments, conclude, table
from rag.assistant import build_library
from rag.backends.base import Backend, Done, Text
from rag.backends.embedded import Embedded
from rag.evidence import bearing, within
from rag.prompts import SYSTEM, Message
from rag.settings import load_settings
from rag.workbench.questions import Known, has_answer, read_questions
from rag.workbench.scores import token_f1

DATA = ROOT.parent / "shared" / "data" / "squad"
SEED = 11
MOST_TOKENS = 96

EXAMPLE: list[Message] = [
    {
        "role": "user",
        "content": "Context:\n- The lamp was built by Ada Moor in 1931.\n\nQuestion: When was the lamp built?",
    },
    {"role": "assistant", "content": "The lamp was built in 1931."},
]


@dataclass(frozen=True)
class Asked:
    """A question with the sentences of its evidence, best first."""

    known: Known
    sentences: tuple[str, ...]


def prompt(
    asked: Asked,
    *,
    most: int | None = None,
    backwards: bool = False,
    system: str | None = SYSTEM,
    each: str = "- {}",
    between: str = "\n",
    user: str = "Context:\n{context}\n\nQuestion: {question}",
    example: Sequence[Message] = (),
) -> list[Message]:
    """The messages of one way to ask; the defaults are those of the product."""
    shown = asked.sentences[:most]
    context = between.join(each.format(one) for one in (reversed(shown) if backwards else shown))
    content = user.format(context=context, question=asked.known.question)
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *example, {"role": "user", "content": content}]


WAYS: dict[str, Callable[[Asked], list[Message]]] = {
    "all of the budget": prompt,
    "all, best last": lambda asked: prompt(asked, backwards=True),
    "two sentences": lambda asked: prompt(asked, most=2),
    "two, as one paragraph": lambda asked: prompt(asked, most=2, each="{}", between=" "),
    "all, as one paragraph": lambda asked: prompt(asked, each="{}", between=" "),
    "one sentence": lambda asked: prompt(asked, most=1),
    "one, without a dash": lambda asked: prompt(asked, most=1, each="{}"),
    "one, bare": lambda asked: prompt(asked, most=1, each="{}", user="{context}\n\n{question}"),
    "one, question first": lambda asked: prompt(asked, most=1, user="Question: {question}\n\nContext:\n{context}"),
    "one, 'Answer:' at the end": lambda asked: prompt(
        asked, most=1, user="Context:\n{context}\n\nQuestion: {question}\nAnswer:"
    ),
    "one, 'copy the part'": lambda asked: prompt(
        asked, most=1, user="Context:\n{context}\n\nCopy the part of the context that answers this: {question}"
    ),
    "one, 'one full sentence'": lambda asked: prompt(
        asked,
        most=1,
        system="Answer the question in one full sentence, with the words of the context. "
        "If the context does not say, say so.",
    ),
    "one, without a system prompt": lambda asked: prompt(asked, most=1, system=None),
    "one, with an example": lambda asked: prompt(asked, most=1, example=EXAMPLE),
}


async def questions(count: int) -> list[Asked]:
    """Some answerable questions, the same ones each time, with what the search finds for them."""
    settings = load_settings(docs_dir=DATA / "docs", index_dir="none")
    known = [one for one in read_questions(DATA / "qa.jsonl").known if one.answers]
    random.Random(SEED).shuffle(known)
    library = build_library(settings)
    try:
        await library.refresh()
        await library.learn()
        found = []
        for one in known[:count]:
            library.shelf.think_of(one.question)
            hits = library.search(one.question, k=settings.k)
            best = within(bearing(one.question, hits, weight=library.weight), settings.evidence_tokens)
            found.append(Asked(one, tuple(evidence.text for evidence in best)))
        return found
    finally:
        await library.close()


async def measure(count: int) -> dict[str, dict[str, Any]]:
    """Each way in turn."""
    asked = await questions(count)
    model = Embedded(None, slots=1)
    await model.start()
    try:
        return {name: await figures(model, way, asked) for name, way in WAYS.items()}
    finally:
        await model.stop()


async def figures(model: Backend, way: Callable[[Asked], list[Message]], asked: Sequence[Asked]) -> dict[str, Any]:
    """What all questions asked in one way are worth."""
    right = f1 = 0.0
    prompts = completions = 0
    for one in asked:
        said = ""
        async with aclosing(model.stream(way(one), max_tokens=MOST_TOKENS, temperature=0.0)) as pieces:
            async for piece in pieces:
                match piece:
                    case Text(text=text):
                        said += text
                    case Done(usage=usage) if usage:
                        prompts += usage.prompt
                        completions += usage.completion
        right += has_answer(said, one.known.answers)
        f1 += token_f1(said, one.known.answers)
    count = len(asked)
    return {
        "draft_contains": round(right / count, 3),
        "f1": round(f1 / count, 3),
        "prompt_tokens": round(prompts / count),
        "tokens": round(completions / count),
    }


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", questions=120)
    if not Path(DATA).is_dir():
        raise SystemExit(f"{DATA} is not there; without it there is nothing to ask.")
    found = asyncio.run(measure(options.questions))
    print(table(["way", "contains", "F1", "prompt", "tokens"], [[way, *one.values()] for way, one in found.items()]))
    conclude({"questions": options.questions, "ways": found}, options.out)


if __name__ == "__main__":
    main()
