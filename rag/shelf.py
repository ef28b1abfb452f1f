"""One state of the document set: what is searched while a question is answered, whatever happens to the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rag.bm25 import Bm25Index, Hit, Meaning
from rag.catalogue import Change, Entry
from rag.chunking import Chunk, split
from rag.documents import Document, Skipped
from rag.index import Index
from rag.languages import language_of

#: How names of a conversation's own documents begin.
UPLOADED = "upload/"


@dataclass(frozen=True)
class Shelf:
    """
    One state of the document set; never changed, only replaced.

    Attributes:
        entries: every file, by name, in order of the names.
        index: over the chunks of those that are not left out.
        fault: why there are no documents, or why these are not the newest, in words; None if all is well.
        change: what differs from the state before.
        meaning: says how near chunks are in meaning to a question; None where only words are compared.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    index: Index = field(default_factory=Bm25Index)
    fault: str | None = None
    change: Change = field(default_factory=Change)
    meaning: Meaning | None = None

    @cached_property
    def documents(self) -> list[str]:
        """The names of the documents that answers can stand on, copies included."""
        return [name for name, entry in self.entries.items() if not entry.reason]

    @cached_property
    def skipped(self) -> tuple[Skipped, ...]:
        """The files left out, with their reasons."""
        return tuple(Skipped(name, entry.reason) for name, entry in self.entries.items() if entry.reason)

    @cached_property
    def copies(self) -> dict[str, tuple[str, ...]]:
        """The names of the other documents with the same text, by the name of the one that is indexed."""
        copies: dict[str, tuple[str, ...]] = {}
        for name, entry in self.entries.items():
            if entry.copy_of:
                copies[entry.copy_of] = (*copies.get(entry.copy_of, ()), name)
        return copies

    @property
    def summary(self) -> str:
        """How many files there are and what became of them, for a list's last line."""
        copies = sum(map(len, self.copies.values()))
        parts = [f"{_counted(len(self.documents), 'document')} in {_counted(len(self.index), 'chunk')}"]
        parts += [f"{copies} of them with the same text as another"] if copies else []
        parts += [f"{_counted(len(self.skipped), 'file')} left out"] if self.skipped else []
        return ", ".join(parts)

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find the chunks that best answer a question; see `Bm25Index.ranked`.

        A hit in a document of which there are copies names them all.
        """
        hits = self.index.ranked(query, k=k, meaning=self.meaning)
        return [replace(hit, also=also) if (also := self.copies.get(hit.chunk.document)) else hit for hit in hits]

    def think_of(self, question: str) -> None:
        """Make now what `search` will need of a question: 2 ms that other work need not wait for."""
        if self.meaning:
            self.meaning(question, ())

    def weight(self, word: str) -> float:
        """How much a word tells in these documents; see `Bm25Index.idf`."""
        return self.index.idf(word)

    def neighbours(self, chunk: Chunk) -> tuple[str, str]:
        """The texts of the chunks before and after one in its document; empty where there is none."""
        chunks = self._chunks_of(chunk.document)
        before = chunks[chunk.number - 1].text + "\n\n" if 0 < chunk.number <= len(chunks) else ""
        after = "\n\n" + chunks[chunk.number + 1].text if chunk.number + 1 < len(chunks) else ""
        return before, after

    def says(self, document: str, quote: str) -> bool:
        """Whether a document, or what is now known under its name, still has these words."""
        return any(quote in chunk.text for chunk in self._chunks_of(document))

    def _chunks_of(self, document: str) -> list[Chunk]:
        # None for what is gone or left out; those of the original for a copy.
        entry = self.entries.get(document)
        if entry is None or entry.reason:
            return []
        try:
            return self.index.document(entry.copy_of or document)
        except KeyError:  # gone from a server meanwhile
            return []

    def nearest(self, question: str, *, most: int = 3) -> list[str]:
        """
        The names of the documents that look most like a question that they do not answer.

        Words that no document has count as the ones that look most like them, which forgives typing errors. Where
        nothing looks alike, the first documents stand for all.
        """
        named = [hit.chunk.document for hit in self.index.guessed(question, k=10 * most)]
        return list(dict.fromkeys([*named, *self.documents[:most]]))[:most]

    def with_uploads(self, uploads: Sequence[Document], *, max_words: int, language: str | None = None) -> Shelf:
        """
        This state and a conversation's own documents, whose names begin with `upload/`.

        Args:
            uploads: the documents.
            max_words: the size of a chunk, in words.
            language: of all of them, an ISO 639-1 code; None: told by each one's text.
        """
        if not uploads:
            return self
        entries: dict[str, Entry] = {}
        chunks: dict[str, Sequence[Chunk]] = {}
        for upload in uploads:
            document = in_language(upload, language)
            found = split(document, max_words=max_words)
            title = title_of(document, (chunk.heading for chunk in found))
            reason = "" if found else "no text to search"
            entries[document.name] = Entry(
                document.name, chunks=len(found), title=title, language=document.language, reason=reason
            )
            chunks[document.name] = found
        return replace(self, entries={**self.entries, **entries}, index=self.index.updated(chunks))


def in_language(document: Document, language: str | None) -> Document:
    """A document with its language, told by its text where none is set."""
    return replace(document, language=language or language_of(document.text))


def title_of(document: Document, headings: Iterable[Sequence[str]]) -> str:
    """What a document is called: as it says itself, or by the first of its headings."""
    return document.title or next((path[0] for path in headings if path), "")


def caught_up(kept: Shelf, before: Shelf, now: Shelf) -> Shelf:
    """
    The newest shelf on a tidy index, at the price of what has changed since that index was begun.

    Args:
        kept: what `Ingest.kept` made of `before`.
        before: the shelf that was current when it began.
        now: the one that is current.
    """
    if now.index is before.index:
        return replace(now, index=kept.index)
    if not now.index.has_removed:  # it became one piece meanwhile
        return now
    old, new = _indexed(before), _indexed(now)
    changed = {name: now.index.document(name) for name, digest in new.items() if old.get(name) != digest}
    index = kept.index.updated(changed, [name for name in old if name not in new])
    if isinstance(index, Bm25Index):
        index.prepare()
    return replace(now, index=index)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _indexed(shelf: Shelf) -> dict[str, str]:
    # The digest of each document that has chunks in the index.
    return {name: entry.digest for name, entry in shelf.entries.items() if entry.indexed}
