"""
How fast is the same small model in llama.cpp and in Foundry Local's runtime, side by side in one run?

The embedded model as it is installed, and the same weights converted to ONNX by `benchmarks.onnx_model`, which is a
stand-in for phi-4-mini and says nothing of its quality or speed. Each in turn answers prompts of about 50, 300 and
1,000 tokens that it has not seen before, so that no cache helps. Each is stopped before the other starts: threads of
ONNX Runtime that wait for work keep a core busy. Memory is of the process: llama.cpp has one of its own, the runtime
lives in ours, so for it the growth is taken.

    python -m benchmarks.foundry FOLDER [--rounds 6] [--out FILE]      FOLDER as made by benchmarks.onnx_model
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import conclude, median, table
from rag.backends.base import Backend
from rag.backends.embedded import Embedded
from rag.backends.foundry import Service
from rag.backends.foundry_local import FoundryLocal
from rag.backends.foundry_runtime import FoundryRuntime
from rag.machine import resident
from rag.workbench.speed import Call, timed_call, warm_up

SIZES = (50, 300, 1000)
ANSWER = 64
WAYS = ("llama.cpp", "Foundry Local")
NAME = "SmolLM2-stand-in"
NOWHERE = "http://127.0.0.1:9/asset-gallery/v1.0/models"
WORDS = (
    "river stone garden winter copper lantern bridge market silver harbour meadow candle thunder paper window".split()
)


def prompt(size: int, number: int) -> list[dict[str, str]]:
    """About so many tokens, in sentences that no other prompt begins with."""
    told = [f"Page {number}."]
    for at in range(max(1, size // 8 - 4)):
        one, other = WORDS[(number + at) % len(WORDS)], WORDS[(number * 5 + at * 3) % len(WORDS)]
        told.append(f"The {one} stands beside the {other}.")
    return [{"role": "user", "content": f"{' '.join(told)} Write a long story about the {WORDS[number % len(WORDS)]}."}]


async def calls(backend: Backend, size: int, numbers: range) -> list[Call]:
    """Some answers to prompts of one size."""
    return [await timed_call(backend, prompt(size, one), max_tokens=ANSWER, temperature=0.0) for one in numbers]


async def block(backend: Backend, numbers: range) -> tuple[dict[int, list[Call]], float, float]:
    """Answers of each size by a model that is started for them; the seconds of that, and the process's memory in MB."""
    before = resident() or 0
    began = time.perf_counter()
    await warm_up(backend)
    start_s = time.perf_counter() - began
    found = {size: await calls(backend, size, numbers) for size in SIZES}
    held = resident(backend.pid) if isinstance(backend, Embedded) else (resident() or 0) - before
    await backend.stop()
    return found, start_s, (held or 0) / 1e6


async def measure(own: Path, cache: Path, rounds: int) -> dict[str, Any]:
    """Both in turn, twice, so that a machine that slows down slows both."""
    found: dict[str, dict[int, list[Call]]] = {way: {size: [] for size in SIZES} for way in WAYS}
    starts: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: dict[str, list[float]] = {way: [] for way in WAYS}
    half = max(1, rounds // 2)
    for turn in range(2):
        for way in WAYS:
            runtime = FoundryRuntime(own, cache, NOWHERE)

            async def find(alias: str, tell: Any, runtime: FoundryRuntime = runtime) -> Service:
                return await runtime.service(alias, tell)

            backend: Backend = (
                Embedded(None, slots=1) if way == WAYS[0] else FoundryLocal(NAME, find, stop=runtime.stop)
            )
            took, start_s, held = await block(backend, range(turn * half, turn * half + half))
            for size, some in took.items():
                found[way][size] += some
            starts[way].append(start_s)
            memory[way].append(held)
    return {
        "model": "SmolLM2-135M-Instruct: Q4_1 in llama.cpp, int4 in ONNX Runtime; a stand-in for phi-4-mini",
        "rounds": 2 * half,
        "start_s": {way: round(min(some), 2) for way, some in starts.items()},
        "memory_mb": {way: round(max(some)) for way, some in memory.items()},
        "by_prompt": {way: {size: _figures(took) for size, took in sizes.items()} for way, sizes in found.items()},
    }


def _figures(took: list[Call]) -> dict[str, float]:
    prompts = [call.usage.prompt for call in took if call.usage]
    rates = [call.decode_per_s for call in took if call.decode_per_s]
    return {
        "prompt_tokens": median(prompts) if prompts else 0,
        "ttft_ms": round(median([call.ttft_s for call in took]) * 1000, 1),
        "decode_tokens_per_s": round(median(rates), 1) if rates else 0.0,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch) / "own"
        own.mkdir()
        (own / NAME).symlink_to(options.folder.absolute())
        results = asyncio.run(measure(own, Path(scratch) / "cache", options.rounds))
    rows = [[way, *one.values()] for way, sizes in results["by_prompt"].items() for one in sizes.values()]
    print(table(["runtime", "prompt tokens", "TTFT ms", "tokens/s"], rows))
    print(f"memory, MB: {results['memory_mb']}; start, s: {results['start_s']}")
    conclude(results, options.out)


if __name__ == "__main__":
    main()
