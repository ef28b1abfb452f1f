"""
How long does one wait after `make run`? At most 4 s from the start of the process to the first word of an answer.

Starts the chat and an empty Chainlit app in turn, until `/health` answers; then a reader opens the chat at once and
asks. The first word is the embedded model's: 'Starting …' does not count. A first round is thrown away, so that
every program has been read from the disk once.

    python -m benchmarks.start [--rounds 5] [--out FILE]
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.chat import QUESTION, chat_folder, reader, running_chat
from benchmarks.common import arguments, conclude, median, table

EMPTY_APP = """import chainlit as cl


@cl.on_message
async def answer(message: cl.Message) -> None:
    await cl.Message("Nothing.").send()
"""

NAMES = {
    "empty_health_s": "empty Chainlit app: /health",
    "health_s": "chat: /health",
    "asked_s": "chat: the first question is sent",
    "load_s": "  … then it waits for the model, for",
    "prefill_s": "  … and for the prompt to be read, for",
    "first_word_s": "chat: the first word of its answer",
}


async def first_word(folder: Path) -> dict[str, float]:
    """Start the chat and ask at once: seconds to `/health` and to the first text, and how long that waited to load."""
    with running_chat(folder) as chat:
        async with reader(chat) as one:
            asked = time.perf_counter() - chat.started
            seen = await one.ask(QUESTION)
    stages = {stage["name"]: stage["ms"] / 1e3 for stage in seen.metadata["latency"]["stages"]}
    waits = {"load_s": stages.get("load", 0.0), "prefill_s": stages.get("first_token", 0.0)}
    return {"health_s": chat.healthy_s, "asked_s": asked, **waits, "first_word_s": asked + seen.first_s}


def measure(rounds: int) -> dict[str, list[float]]:
    """Both apps in turn, the first one changing."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}

    def start_empty(folder: Path) -> None:
        with running_chat(folder, folder / "empty.py") as chat:
            found["empty_health_s"].append(chat.healthy_s)

    def start_chat(folder: Path) -> None:
        for name, seconds in asyncio.run(first_word(folder)).items():
            found[name].append(seconds)

    with chat_folder() as folder:
        (folder / "empty.py").write_text(EMPTY_APP, encoding="utf-8")
        for number in range(1 + rounds):
            for start in (start_empty, start_chat)[:: 1 if number % 2 else -1]:
                start(folder)
    return {name: values[1:] for name, values in found.items()}


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", rounds=5)
    found = measure(options.rounds)
    rows = [[words, *(f"{f(found[name]):.2f}" for f in (median, min, max))] for name, words in NAMES.items()]
    print(table(["seconds from the start of the process", "median", "least", "most"], rows))
    conclude(
        {
            "rounds": options.rounds,
            "median": {name: round(median(values), 3) for name, values in found.items()},
            "all": {name: [round(value, 3) for value in values] for name, values in found.items()},
            "goals": {"first_word_s": 4},
        },
        options.out,
    )


if __name__ == "__main__":
    main()
