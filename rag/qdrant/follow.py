"""The documents of a collection as shelves: takes the place of `Ingest` where the search is on a server."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import SecretStr

from rag.catalogue import Change, Entry
from rag.qdrant.collection import Collection as Chunks
from rag.qdrant.index import QdrantIndex
from rag.qdrant.server import Server
from rag.shelf import Shelf


class Followed:
    """
    Makes shelves of what a collection has; reads no folder and writes nothing. Call it in a thread.

    The server is first asked at the first `updated`, so that one that is not there yet is a fault, and mended when
    it comes.

    Args:
        url: of the server.
        name: of the collection.
        chunk_words: the size of a chunk, in words, which must be that of the collection.
        api_key: the server's key, if it asks for one.

    Attributes:
        folders, progress, look_s: as of an `Ingest` that has nothing to read.
    """

    folders: tuple[str, ...] = ()
    progress = (0, 0)
    look_s = 0.0

    def __init__(self, url: str, name: str, *, chunk_words: int, api_key: SecretStr | None = None) -> None:
        self._url, self._name = url, name
        self._chunk_words = chunk_words
        self._api_key = api_key
        self._server: Server | None = None
        self._seen: Chunks | None = None
        self._state = ""

    def stop(self) -> None:
        """Nothing: a look at the server is short."""

    def close(self) -> None:
        """Close the connections to the server."""
        if self._server is not None:
            self._server.close()

    def restored(self) -> Shelf:
        """An empty shelf: the documents are kept on the server."""
        return Shelf()

    def kept(self, shelf: Shelf) -> Shelf:
        """The same shelf, for the same reason."""
        return shelf

    def updated(self, shelf: Shelf, touched: Collection[Path] | None = None, *, patience: float | None = None) -> Shelf:
        """
        The shelf as the collection is now; the same object if nothing changed.

        Raises:
            SearchError: the server gave no answer, or the collection is not there, was made by other rules, or has
                points of somebody else.
        """
        if self._server is None:
            self._server = Server(self._url, api_key=self._api_key)
        if self._seen is not None and self._seen.state() == self._state and not shelf.fault:
            return shelf
        # Opened anew: it may have been deleted and made again, by other rules or with another average.
        seen = Chunks.opened(self._server, self._name, chunk_words=self._chunk_words)
        state, index = seen.state(), QdrantIndex(seen)
        index.learn()  # a page that only counts must not wait for the server
        entries = dict(sorted((entry.name, entry) for entry in _entries(seen)))
        self._seen, self._state = seen, state
        fault = None if entries else f"Collection {self._name} is empty. Fill it with python -m rag load."
        return Shelf(entries, index, fault, Change.between(shelf.entries, entries))


def _entries(seen: Chunks) -> Iterator[Entry]:
    for first in seen.firsts():
        stamp, heading = first["stamp"], first["heading"]
        yield Entry(
            first["document"],
            digest=stamp,
            chunks=int(stamp.rpartition("-")[2]),
            title=heading[0] if heading else "",
            language=first["language"],
        )
