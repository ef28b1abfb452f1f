"""The contract of `Bm25Index` over a collection on a Qdrant server."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from pydantic import SecretStr

from rag import okapi
from rag.bm25 import Hit, Meaning
from rag.chunking import Chunk
from rag.grams import grams_of
from rag.part import Part, check_owners, terms
from rag.qdrant.collection import Collection as Chunks
from rag.qdrant.collection import Match
from rag.qdrant.server import Server
from rag.ranking import closeness, second_look
from rag.segment import Segment
from rag.shelf import UPLOADED
from rag.text import question_words

# How long what was learnt of the collection as a whole is taken for true, in seconds.
_FRESH_S = 30.0
# Chunks that stand for all when it is asked how common groups of letters are, and which words look alike.
_SAMPLE = 2_000
# Chunks with the same score come in any order; asking for so many more puts those around the k-th right.
_TIES = 10


@dataclass
class _Learnt:
    # What was learnt of a collection, until it is stale.
    size: int
    languages: list[str]
    until: float
    # The server's idf by word; infinite where no chunk has it, as is the case of no word at all.
    told: dict[str, float] = field(default_factory=lambda: {"": math.inf})


class _Shared:
    # What all views of one collection share.

    def __init__(self, collection: Chunks, clock: Callable[[], float]) -> None:
        self.collection = collection
        self._clock = clock
        self._lock = threading.Lock()
        self._learnt: _Learnt | None = None
        self._sample: Segment | None = None

    def known(self) -> _Learnt:
        # Of whatever age: the page asks for it where nothing may wait for a server.
        return self._learnt or self.learn()

    def learnt(self) -> _Learnt:
        known = self._learnt
        return self.learn() if known is None or self._clock() >= known.until else known

    def learn(self) -> _Learnt:
        now = self._clock()
        self._learnt = learnt = _Learnt(self.collection.count(), self.collection.languages(), now + _FRESH_S)
        return learnt

    def sample(self) -> Segment:
        with self._lock:  # it takes a moment, and once is enough
            if self._sample is None or (not len(self._sample) and self.known().size):
                self._sample = Segment.build(map(terms, self.collection.sample(_SAMPLE)))
            return self._sample


class QdrantIndex:
    """
    A view of a collection; safe to search from several threads, each request waiting for the server.

    What other programs write to the collection is found as soon as it is there; the statistics follow with the first
    question after 30 seconds. `len` and `words` answer from them and do not wait for the server, once anything was
    asked. `updated` makes a view with documents of its own, which stay in this process: a conversation's
    uploads are never sent to the server. `upsert` and `remove` write to the collection, for everybody.

    Scores are the server's: its idf is ln((N + 1) / (n + 0.5)), where rank-bm25 has ln((N - n + 0.5) / (n + 0.5)),
    and the average length is the one that was true when the collection was made.

    Args:
        collection: opened or made; `close` closes its server.
        clock: tells seconds, for what is learnt of the collection.

    Source: BM25 as sparse vectors with an IDF modifier, https://qdrant.tech/documentation/concepts/indexing/.
    """

    has_removed = False
    needs_merge = False

    def __init__(self, collection: Chunks, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._set(_Shared(collection, clock), {}, frozenset())

    def _set(self, shared: _Shared, own: Mapping[str, Sequence[Chunk]], hidden: frozenset[str]) -> None:
        self._shared = shared
        self._collection = shared.collection
        self._own = {name: list(own[name]) for name in sorted(own) if own[name]}
        self._hidden = hidden  # documents of the collection that this view does not show
        self._part = Part.built([chunk for chunks in self._own.values() for chunk in chunks])

    @classmethod
    def opened(cls, url: str, name: str, *, chunk_words: int, api_key: SecretStr | None = None) -> Self:
        """
        The index of a collection that `python -m rag load` has filled.

        Raises:
            SearchError: no server, no such collection, or one that was made by other rules.
        """
        server = Server(url, api_key=api_key)
        try:
            return cls(Chunks.opened(server, name, chunk_words=chunk_words))
        except BaseException:
            server.close()
            raise

    def close(self) -> None:
        """Close the connections to the server, for all views."""
        self._collection.server.close()

    def __len__(self) -> int:
        hidden = sum(len(self._collection.document(name)) for name in self._hidden)
        return self._shared.known().size - hidden + len(self._part)

    @property
    def collection(self) -> Chunks:
        """The collection that is searched."""
        return self._collection

    @property
    def names(self) -> list[str]:
        """The names of the documents, sorted; asks the server for all of them."""
        there = {first["document"] for first in self._collection.firsts()}
        return sorted((there - self._hidden) | self._own.keys())

    def document(self, name: str) -> list[Chunk]:
        """
        The chunks of a document, in order.

        Raises:
            KeyError: no document has this name.
        """
        chunks = self._own.get(name) or ([] if name in self._hidden else self._collection.document(name))
        if not chunks:
            raise KeyError(name)
        return list(chunks)

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find the chunks that best match a question; see `Bm25Index.search`.

        Raises:
            ValueError: `k` is below 1.
            SearchError: the server gave no answer.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, was: {k}")
        return [Hit(match.chunk, match.score) for match in self._best(self.words(query), k)]

    def ranked(self, query: str, *, k: int = 4, depth: int = 30, meaning: Meaning | None = None) -> list[Hit]:
        """
        Find the chunks that best answer a question: the best of the server, after a second look at them here.

        How common a group of letters is, the second look takes from a sample of the collection.

        Raises:
            ValueError: `k` is below 1.
            SearchError: the server gave no answer.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, was: {k}")
        asked = self.words(query)
        best = self._best(asked, max(k, depth))
        if not best:
            return []
        found, sample = Segment.build(match.terms for match in best), self._shared.sample()
        nothing = np.zeros(0, dtype=np.int64)
        letters, windows = second_look(
            asked, [(found, np.arange(len(found))), (sample, nothing)], idf=self.idf, size=len(found) + len(sample)
        )
        scores = np.array([match.score for match in best])
        meant = meaning(query, [match.chunk for match in best]) if meaning else None
        near = closeness(scores, letters, windows, meant.chunks if meant else None)
        order = sorted(range(len(best)), key=lambda at: (-near[at], at))
        return [
            Hit(
                best[at].chunk,
                best[at].score,
                closeness=round(float(near[at]), 6),
                near=meant.sentences[at] if meant else (),
            )
            for at in order[:k]
        ]

    def guessed(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find chunks by the words that look most like the question's, among those of a sample of the collection.

        Returns:
            Up to `k` hits by BM25, best first; empty if nothing looks alike.
        """
        asked = self.words(query)
        self._learn(asked)  # all in one request
        found = [word if self._frequency(word) else self._alike(word) for word in asked]
        return [Hit(match.chunk, match.score) for match in self._best([word for word in found if word], k)]

    def _alike(self, word: str) -> str | None:
        best = max(grams_of(segment).nearest(word) for segment in (self._shared.sample(), self._part.segment))
        return best[1] if best[0] > 0 else None

    def words(self, query: str) -> list[str]:
        """The words of a question as the documents' languages make them; several languages may give several."""
        return question_words(query, sorted({*self._shared.known().languages, *self._part.passages.languages}))

    def idf(self, word: str) -> float:
        """How much a word tells; see `Bm25Index.idf`. Costs a request for a word that was not asked for lately."""
        size = self._shared.known().size + len(self._part)
        if not size:
            return 0.0
        frequency = min(self._frequency(word) or 1.0, size)
        idf = math.log(size - frequency + 0.5) - math.log(frequency + 0.5)
        sample = self._shared.sample() if idf < 0 else None
        return max(0.0, idf if sample is None else okapi.common_idf(sample.frequencies, len(sample)))

    def _frequency(self, word: str) -> float:
        # In about how many chunks a word stands; costs nothing where that was learnt before.
        self._learn([word])
        learnt, part = self._shared.known(), self._part
        own = part.segment.words.get(word)
        told = learnt.told.get(word, math.inf)
        # Of N chunks, all of the server's: idf = ln((N + 1) / (n + 0.5)). Rounding must not make a half of none.
        there = max(1.0, (learnt.size + 1) / math.exp(told) - 0.5) if math.isfinite(told) else 0.0
        return there + (0 if own is None else part.frequencies.item(own))

    def _learn(self, words: Collection[str]) -> None:
        self._asked({}, limit=0, words=words)

    def _asked(self, asked: Mapping[str, int], *, limit: int, words: Collection[str]) -> list[Match]:
        learnt = self._shared.learnt()
        unknown = [word for word in dict.fromkeys(words) if word not in learnt.told]
        matches, told = self._collection.matching(asked, limit=limit, hidden=self._hidden, unknown=unknown)
        learnt.told.update(told)
        return matches

    def _best(self, asked: Sequence[str], k: int) -> list[Match]:
        matches = self._asked(Counter(asked), limit=k + _TIES, words=asked)
        words = set(asked)
        # Words with the same hash look like a match to the server.
        found = [match for match in matches if not words.isdisjoint(match.terms)]
        if len(self._part):
            idfs = [(word, self._told(word)) for word in asked if self._frequency(word)]
            own = self._part.best(idfs, k, self._collection.about.average)
            found += [Match(self._part.passages[row], score) for score, row in own]
        found.sort(key=lambda match: (-match.score, match.chunk.document, match.chunk.number))
        return found[:k]

    def _told(self, word: str) -> float:
        # The server's idf, so that the same text has the same score here and there; of a word that it does not know,
        # what it would be with this view's own documents among the others.
        learnt = self._shared.known()
        told = learnt.told.get(word, math.inf)
        if math.isfinite(told):
            return told
        return math.log(learnt.size + len(self._part) + 1) - math.log(self._frequency(word) + 0.5)

    def updated(self, replaced: Mapping[str, Sequence[Chunk]], removed: Collection[str] = ()) -> Self:
        """
        A view with some documents added, replaced or removed; nothing is written to the collection.

        Raises:
            ValueError: a chunk belongs to another document than it is given for.
        """
        check_owners(replaced)
        own = {name: chunks for name, chunks in self._own.items() if name not in removed} | dict(replaced)
        view = type(self).__new__(type(self))
        view._set(
            self._shared, own, self._hidden | {name for name in (*replaced, *removed) if not name.startswith(UPLOADED)}
        )
        return view

    def merged(self) -> Self:
        """This index: the server tidies up by itself."""
        return self

    def learn(self) -> None:
        """
        Learn how many chunks there are, and in which languages, now instead of with the next question.

        Raises:
            SearchError: the server gave no answer.
        """
        self._shared.learn()
