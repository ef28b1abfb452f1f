"""
What does our client cost beside the raw stream? The processor's time for each token, and the time to the first one.

The same 1,000 tokens come from a server on loopback as fast as they can be read: as bytes without a look at them,
through the openai client, and through our backend, which checks every chunk, tells reasoning from answer and reads
the log-probabilities. The three take turns; the processor's time is this process's alone.

    python -m benchmarks.client [--rounds 20] [--tokens 1000] [--out FILE]
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from openai import AsyncOpenAI

from benchmarks.common import arguments, conclude, median, quantile, table
from benchmarks.paced import MODEL, paced_server
from rag.backends.base import Text
from rag.backends.openai_compatible import OpenAICompatible

MESSAGES = [{"role": "user", "content": "Count."}]
REQUEST: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 4096, "temperature": 0.0, "stream": True}
WARM_UP = 3

#: Reads an answer to its end; gives the seconds to its first text.
Read = Callable[[], Awaitable[float]]


def raw(url: str, client: httpx2.AsyncClient) -> Read:
    """Bytes, and no more."""

    async def read() -> float:
        asked, first = time.perf_counter(), 0.0
        async with client.stream("POST", f"{url}/v1/chat/completions", json=REQUEST) as response:
            async for _ in response.aiter_raw():
                first = first or time.perf_counter() - asked
        return first

    return read


def library(client: AsyncOpenAI) -> Read:
    """The openai client, whose chunks are read and thrown away."""

    async def read() -> float:
        asked, first = time.perf_counter(), 0.0
        async with await client.chat.completions.create(**REQUEST) as chunks:
            async for chunk in chunks:
                if not first and chunk.choices and chunk.choices[0].delta.content:
                    first = time.perf_counter() - asked
        return first

    return read


def ours(backend: OpenAICompatible) -> Read:
    """Our backend."""

    async def read() -> float:
        asked, first = time.perf_counter(), 0.0
        async for piece in backend.stream(MESSAGES, max_tokens=4096, temperature=0.0):
            if not first and isinstance(piece, Text):
                first = time.perf_counter() - asked
        return first

    return read


async def measure(rounds: int, tokens: int) -> dict[str, Any]:
    """All three in turn."""
    with paced_server(tokens=tokens, pace_s=0.0) as url:
        backend = OpenAICompatible(url, MODEL)
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=60) as bare,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            ways = {"raw": raw(url, bare), "openai": library(client), "ours": ours(backend)}
            cpu: dict[str, list[float]] = {way: [] for way in ways}
            ttft: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(WARM_UP + rounds):
                for way, read in ways.items():
                    began = time.process_time()
                    first = await read()
                    if number >= WARM_UP:
                        cpu[way].append((time.process_time() - began) / tokens * 1e6)
                        ttft[way].append(first * 1000)
        await backend.stop()
    return summary(cpu, ttft, tokens)


def summary(cpu: dict[str, list[float]], ttft: dict[str, list[float]], tokens: int) -> dict[str, Any]:
    """Microseconds a token, milliseconds to the first, and what is added to the raw stream."""
    middle = {way: (median(cpu[way]), median(ttft[way])) for way in cpu}
    return {
        "tokens": tokens,
        "rounds": len(cpu["raw"]),
        "cpu_us_per_token": {way: {"p50": round(median(took), 1), "p95": round(quantile(took, 0.95), 1)}
                             for way, took in cpu.items()},
        "ttft_ms": {way: {"p50": round(median(took), 2), "p95": round(quantile(took, 0.95), 2)}
                    for way, took in ttft.items()},
        "added_cpu_us_per_token": {way: round(middle[way][0] - middle["raw"][0], 1) for way in ("openai", "ours")},
        "added_ttft_ms": {way: round(middle[way][1] - middle["raw"][1], 2) for way in ("openai", "ours")},
        "ours_to_openai_cpu_ratio": round(middle["ours"][0] / middle["openai"][0], 3),
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", rounds=20, tokens=1000)
    results = asyncio.run(measure(options.rounds, options.tokens))
    rows = [
        [way, *results["cpu_us_per_token"][way].values(), *results["ttft_ms"][way].values()]
        for way in ("raw", "openai", "ours")
    ]
    print(table(["way", "CPU µs/token p50", "p95", "TTFT ms p50", "p95"], rows))
    print(f"added to the raw stream: {results['added_cpu_us_per_token']} µs a token, {results['added_ttft_ms']} ms")
    conclude(results, options.out)


if __name__ == "__main__":
    main()
