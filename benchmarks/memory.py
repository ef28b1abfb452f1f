"""
How much memory does the chat take, and does it grow? After the start, and after each hundred questions.

Readers ask through the page's socket, twenty questions each, then leave; the embedded model answers. Counted is what
the chat's process and the model's process hold: PSS, where pages that several processes share count once.
Linux only, as it reads /proc.

    python -m benchmarks.memory [--questions 200] [--every 100] [--out FILE]
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from benchmarks.chat import Chat, chat_folder, reader, running_chat
from benchmarks.common import arguments, conclude, table
from benchmarks.questions import QUESTIONS

STEADY_S = 3.0


def processes(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *(one for child in children_of(pid) for one in processes(child))]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        except FileNotFoundError:  # a thread that has just ended
            continue
    return found


def pss_mb(pid: int) -> float:
    """What a process holds, in millions of bytes; shared pages in proportion."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def memory(chat: Chat) -> dict[str, float]:
    """What the chat and its model hold at this moment, in MB."""
    own, *children = (pss_mb(pid) for pid in processes(chat.pid))
    return {"chat": round(own, 1), "model": round(sum(children), 1), "total": round(own + sum(children), 1)}


async def until_steady(chat: Chat) -> dict[str, float]:
    """Wait until the model is there and the memory has stopped moving."""
    before = memory(chat)
    while True:
        await asyncio.sleep(STEADY_S)
        now = memory(chat)
        if now["model"] > 50 and abs(now["total"] - before["total"]) < 0.01 * now["total"]:
            return now
        before = now


async def ask_some(chat: Chat, asked: int, until: int) -> None:
    """Ask up to a number of questions in all, a new reader for each round of them."""
    while asked < until:
        async with reader(chat) as one:
            for question in QUESTIONS[: until - asked]:
                await one.ask(question)
                asked += 1


async def measure(questions: int, every: int) -> dict[int, dict[str, float]]:
    """The memory by the number of questions answered."""
    found: dict[int, dict[str, float]] = {}
    with chat_folder() as folder, running_chat(folder) as chat:
        found[0] = await until_steady(chat)
        asked = 0
        for until in [*range(every, questions, every), questions]:
            await ask_some(chat, asked, until)
            asked = until
            found[asked] = await until_steady(chat)
            print(f"{asked} of {questions} questions: {found[asked]}", flush=True)
    return found


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", questions=200, every=100)
    found = asyncio.run(measure(options.questions, options.every))
    print(table(["questions", "chat MB", "model MB", "total MB"], [[n, *mb.values()] for n, mb in found.items()]))
    counts = list(found)
    last: dict[str, Any] = {"from": counts[-2], "to": counts[-1]}
    last["mb"] = round(found[counts[-1]]["total"] - found[counts[-2]]["total"], 1)
    conclude({"measure": "PSS, MB, through the socket", "after_questions": found, "growth": last}, options.out)


if __name__ == "__main__":
    main()
