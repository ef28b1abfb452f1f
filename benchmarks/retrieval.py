"""
How fast is the search, and is it right? Our index beside rank-bm25, bm25s on numba, and tantivy.

All get the same words of the same made-up chunks and the same questions, already cut into words, in one process;
the engines take turns, so that a busy machine slows all of them. The best five of rank-bm25, stably sorted, say what
is right. Chunks have 40 to 160 words: half of them a walk over the word pairs of the SQuAD articles, half from a
long Zipfian tail, as a large corpus has it; `--source zipf` does without SQuAD. A question has 4 to 8 words (stop
words are gone): one or two drawn from the whole corpus, hence common, the others from one chunk.

bm25s, numba and tantivy are for comparison only: what is not installed is reported as null. rank-bm25 is left out
above 300,000 chunks.

    python -m benchmarks.retrieval [--chunks 100000] [--json] [--out FILE]
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rank_bm25 import BM25Okapi

from benchmarks.common import conclude, median, quantile, rounded, table
from rag.bm25 import Bm25Index
from rag.chunking import Chunk
from rag.segment import Segment
from rag.text import words

SQUAD = Path(__file__).parent.parent.parent / "shared" / "data" / "squad" / "docs"
TAIL = 200_000  # words
K = 5
CHUNKS_IN_DOCUMENT = 10
MOST_FOR_RANK_BM25 = 300_000

Words = list[str]
Search = Callable[[Words], Sequence[int]]


def zipfian(random: np.random.Generator, size: int) -> Any:
    """Draws from the tail: the word of rank r has a share of 1 / (r + 30), much like the content words of English."""
    bounds = np.cumsum(1 / (np.arange(TAIL) + 30.0))
    return np.minimum(bounds.searchsorted(random.random(size) * bounds[-1]), TAIL - 1)


def walks(random: np.random.Generator, text: Sequence[int], count: int, length: int) -> Any:
    """Walks over a text in which each word is followed by what follows some occurrence of it, (count, length)."""
    ids = np.array(text)
    by_word = np.argsort(ids, kind="stable")
    often = np.bincount(ids)
    first = np.cumsum(often) - often
    at = random.integers(0, len(ids), count)
    steps = np.empty((count, length), dtype=np.int32)
    for step in range(length):
        word = ids[at]
        steps[:, step] = word
        at = (by_word[first[word] + (random.random(count) * often[word]).astype(np.int64)] + 1) % len(ids)
    return steps


def make_corpus(chunks: int, seed: int, source: str) -> list[Words]:
    """The words of some chunks; the same for the same arguments."""
    random = np.random.default_rng(seed)
    lengths = random.integers(40, 161, chunks)
    total = int(lengths.sum())
    tail = [f"w{rank}" for rank in range(TAIL)]
    if source == "zipf":
        vocabulary, ids = np.array(tail, dtype=object), zipfian(random, total)
    else:
        numbers: dict[str, int] = {}
        read = [word for path in sorted(SQUAD.iterdir()) for word in words(path.read_text(encoding="utf-8"))]
        text = [numbers.setdefault(word, len(numbers)) for word in read]
        vocabulary = np.array([*numbers, *tail], dtype=object)
        ids = walks(random, text, chunks, 160)[np.arange(160) < lengths[:, None]]
        replaced = random.random(total) < 0.5
        ids[replaced] = len(numbers) + zipfian(random, int(replaced.sum()))
    flat = vocabulary[ids].tolist()
    ends = np.cumsum(lengths).tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def make_questions(corpus: Sequence[Words], count: int, seed: int) -> list[Words]:
    """The words of some questions."""
    random = np.random.default_rng([seed, 1])
    questions = []
    for _ in range(count):
        source = corpus[int(random.integers(len(corpus)))]
        common = int(random.integers(1, 3))
        chosen = [source[at] for at in random.choice(len(source), int(random.integers(4, 9)) - common, replace=False)]
        for chunk in random.integers(len(corpus), size=common).tolist():
            chosen.append(corpus[chunk][random.integers(len(corpus[chunk]))])
        questions.append(chosen)
    return questions


def ours(corpus: list[Words]) -> Search:
    """Our postings."""
    segment = Segment.build(corpus)
    return lambda question: segment.top(question, K)[0].tolist()


def rank_bm25(corpus: list[Words]) -> Search:
    """rank-bm25, and a stable sort of the chunks that share a word."""
    index = BM25Okapi(corpus)

    def search(question: Words) -> Sequence[int]:
        best = np.argsort(-index.get_scores(question), kind="stable")
        asked = set(question)
        matching = (row for row in best.tolist() if asked.intersection(corpus[row]))
        return [row for row, _ in zip(matching, range(K), strict=False)]

    return search


def bm25s_numba(corpus: list[Words]) -> Search:
    """bm25s with the same formula, compiled by numba."""
    import bm25s

    index = bm25s.BM25(method="atire", k1=1.5, b=0.75, backend="numba")
    index.index(corpus, show_progress=False)
    return lambda question: index.retrieve([question], k=K, show_progress=False).documents[0]


def tantivy(corpus: list[Words]) -> Search:
    """tantivy in memory, in one segment, without a count of all matches, which is its fastest way."""
    import tantivy as engine

    fields = engine.SchemaBuilder()
    fields.add_text_field("body", stored=False, tokenizer_name="whitespace", index_option="freq")
    index = engine.Index(fields.build())
    writer = index.writer(heap_size=1_000_000_000, num_threads=1)
    for text in corpus:
        writer.add_document(engine.Document(body=" ".join(text)))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, schema, should = index.searcher(), index.schema, engine.Occur.Should

    def search(question: Words) -> Sequence[int]:
        terms = [(should, engine.Query.term_query(schema, "body", word, "freq")) for word in question]
        found = searcher.search(engine.Query.boolean_query(terms), K, count=False)
        return [address.doc for _, address in found.hits]

    return search


ENGINES = {"ours": ours, "rank_bm25": rank_bm25, "bm25s_numba": bm25s_numba, "tantivy": tantivy}
NEEDS = {"bm25s_numba": ("bm25s", "numba"), "tantivy": ("tantivy",)}


def _build_key(engine: str) -> str:
    return f"{engine.removesuffix('_numba')}_build_s"  # numba has no part in it


def missing(engine: str, chunks: int) -> str | None:
    """Why an engine does not take part."""
    if engine == "rank_bm25" and chunks > MOST_FOR_RANK_BM25:
        return "left out: too slow for so many chunks"
    absent = [module for module in NEEDS.get(engine, ()) if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def measure_engines(corpus: list[Words], questions: list[Words], checked: int, rounds: int) -> dict[str, Any]:
    """Build time, and the time of a question, of each engine; and whether ours finds what rank-bm25 finds."""
    searches: dict[str, Search] = {}
    results: dict[str, Any] = {"left_out": {}}
    for name, build in ENGINES.items():
        results |= {_build_key(name): None, f"{name}_p50_ms": None, f"{name}_p95_ms": None}
        reason = missing(name, len(corpus))
        if reason:
            results["left_out"][name] = reason
            continue
        gc.collect()
        started = time.perf_counter()
        searches[name] = build(corpus)
        results[_build_key(name)] = round(time.perf_counter() - started, 2)
    gc.collect()
    gc.freeze()  # the corpora are no part of a search

    times: dict[str, list[float]] = {name: [] for name in searches}
    found: dict[str, list[list[int]]] = {name: [] for name in searches}
    for name, search in searches.items():
        for question in questions[:checked]:
            found[name].append([int(row) for row in search(question)])  # and warm-up
    for _ in range(rounds):
        for name, search in searches.items():
            for question in questions[: checked // rounds if name == "rank_bm25" else None]:
                started = time.perf_counter()
                search(question)
                times[name].append(1000 * (time.perf_counter() - started))
    for name, each in times.items():
        results[f"{name}_p50_ms"], results[f"{name}_p95_ms"] = round(median(each), 4), round(quantile(each, 0.95), 4)
        results[f"{name}_to_ours"] = round(median(each) / median(times["ours"]), 2)
    if "rank_bm25" in found:
        results["checked"] = checked
        results["same_top_k"] = found["ours"] == found["rank_bm25"]
    return results


def measure_life(corpus: list[Words], questions: list[Words]) -> dict[str, float]:
    """The index of chunks as the library uses it: built, saved, loaded up to the first hit, changed, merged."""
    chunks = [
        Chunk(" ".join(text), f"{at // CHUNKS_IN_DOCUMENT:07}.md", at % CHUNKS_IN_DOCUMENT)
        for at, text in enumerate(corpus)
    ]
    queries = [" ".join(question) for question in questions]
    times: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        done = work()
        times[name] = time.perf_counter() - started
        return done

    def search_ms(index: Bm25Index) -> float:
        each = []
        for query in queries:
            started = time.perf_counter()
            hits = index.search(query, k=K)
            each.append(1000 * (time.perf_counter() - started))
            assert hits, f"nothing found for words of the corpus: {query}"  # else this would time nothing
        return median(each)

    # The words are the corpus's own: how long the stemmer takes is another question.
    with (
        patch("rag.part.terms", lambda chunk: chunk.text.split()),
        patch("rag.bm25.question_words", lambda text, *_: text.split()),
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        index = timed("index_build_s", lambda: Bm25Index(chunks))
        timed("save_s", lambda: index.save(folder))
        times["saved_mb"] = sum(path.stat().st_size for path in folder.iterdir()) / 1e6

        def load() -> Bm25Index:
            loaded = Bm25Index.load(folder)
            loaded.search(queries[0])
            return loaded

        index = timed("load_s", load)
        times["search_ms"] = search_ms(index)
        updates = []
        for at in range(9):
            first = chunks[at * CHUNKS_IN_DOCUMENT]
            changed = [Chunk(f"{chunk.text} new{at}", first.document, chunk.number) for chunk in chunks[:7]]
            started = time.perf_counter()
            index = index.updated({first.document: changed})
            assert index.search(f"new{at}")
            updates.append(1000 * (time.perf_counter() - started))
        times["update_ms"], times["search_changed_ms"] = median(updates), search_ms(index)
        timed("save_change_s", lambda: index.save(folder))
        timed("merge_s", index.merged)
    return rounded(times, 3)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--questions", type=int, default=500, help="default: 500")
    parser.add_argument("--checked", type=int, default=20, help="how many of them rank-bm25 gets too; default: 20")
    parser.add_argument("--rounds", type=int, default=4, help="default: 4")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--source", choices=["squad", "zipf"], help="default: squad where it is there")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    parser.add_argument("--out", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    source = options.source or ("squad" if SQUAD.is_dir() else "zipf")

    corpus = make_corpus(options.chunks, options.seed, source)
    questions = make_questions(corpus, options.questions, options.seed)
    results: dict[str, Any] = {
        "chunks": options.chunks,
        "questions": options.questions,
        "seed": options.seed,
        "source": source,
        "k": K,
    }
    results |= measure_engines(corpus, questions, options.checked, options.rounds)
    results |= measure_life(corpus, questions)
    if not options.json:
        keys = {name: [_build_key(name), f"{name}_p50_ms", f"{name}_p95_ms", f"{name}_to_ours"] for name in ENGINES}
        rows = [[name, *map(results.get, keys[name])] for name in ENGINES]
        print(table(["engine", "build s", "p50 ms", "p95 ms", "to ours"], rows))
        for name, reason in results["left_out"].items():
            print(f"{name} {reason}")
    conclude(results, options.out)


if __name__ == "__main__":
    main()
