"""
Does the library keep up with its folder, and does anybody notice? A changed file must be searchable within 200 ms,
a restart within 1 s, and the event loop must never stand still for 100 ms, whatever is read meanwhile.

A made-up folder is read, changed file by file, left to be kept, restarted and stormed, all in this process, while a
task on the event loop notes how late it is. Which of the changes come from the watcher is said; "told" ones are given
to `refresh` as the watcher would. The files are in the system's cache, as they are right after they were written.

    python -m benchmarks.library [--files 10000] [--chunks 10] [--rounds 20] [--json] [--out FILE]
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, conclude, median, quantile, table
from rag.library import Library

COMMON = """the of and to in is that for it as with was on be at by this have from or had not are but what all were
    when we there can an your which their said if do will each about how up out them then she many some so""".split()
PAUSE_S = 0.005
RESTARTS = 5


class Ticker:
    """A task that wants to run every 5 ms, and notes how late it came each time, in milliseconds."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            due = time.perf_counter() + PAUSE_S
            await asyncio.sleep(PAUSE_S)
            self.late.append((time.perf_counter() - due) * 1e3)

    def since_last(self) -> dict[str, float]:
        """The longest stall and what 99 % stay below, since this was asked last."""
        late, self.late = self.late or [0.0], []
        return {"max": round(max(late), 1), "p99": round(quantile(late, 0.99), 1)}


def texts(chunks: int) -> Iterator[str]:
    """Made-up English, one section of about a chunk's size after another; words as common and as rare as in texts."""
    chance = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    rare = ["".join(chance.choices(letters, k=chance.randint(3, 10))) for _ in range(30_000)]

    def word() -> str:
        return chance.choice(COMMON) if chance.random() < 0.45 else rare[int(len(rare) * chance.random() ** 3)]

    while True:
        sections = []
        for number in range(chunks):
            sentences = [" ".join(word() for _ in range(14)).capitalize() + "." for _ in range(10)]
            sections.append(f"## {number + 1} {word()}\n\n{' '.join(sentences)}\n")
        yield "\n".join([f"# {word()} {word()}\n", *sections])


