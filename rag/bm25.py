"""BM25 over chunks: rank-bm25's scores, from a large index that is never rebuilt for a small change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from rag import okapi
from rag.arrays import BrokenFile, offsets_of, read_folder, write_folder
from rag.chunking import Chunk
from rag.grams import grams_of
from rag.part import Part, check_owners, rows_at, terms
from rag.ranking import Near, closeness, second_look
from rag.text import question_words

__all__ = ["Bm25Index", "BrokenFile", "Hit", "terms"]

Ints = npt.NDArray[Any]
Meaning = Callable[[str, Sequence[Chunk]], Near | None]

# A saved index of another form is not read but built anew.
_FORMAT = f"bm25 1 {okapi.K1} {okapi.B} {okapi.EPSILON}"
# Changes kept beside the base before they are worth a merge: this many chunks, and removals of this share of the base.
_MOST_ADDED = 2_000
_MOST_REMOVED = 0.05


@dataclass(frozen=True)
class Hit:
    """
    A chunk that matched.

    Attributes:
        chunk: the chunk.
        score: its BM25 score; comparable within one query only, and 0 or below for a true match in a tiny corpus.
        closeness: 0 to 1, by what it was ranked after a second look; 0 without one.
        also: other documents with the same text.
        near: how near in meaning each of its sentences is to the question, as cosines; empty where nobody knows.
    """

    chunk: Chunk
    score: float
    closeness: float = 0.0
    also: tuple[str, ...] = ()
    near: tuple[float, ...] = ()


class Bm25Index:
    """
    An immutable index; safe to search from several threads.

    A change makes a new index that shares the large part of the old one: what was added lies in a small segment
    beside the base, what was removed is struck from it. The statistics are those of the chunks that are there, so
    an index scores the same whether it was built at once or in steps.

    Args:
        chunks: the corpus in its order; where the chunks of a document are apart, they move up to its first.

    Attributes:
        manifest: what was saved with it, for whoever saved it; empty unless loaded.
    """

    def __init__(self, chunks: Sequence[Chunk] = ()) -> None:
        by_document: dict[str, list[Chunk]] = {}
        for chunk in chunks:
            by_document.setdefault(chunk.document, []).append(chunk)
        part = Part.built([chunk for document in by_document.values() for chunk in document])
        self._set(part, None, part.passages.documents(), {}, by_name=False)

    def _set(
        self,
        base: Part,
        delta: Part | None,
        in_base: Mapping[str, tuple[int, int]],
        in_delta: Mapping[str, tuple[int, int]],
        *,
        by_name: bool,
    ) -> None:
        places = {name: (base, *place) for name, place in in_base.items()}
        if delta is not None:
            places |= {name: (delta, *place) for name, place in in_delta.items()}
        self._base, self._delta = base, delta
        self._parts = (base,) if delta is None else (base, delta)
        self._in_base, self._in_delta = in_base, in_delta
        self._by_name = by_name
        self._places = {name: places[name] for name in sorted(places)} if delta is not None else places
        self._length = sum(map(len, self._parts))
        self._average = sum(part.tokens for part in self._parts) / max(1, self._length)
        self.manifest: dict[str, Any] = {}
        self._file: str | None = None  # the base in the folder where it was saved last

    @classmethod
    def _of(
        cls, base: Part, delta: Part | None, in_base: Mapping[str, tuple[int, int]], file: str | None = None
    ) -> Self:
        # An index whose documents are in the order of their names.
        index = cls.__new__(cls)
        in_delta = {} if delta is None else delta.passages.documents()
        base = base.ranked(list(in_base.values()))
        if delta is not None:
            delta = delta.ranked([in_delta[name] for name in sorted(in_delta)])
        index._set(base, delta, in_base, in_delta, by_name=True)
        index._file = file
        return index

    def __len__(self) -> int:
        return self._length

    @property
    def chunks(self) -> Sequence[Chunk]:
        """All chunks in corpus order; each is made when it is asked for."""
        return _Chunks(list(self._places.values()))

    @property
    def names(self) -> list[str]:
        """The names of the documents in corpus order."""
        return list(self._places)

    def document(self, name: str) -> list[Chunk]:
        """
        The chunks of a document, in order.

        Raises:
            KeyError: no document has this name.
        """
        part, first, size = self._places[name]
        return [part.passages[row] for row in range(first, first + size)]

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find the chunks that best match a question.

        Only chunks that share a word with the query are returned, so the list may be shorter than `k`, or empty.
        Equal scores keep corpus order.

        Args:
            query: the question, in plain text.
            k: the most hits to return; at least 1.

        Returns:
            Up to `k` hits, best first.

        Raises:
            ValueError: `k` is below 1.

        Source: Okapi BM25 as in Trotman et al. (2014), via rank-bm25.

        >>> index = Bm25Index([Chunk("Hold the button for ten seconds.", "router.md", 0)])
        >>> [hit.chunk.document for hit in index.search("which button?")]
        ['router.md']
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, was: {k}")
        best = self._best(self.words(query), k)
        return [Hit(part.passages[row], score) for score, part, row in best]

    def ranked(self, query: str, *, k: int = 4, depth: int = 30, meaning: Meaning | None = None) -> list[Hit]:
        """
        Find the chunks that best answer a question: the best by BM25, after a second look at them.

        The second look adds, in equal parts, the BM25 of the words' groups of letters and the nearness of the
        question's words to each other (see `second_look`); on SQuAD articles it puts the right chunk first 3 to 4 %
        more often.

        Args:
            query: the question, in plain text.
            k: the most hits to return; at least 1.
            depth: how many chunks get the second look.
            meaning: says how near in meaning chunks are to the question (see `closeness`); it then counts two thirds.

        Raises:
            ValueError: `k` is below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, was: {k}")
        asked = self.words(query)
        best = self._best(asked, max(k, depth))
        if not best:
            return []
        by_part = [[(score, row) for score, of, row in best if of is part] for part in self._parts]
        found = [(score, part, row) for part, some in zip(self._parts, by_part, strict=True) for score, row in some]
        letters, windows = second_look(
            asked,
            [
                (part.segment, np.array([row for _, row in some], dtype=np.int64))
                for part, some in zip(self._parts, by_part, strict=True)
            ],
            idf=self.idf,
            size=len(self),
        )
        scores = np.array([score for score, _, _ in found])
        meant = meaning(query, [part.passages[row] for _, part, row in found]) if meaning else None
        near = closeness(scores, letters, windows, meant.chunks if meant else None)
        place = {(id(part), row): at for at, (_, part, row) in enumerate(best)}
        order = sorted(range(len(found)), key=lambda at: (-near[at], place[id(found[at][1]), found[at][2]]))
        return [
            Hit(
                part.passages[row],
                score,
                closeness=round(float(near[at]), 6),
                near=meant.sentences[at] if meant else (),
            )
            for at, (score, part, row) in ((at, found[at]) for at in order[:k])
        ]

    def guessed(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find chunks by the words that look most like the question's, for a question with typing errors.

        Returns:
            Up to `k` hits by BM25, best first; empty if nothing looks alike.
        """
        found = [word if self._idf(word) is not None else self._alike(word) for word in self.words(query)]
        best = self._best([word for word in found if word], k)
        return [Hit(part.passages[row], score) for score, part, row in best]

    def _alike(self, word: str) -> str | None:
        best = max((grams_of(part.segment).nearest(word) for part in self._parts), default=None)
        return best[1] if best and best[0] > 0 else None

    def words(self, query: str) -> list[str]:
        """The words of a question as the documents' languages make them; several languages may give several."""
        return question_words(query, self._languages)

    @cached_property
    def _languages(self) -> list[str]:
        return sorted({language for part in self._parts for language in part.passages.languages})

    def _best(self, asked: Sequence[str], k: int) -> list[tuple[float, Part, int]]:
        known = [(word, idf) for word in asked if (idf := self._idf(word)) is not None]
        found = [(score, part, row) for part in self._parts for score, row in part.best(known, k, self._average)]
        if self._delta is not None:
            # Within a part they are in order; a document is in one part only.
            found.sort(key=lambda hit: (-hit[0], hit[1].passages.document(hit[2])))
        return found[:k]

    def idf(self, word: str) -> float:
        """
        How much a word (as `words` makes it) tells: rarer words tell more; at least 0.

        A word that no chunk has counts as much as the rarest one.
        """
        idf = self._idf(word)
        if idf is None:
            idf = okapi.idf(1, len(self)) if len(self) else 0.0
        return max(0.0, idf)

    def _idf(self, word: str) -> float | None:
        frequency = 0
        for part in self._parts:
            at = part.segment.words.get(word)
            if at is not None:
                frequency += part.frequencies.item(at)
        if not frequency:
            return None
        idf = okapi.idf(frequency, len(self))
        return idf if idf >= 0 else self._common_idf

    @cached_property
    def _common_idf(self) -> float:
        frequencies = self._base.frequencies
        if self._delta is not None:
            ids = self._base.segment.words
            at = np.array([ids.get(word, -1) for word in self._delta.segment.words], dtype=np.int64)
            shared = at >= 0
            frequencies = frequencies.copy()
            frequencies[at[shared]] += self._delta.frequencies[shared]
            frequencies = np.concatenate((frequencies, self._delta.frequencies[~shared]))
        return okapi.common_idf(frequencies, len(self))

    def updated(self, replaced: Mapping[str, Sequence[Chunk]], removed: Collection[str] = ()) -> Self:
        """
        The index after some documents were added, replaced or removed; the documents are then sorted by name.

        Costs as much as the changed documents and those changed since the last merge, not as the corpus.

        Args:
            replaced: the chunks of the new and the changed documents, by name; none: the document goes.
            removed: the names of those to remove; unknown ones are ignored.

        Raises:
            ValueError: a chunk belongs to another document than it is given for.
        """
        check_owners(replaced)
        changed = {*replaced, *removed}
        gone = [place for name in changed if (place := self._in_base.get(name))]
        base = self._base.without(rows_at(gone))
        in_base: Mapping[str, tuple[int, int]] = self._in_base
        if gone or not self._by_name:
            in_base = {name: self._in_base[name] for name in sorted(self._in_base) if name not in changed}
        added = Part.built([chunk for name in sorted(replaced) for chunk in replaced[name]])
        if self._delta is not None:
            kept = rows_at([place for name, place in self._in_delta.items() if name not in changed])
            added = Part.joined([(self._delta, kept), (added, np.arange(len(added)))]) if len(kept) else added
        if not len(base):
            return self._of(added, None, _sorted(added.passages.documents()))
        return self._of(base, added if len(added) else None, in_base, self._file)

    def prepare(self) -> None:
        """Make now what the first search would have to wait for."""
        for part in self._parts:
            grams_of(part.segment)

    @property
    def has_removed(self) -> bool:
        """Whether it still holds texts that it no longer finds; `merged` gets rid of them."""
        return bool(len(self._base.removed))

    @property
    def needs_merge(self) -> bool:
        """Whether so much has changed since the last merge that another one pays."""
        added = 0 if self._delta is None else len(self._delta)
        return added > _MOST_ADDED or len(self._base.removed) > max(_MOST_ADDED, _MOST_REMOVED * len(self._base))

    def merged(self) -> Self:
        """The same index in one piece, its documents sorted by name; costs as much as the corpus is long."""
        rows = [rows_at(list(self._in_base.values())), rows_at(list(self._in_delta.values()))]
        at: dict[str, tuple[int, int]] = {}
        start = 0
        for name, (_, size) in [*self._in_base.items(), *self._in_delta.items()]:
            at[name] = (start, size)
            start += size
        part = Part.joined(list(zip(self._parts, rows, strict=False)), rows_at([at[name] for name in sorted(at)]))
        merged = self._of(part, None, part.passages.documents())
        merged.manifest = self.manifest
        return merged

    def save(self, folder: Path, manifest: Mapping[str, Any] | None = None) -> None:
        """
        Write the index into a folder; whoever reads there meets the old state or the new one, never half of it.

        A base that lies there already is not written again.

        Args:
            folder: made if it is not there; holds one saved index.
            manifest: what to find again in `manifest` after loading; must fit into JSON.

        Raises:
            OSError: it cannot be written.
        """
        files: dict[str, str | Mapping[str, Ints]] = {"base": self._file or self._base.arrays()}
        if self._file and not (folder / self._file).exists():
            files["base"] = self._base.arrays()
        files["changes"] = {"removed": self._base.removed} | (self._delta.arrays() if self._delta else {})
        body = {"format": _FORMAT, "by_name": self._by_name, "manifest": dict(manifest or {})}
        self._file = write_folder(folder, body, files)["base"]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """
        A saved index, mapped into memory: ready at once, and read from the disk as it is searched.

        Raises:
            BrokenFile: there is none, or it is damaged, or made by another version or with other rules for words;
                build a new one.
        """
        body, files, arrays = read_folder(folder)
        if body.get("format") != _FORMAT:
            raise BrokenFile(f"{folder} holds an index of another version: {body.get('format')}, not {_FORMAT}")
        try:
            base, changes = Part.restored(arrays["base"]), arrays["changes"]
            delta = Part.restored(changes) if "tokens" in changes else None
            in_base = base.passages.documents()
            if len(changes["removed"]):
                base = base.without(changes["removed"])
                gone = set(changes["removed"].tolist())
                in_base = {name: place for name, place in in_base.items() if place[0] not in gone}
            if body["by_name"]:
                index = cls._of(base, delta, _sorted(in_base))
            else:
                index = cls.__new__(cls)
                index._set(base, None, in_base, {}, by_name=False)
            index.manifest, index._file = body["manifest"], files["base"]
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise BrokenFile(f"{folder} does not hold a whole index: {error!r}") from error
        for part in index._parts:
            part.check()
        return index


class _Chunks(Sequence[Chunk]):
    # The chunks of some documents, each given as its part, first row and number of rows.

    def __init__(self, places: Sequence[tuple[Part, int, int]]) -> None:
        self._places = places
        self._starts = offsets_of(np.array([size for _, _, size in places], dtype=np.int64))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, at: int) -> Chunk: ...
    @overload
    def __getitem__(self, at: slice) -> list[Chunk]: ...
    def __getitem__(self, at: int | slice) -> Chunk | list[Chunk]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(f"chunk {at} of {len(self)}")
        at %= len(self)
        document = int(self._starts.searchsorted(at, "right")) - 1
        part, first, _ = self._places[document]
        return part.passages[first + at - int(self._starts[document])]

    def __iter__(self) -> Iterator[Chunk]:
        for part, first, size in self._places:
            for row in range(first, first + size):
                yield part.passages[row]


def _sorted(places: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {name: places[name] for name in sorted(places)}
