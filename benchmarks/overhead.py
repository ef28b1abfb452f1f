"""
What does the chat cost on top of its model? It must not be felt: at most 10 ms until the first word, and 2 % in all.

The same prompt goes to a paced server through the page's socket and straight from the openai client, in turn. The
page searches, sends, streams, judges and cites; the client only reads. The page's own stages tell where its part
of the added time went; what is left is Chainlit, its socket and the reader.

    python -m benchmarks.overhead [--rounds 40] [--out FILE]
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from openai import AsyncOpenAI

from benchmarks.chat import QUESTION, Reader, Seen, chat_folder, reader, running_chat
from benchmarks.common import arguments, conclude, median, quantile, rounded, table
from benchmarks.paced import last_request, paced_server

PACE_S = 0.007
TOKENS = 128
WARM_UP = 5


async def ask_directly(client: AsyncOpenAI, request: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first text and to the end, for somebody who does nothing but read."""
    sent = time.perf_counter()
    first = 0.0
    async with await client.chat.completions.create(**request) as chunks:
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter() - sent
    return first, time.perf_counter() - sent


async def alternate(one: Reader, url: str, rounds: int) -> tuple[list[Seen], list[tuple[float, float]]]:
    """Both ways in turn, the first one changing, after a warm-up."""
    through: list[Seen] = []
    direct: list[tuple[float, float]] = []
    await one.ask(QUESTION)
    request = last_request(url)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for number in range(WARM_UP + rounds):
            if number % 2:
                direct.append(await ask_directly(client, request))
            through.append(await one.ask(QUESTION))
            if not number % 2:
                direct.append(await ask_directly(client, request))
    return through[WARM_UP:], direct[WARM_UP:]


def stages_ms(through: list[Seen]) -> dict[str, float]:
    """The median of each of the page's own stages."""
    names = [stage["name"] for stage in through[0].metadata["latency"]["stages"]]
    by_name: dict[str, list[float]] = {name: [] for name in names}
    for seen in through:
        for stage in seen.metadata["latency"]["stages"]:
            by_name.setdefault(stage["name"], []).append(stage["ms"])
    return rounded({name: median(values) for name, values in by_name.items()})


def summary(through: list[Seen], direct: list[tuple[float, float]]) -> dict[str, Any]:
    """The figures of both ways, in milliseconds, and how they compare."""
    own = median([seen.metadata["latency"]["ttft_ms"] for seen in through])
    first = {"page": [seen.first_s * 1e3 for seen in through], "direct": [one[0] * 1e3 for one in direct]}
    total = {"page": [seen.total_s * 1e3 for seen in through], "direct": [one[1] * 1e3 for one in direct]}
    added = [page - bare for page, bare in zip(first["page"], first["direct"], strict=True)]
    ratios = [page / bare for page, bare in zip(total["page"], total["direct"], strict=True)]
    return {
        "rounds": len(through),
        "ttft_ms": {way: rounded({"p50": median(v), "p95": quantile(v, 0.95)}) for way, v in first.items()},
        "total_ms": {way: rounded({"p50": median(v), "p95": quantile(v, 0.95)}) for way, v in total.items()},
        "added_ttft_ms": rounded({"p50": median(added), "p95": quantile(added, 0.95)}),
        "total_ratio": rounded({"p50": median(ratios), "p95": quantile(ratios, 0.95)}, 4),
        "page_stages_ms": stages_ms(through),
        "outside_stages_ms": round(median(first["page"]) - own, 2),
        "packets": median([seen.packets for seen in through]),
        "goals": {"added_ttft_ms_p50": 10, "total_ratio_p50": 1.02},
    }


async def measure(rounds: int) -> dict[str, Any]:
    """Start both servers, ask, end them."""
    with paced_server(tokens=TOKENS, pace_s=PACE_S) as url, chat_folder() as folder:
        settings = {
            "RAG_SLM_URL": url, "RAG_SLM_MAX_TOKENS": "4000", "RAG_MIN_CONFIDENCE": "0", "RAG_MIN_DRAFT_WORDS": "0",
            "RAG_HISTORY_TURNS": "0",
        }  # fmt: skip
        with running_chat(folder, **settings) as chat:
            async with reader(chat) as one:
                through, direct = await alternate(one, url, rounds)
    return summary(through, direct)


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", rounds=40)
    results = asyncio.run(measure(options.rounds))
    rows = [[what, way, *results[what][way].values()] for what in ("ttft_ms", "total_ms") for way in ("direct", "page")]
    print(table(["", "way", "p50", "p95"], rows))
    print(f"added TTFT, ms: {results['added_ttft_ms']}   total, ratio: {results['total_ratio']}")
    print(f"the page's stages, ms: {results['page_stages_ms']}; outside of them: {results['outside_stages_ms']}")
    conclude(results, options.out)


if __name__ == "__main__":
    main()
