"""The chunks of an index as a table: their texts in one piece, the rest in arrays, each chunk made when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rag.arrays import Strings, gathered, offsets_of
from rag.chunking import Chunk

Ints = npt.NDArray[Any]

_NO_PAGE = -1
_NUMBERS = ("number", "start", "end", "page", "markdown")
# Strings of which many chunks share one: kept once, and numbered.
_SHARED = ("document", "opening", "language")


class Passages:
    """
    An immutable table of chunks, one a row.

    The chunks of a document are neighbours. What many chunks share, such as a document's name, is kept once.
    """

    def __init__(
        self,
        texts: Strings,
        paths: Sequence[tuple[str, ...]],
        shared: Mapping[str, Strings],
        numbers: Mapping[str, Ints],
    ) -> None:
        self._texts = texts
        self._paths = paths  # heading paths, by the numbers in "heading"
        self._shared = dict(shared)  # the strings of each of _SHARED, by the numbers of the same name
        self._numbers = dict(numbers)  # each (n_rows,)

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> Self:
        """
        The table of some chunks; those of one document must be neighbours.

        >>> Passages.of([Chunk("It is 8000.", "a.md", 0, ("Port",))])[0].heading
        ('Port',)
        """
        paths: dict[tuple[str, ...], int] = {}
        shared: dict[str, dict[str, int]] = {name: {} for name in _SHARED}
        columns: dict[str, list[int]] = {name: [getattr(chunk, name) for chunk in chunks] for name in _NUMBERS}
        columns["page"] = [_NO_PAGE if page is None else page for page in columns["page"]]
        columns["heading"] = [paths.setdefault(chunk.heading, len(paths)) for chunk in chunks]
        for name, seen in shared.items():
            columns[name] = [seen.setdefault(getattr(chunk, name), len(seen)) for chunk in chunks]
        numbers = {name: np.array(column, dtype=np.int64) for name, column in columns.items()}
        strings = {name: Strings.of(seen) for name, seen in shared.items()}
        return cls(Strings.of(chunk.text for chunk in chunks), list(paths), strings, numbers)

    @classmethod
    def joined(cls, parts: Sequence[tuple[Self, Ints]], order: Ints | None = None) -> Self:
        """The table of some rows of other tables; `order` is a permutation of all of them, None: as given."""
        paths: dict[tuple[str, ...], int] = {}
        shared: dict[str, dict[str, int]] = {name: {} for name in _SHARED}
        nothing = np.zeros(0, dtype=np.int64)
        columns: dict[str, list[Ints]] = {name: [nothing] for name in (*_NUMBERS, *_SHARED, "heading")}
        blobs, lengths = [np.zeros(0, dtype=np.uint8)], [nothing]
        for table, rows in parts:
            texts = table._texts
            blobs.append(gathered(texts.blob, texts.offsets, rows))
            lengths.append(texts.offsets[rows + 1] - texts.offsets[rows])
            for name in _NUMBERS:
                columns[name].append(table._numbers[name][rows])
            for name, seen in shared.items():
                columns[name].append(_renumbered(table._numbers[name][rows], table._shared[name], seen))
            columns["heading"].append(_renumbered(table._numbers["heading"][rows], table._paths, paths))
        blob, offsets = np.concatenate(blobs), offsets_of(np.concatenate(lengths))
        numbers = {name: np.concatenate(column) for name, column in columns.items()}
        if order is not None:
            blob, offsets = gathered(blob, offsets, order), offsets_of(np.diff(offsets)[order])
            numbers = {name: column[order] for name, column in numbers.items()}
        strings = {name: Strings.of(seen) for name, seen in shared.items()}
        return cls(Strings(blob, offsets), list(paths), strings, numbers)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: int) -> Chunk:
        number, start, end, page, markdown = [self._numbers[name].item(row) for name in _NUMBERS]
        document, opening, language = [self._string(name, row) for name in _SHARED]
        return Chunk(
            text=self._texts[row],
            document=document,
            number=number,
            heading=self._paths[self._numbers["heading"].item(row)],
            start=start,
            end=end,
            page=None if page == _NO_PAGE else page,
            markdown=bool(markdown),
            opening=opening,
            language=language,
        )

    def _string(self, name: str, row: int) -> str:
        return self._shared[name][self._numbers[name].item(row)]

    def document(self, row: int) -> str:
        """The name of the document that a row belongs to."""
        return self._string("document", row)

    @property
    def languages(self) -> list[str]:
        """The languages of the documents, each once."""
        return self._shared["language"].all()

    def documents(self) -> dict[str, tuple[int, int]]:
        """The documents in the order of their rows: first row and number of rows of each."""
        of_row = self._numbers["document"]
        firsts = np.flatnonzero(np.diff(of_row, prepend=-1))
        sizes = np.diff(firsts, append=len(of_row))
        names = self._shared["document"].all()
        return {
            names[document]: (first, size)
            for document, first, size in zip(of_row[firsts].tolist(), firsts.tolist(), sizes.tolist(), strict=True)
        }

    def arrays(self) -> dict[str, Ints]:
        """What `restored` needs, to be saved."""
        arrays = self._texts.arrays("texts")
        for name, strings in self._shared.items():
            arrays |= strings.arrays(name)
        arrays |= Strings.of(heading for path in self._paths for heading in path).arrays("headings")
        arrays["heading_offsets"] = offsets_of(np.array([len(path) for path in self._paths], dtype=np.int64))
        return arrays | self._numbers

    @classmethod
    def restored(cls, arrays: Mapping[str, Ints]) -> Self:
        """A table from its arrays, which may be mapped from a file."""
        return cls(
            Strings.restored(arrays, "texts"),
            _Paths(Strings.restored(arrays, "headings"), arrays["heading_offsets"]),
            {name: Strings.restored(arrays, name) for name in _SHARED},
            {name: arrays[name] for name in (*_NUMBERS, *_SHARED, "heading")},
        )


def _renumbered(values: Ints, table: Any, numbers: dict[Any, int]) -> Ints:
    # Numbers of one table's values as numbers of another's, which gets what it lacks.
    which, at = np.unique(values, return_inverse=True)
    new = [numbers.setdefault(table[value], len(numbers)) for value in which.tolist()]
    return np.array(new, dtype=np.int64)[at]


class _Paths(Sequence[tuple[str, ...]]):
    # Heading paths made when they are asked for.

    def __init__(self, headings: Strings, offsets: Ints) -> None:
        self._headings = headings
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, at: Any) -> Any:
        return tuple(self._headings[place] for place in range(self._offsets[at], self._offsets[at + 1]))
