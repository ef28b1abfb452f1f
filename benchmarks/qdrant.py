"""
How fast is the search on Qdrant, how fast is it filled, and does it find what rank-bm25 finds?

The server is the one of QDRANT_URL, or else the tests' double in a process of its own: Qdrant's own core with one
shard behind a Python HTTP server, which says little about the speed of a server, and nothing about a cluster. The
chunks and questions are those of `benchmarks.retrieval`; our index, whose scores are rank-bm25's, says what is
right. Each average is the true one times a factor: what a collection loses whose average was estimated badly.

    python -m benchmarks.qdrant [--chunks 50000] [--questions 300] [--out FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.common import arguments, conclude, median, quantile
from benchmarks.retrieval import CHUNKS_IN_DOCUMENT, SQUAD, make_corpus, make_questions
from rag.bm25 import Bm25Index, Hit
from rag.chunking import Chunk
from rag.part import terms
from rag.qdrant import Collection, QdrantIndex, Server
from rag.qdrant.points import source_of, stamp_of

TOP = 10
FACTORS = {"true": 1.0, "half": 0.5, "double": 2.0}
DOCUMENTS_AT_ONCE = 26  # about a request's worth of chunks


@contextmanager
def server_url() -> Iterator[tuple[str, str]]:
    """A server, and what it is."""
    if os.environ.get("QDRANT_URL"):
        yield os.environ["QDRANT_URL"], "server"
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.qdrant_server", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                yield process.stdout.readline().strip(), "qdrant-edge behind the tests' double"
            finally:
                process.kill()


def fill(collection: Collection, documents: dict[str, list[Chunk]]) -> float:
    """Write documents, and say how many chunks a second the server acknowledged."""
    names = list(documents)
    started = time.perf_counter()
    for at in range(0, len(names), DOCUMENTS_AT_ONCE):
        some = {name: documents[name] for name in names[at : at + DOCUMENTS_AT_ONCE]}
        collection.write({name: (stamp_of(name, source_of(one), len(one)), one) for name, one in some.items()})
    return sum(map(len, documents.values())) / (time.perf_counter() - started)


def places(hits: Sequence[Hit]) -> set[tuple[str, int]]:
    """Which chunks were found."""
    return {(hit.chunk.document, hit.chunk.number) for hit in hits}


def timed(ask: Callable[[str], list[Hit]], queries: Sequence[str]) -> tuple[list[set[tuple[str, int]]], list[float]]:
    """What was found, and how long each took, in milliseconds."""
    found, times = [], []
    for query in queries:
        started = time.perf_counter()
        hits = ask(query)
        times.append(1000 * (time.perf_counter() - started))
        found.append(places(hits))
    return found, times


def agreement(found: Sequence[set[Any]], right: Sequence[set[Any]]) -> float:
    """Which share of what is right was found."""
    return round(sum(len(one & other) for one, other in zip(found, right, strict=True)) / sum(map(len, right)), 4)


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", chunks=50_000, questions=300)
    corpus = make_corpus(options.chunks, 0, "squad" if SQUAD.is_dir() else "zipf")
    queries = [" ".join(question) for question in make_questions(corpus, options.questions, 0)]
    documents: dict[str, list[Chunk]] = {}
    for at, text in enumerate(corpus):
        name = f"{at // CHUNKS_IN_DOCUMENT:07}.md"
        documents.setdefault(name, []).append(Chunk(" ".join(text), name, at % CHUNKS_IN_DOCUMENT))
    chunks = [chunk for one in documents.values() for chunk in one]
    average = sum(len(terms(chunk)) for chunk in chunks) / len(chunks)
    exact = Bm25Index(chunks)
    right, right_ranked = ([places(ask(query)) for query in queries] for ask in (
        lambda query: exact.search(query, k=TOP),
        lambda query: exact.ranked(query, k=4),
    ))  # fmt: skip
    results: dict[str, Any] = {"chunks": len(chunks), "questions": len(queries), "average": round(average, 1)}
    with server_url() as (url, kind):
        results["server"] = kind
        server = Server(url, timeout_s=60)
        for label, factor in FACTORS.items():
            name = f"benchmark-{uuid.uuid4().hex[:8]}"
            collection = Collection.made(server, name, chunk_words=150, average=lambda: average * factor)  # noqa: B023
            per_second = fill(collection, documents)
            index = QdrantIndex(collection)
            index.ranked(queries[0])  # takes the sample
            found, times = timed(lambda query, index=index: index.search(query, k=TOP), queries)  # type: ignore[misc]
            ranked, ranked_times = timed(lambda query, index=index: index.ranked(query, k=4), queries)  # type: ignore[misc]
            results[f"agreement_top_{TOP}_{label}"] = agreement(found, right)
            results[f"agreement_ranked_{label}"] = agreement(ranked, right_ranked)
            if label == "true":
                results |= {
                    "chunks_per_s": round(per_second),
                    "search_p50_ms": round(median(times), 2),
                    "search_p95_ms": round(quantile(times, 0.95), 2),
                    "ranked_p50_ms": round(median(ranked_times), 2),
                    "ranked_p95_ms": round(quantile(ranked_times, 0.95), 2),
                }
            collection.deleted()
        server.close()
    conclude(results, options.out)


if __name__ == "__main__":
    main()