def make_folder(folder: Path, files: int, chunks: int) -> list[Path]:
    """A hundred files in each folder."""
    paths = [folder / f"{number // 100:03}" / f"{number:05}.md" for number in range(files)]
    for path, text in zip(paths, texts(chunks), strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths


@contextmanager
def timed(into: dict[str, Any], name: str) -> Iterator[None]:
    """Note how long something takes, in seconds."""
    begun = time.perf_counter()
    yield
    into[name] = round(time.perf_counter() - begun, 3)


async def until(holds: Callable[[], object], *, seconds: float) -> None:
    """Wait for something to become true, and fail if it does not."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nobody sets an event when a file is searchable
            await asyncio.sleep(0.001)


async def change_each(library: Library, paths: list[Path], *, told: bool) -> list[float]:
    """Milliseconds from the end of each write until the new text is found."""
    took = []
    for number, path in enumerate(paths):
        word = f"changed{'told' if told else 'seen'}{number}"
        path.write_text(path.read_text() + f"\n{word}\n")
        before, begun = library.shelf, time.perf_counter()
        if told:
            await library.refresh([path])
        await until(lambda before=before: library.shelf is not before, seconds=10)
        assert library.search(word)[0].chunk.document.endswith(path.name)
        took.append((time.perf_counter() - begun) * 1e3)
        await asyncio.sleep(0 if told else 0.3)
    return took


async def measure(folder: Path, ticker: Ticker, files: int, chunks: int, rounds: int) -> dict[str, Any]:
    """All of it, in the order in which it happens to a folder."""
    paths = make_folder(folder / "docs", files, chunks)
    chosen = random.Random(2).sample(paths, min(len(paths), 2 * rounds))
    results: dict[str, Any] = {"files": files, "rounds": rounds}
    ticker.since_last()
    await asyncio.sleep(1)
    stalls = {"nothing": ticker.since_last()}

    library = Library(folder / "docs", save_to=folder / "index")
    with timed(results, "index_s"):
        await library.refresh()
    results["chunks"] = len(library.shelf.index)
    stalls["first reading"] = ticker.since_last()
    with timed(results, "look_s"):
        await library.refresh()
    told = await change_each(library, chosen[:rounds], told=True)
    library.start()
    await asyncio.sleep(1.5)
    seen = await change_each(library, chosen[rounds:], told=False)
    for name, values in (("event_to_found_ms", told), ("write_to_found_ms", seen)):
        results[name] = {"p50": round(median(values), 1), "p95": round(quantile(values, 0.95), 1)}
    stalls["single changes"] = ticker.since_last()
    with timed(results, "close_after_changes_s"):
        await library.close()
    stalls["keeping"] = ticker.since_last()

    restarts = []
    for _ in range(RESTARTS):
        library, one = Library(folder / "docs", save_to=folder / "index"), {}
        with timed(one, "s"):
            await library.refresh()
            assert library.search("changedtold0")
        restarts.append(one["s"])
        await library.close()
    results["restart_s"] = {"p50": median(restarts), "max": max(restarts)}
    stalls["restart"] = ticker.since_last()
    return results | {"storm": await storm(folder, paths, ticker), "stall_ms": stalls}


async def storm(folder: Path, paths: list[Path], ticker: Ticker) -> dict[str, Any]:
    """Every file changed as fast as the disk allows, by another thread, while the folder is followed."""
    library = Library(folder / "docs", save_to=folder / "index")
    news: list[str] = []
    library.listeners.append(lambda change: news.append(change.sentence))
    await library.refresh()
    library.start()
    await asyncio.sleep(1.5)
    ticker.since_last()
    results: dict[str, Any] = {"changes": len(paths)}

    def write() -> None:
        for number, path in enumerate(paths):
            path.write_text(f"# Storm\n\nThis is what file storm{number} has said since the storm.\n")

    with timed(results, "writing_s"):
        await asyncio.to_thread(write)
    with timed(results, "right_after_s"):
        await until(lambda: len(library.shelf.index) == len(paths) and bool(library.search("storm0")), seconds=120)
    results["stall_ms"] = ticker.since_last()
    await until(lambda: news, seconds=30)
    await asyncio.sleep(2)
    results["news"] = news
    reading = asyncio.create_task(library.refresh())
    with timed(results, "close_s"):
        await library.close()
    await reading
    return results


async def run(files: int, chunks: int, rounds: int) -> dict[str, Any]:
    """Measure in a temporary folder, with a ticker running."""
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    with tempfile.TemporaryDirectory() as folder:
        results = await measure(Path(folder), ticker, files, chunks, rounds)
    ticking.cancel()
    return results


def main() -> None:
    """Run from the command line."""
    sys.argv = [argument for argument in sys.argv if argument != "--json"]  # the last line is JSON anyway
    options = arguments(__doc__ or "", files=10_000, chunks=10, rounds=20)
    results = asyncio.run(run(options.files, options.chunks, options.rounds))
    results["goals"] = {"write_to_found_ms": 200, "restart_s": 1, "stall_ms": 100}
    rows = [[what, stall["p99"], stall["max"]] for what, stall in results["stall_ms"].items()]
    rows.append(["storm", *[results["storm"]["stall_ms"][name] for name in ("p99", "max")]])
    print(table(["the event loop is late, ms", "p99", "max"], rows))
    print(f"\n{results['files']:,} files, {results['chunks']:,} chunks: read in {results['index_s']} s")
    print(f"one changed file is found, ms: after its event {results['event_to_found_ms']}", end="")
    print(f", after it was written {results['write_to_found_ms']}")
    print(f"restart, s: {results['restart_s']}   storm: {results['storm']}")
    conclude(results, options.out)


if __name__ == "__main__":
    main()
