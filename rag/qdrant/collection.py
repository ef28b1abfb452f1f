"""A collection of chunks on a Qdrant server: made and checked, written and read, always by its own rules."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Some
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rag.chunking import Chunk
from rag.errors import SearchError
from rag.part import rules, terms
from rag.qdrant.points import chunk_of, dimension, is_ours, payload_of, point_id, weights, whole_stamps
from rag.qdrant.server import Server

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

T = TypeVar("T")

VECTOR = "bm25"
# Every field that is filtered or counted by has an index: some servers refuse to look without one.
_INDEXED = {"document": "keyword", "stamp": "keyword", "language": "keyword", "number": "integer"}
# A request has so many points at most, and about so many characters.
_BATCH, _BATCH_CHARS = 256, 2_000_000
_PAGE = 1_000
# Writing goes on through a server's restart: about half a minute.
_PATIENCE = 8
_FIRST = ("document", "stamp", "heading", "language")


@dataclass(frozen=True)
class About:
    """
    By what rules a collection was made; it is kept in the collection's metadata and never changes.

    Attributes:
        average: how many words a chunk is taken to have on average; it is in the weights of all chunks.
        chunk_words: `RAG_CHUNK_WORDS` at the time.
        words: the rules by which texts become words, as a fingerprint.
    """

    average: float
    chunk_words: int
    words: str = ""


@dataclass(frozen=True)
class Match:
    """A chunk that was found, and its score."""

    chunk: Chunk
    score: float

    @cached_property
    def terms(self) -> list[str]:
        """The words by which the chunk is found."""
        return terms(self.chunk)


class Collection:
    """
    A collection that was opened or made.

    Points that others put there are refused when it is opened or made. Those that come later are never hits, chunks
    or documents, though they count in the server's statistics.

    Attributes:
        server: where it is; whoever opened it closes it.
        name: of the collection.
        about: by what rules it was made.
    """

    def __init__(self, server: Server, name: str, about: About) -> None:
        self.server = server
        self.name = name
        self.about = about

    @classmethod
    def opened(cls, server: Server, name: str, *, chunk_words: int) -> Self:
        """
        A collection that is there.

        Raises:
            SearchError: there is no server, no such collection, one that was made by other rules, or one in which
                somebody else keeps points.
        """
        server.check()
        collection = cls._found(server, name, _info(server, name), chunk_words)
        collection._refuse_others()
        return collection

    @classmethod
    def _found(cls, server: Server, name: str, info: models.CollectionInfo | None, chunk_words: int) -> Self:
        if info is None:
            raise SearchError(
                f"Qdrant at {server.url} has no collection {name}. Fill it with python -m rag load, "
                "or set RAG_QDRANT_COLLECTION."
            )
        return cls(server, name, _about(info, server, name, chunk_words))

    @classmethod
    def made(cls, server: Server, name: str, *, chunk_words: int, average: Callable[[], float]) -> Self:
        """
        The collection of this name, made in one shard if it is not there.

        An empty collection with our vector, which somebody made to have shards and replicas as he likes, is taken
        over as it is.

        Raises:
            SearchError: there is no server, or a collection of this name that is not ours.
        """
        server.check()
        info = _info(server, name, tries=_PATIENCE)
        if info is None or _is_blank(info):
            cls._prepare(server, name, info, About(average(), chunk_words, rules()))
            info = _info(server, name, tries=_PATIENCE)
        collection = cls._found(server, name, info, chunk_words)
        for field in _INDEXED:  # whoever made it may have been stopped before he came to this
            collection._count_by(field)
        collection._refuse_others()
        return collection

    @staticmethod
    def _prepare(server: Server, name: str, info: models.CollectionInfo | None, about: About) -> None:
        from qdrant_client import models

        metadata = {"grounded": asdict(about)}
        if info is None:
            # Each shard scores by its own statistics: one is right until it is too large for a machine.
            vectors = {VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)}
            try:
                server.ask(
                    lambda client: client.create_collection(
                        name, vectors_config={}, sparse_vectors_config=vectors, shard_number=1, metadata=metadata
                    ),
                    tries=_PATIENCE,
                )
            except SearchError:
                # Unless another program was quicker, or our first try did arrive.
                if _info(server, name, tries=_PATIENCE) is None:
                    raise
        else:
            server.ask(lambda client: client.update_collection(name, metadata=metadata))

    def _ask(self, request: Callable[[QdrantClient], T], *, tries: int = 2) -> T:
        try:
            return self.server.ask(request, tries=tries)
        except SearchError as error:
            if getattr(error.__cause__, "status_code", None) == 404:
                raise self._gone() from error
            raise

    def _gone(self) -> SearchError:
        return SearchError(
            f"Collection {self.name} at {self.server.url} is gone. Fill it again with python -m rag load."
        )

    def _refuse_others(self) -> None:
        from qdrant_client import models

        unstamped = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="stamp"))])
        count = self._ask(lambda client: client.count(self.name, unstamped, exact=True)).count
        if count:
            raise SearchError(
                f"Collection {self.name} at {self.server.url} has points of somebody else ({count:,}). Set "
                "RAG_QDRANT_COLLECTION to another name and run python -m rag load, or delete them."
            )

    def write(self, documents: Mapping[str, tuple[str, Sequence[Chunk]]]) -> None:
        """
        Put documents there in place of what has their names; done when it returns.

        While it is under way, a search may find the new chunks of a document beside the old ones. Writing the same
        again changes nothing.

        Args:
            documents: the stamp and the chunks of each, by name; without chunks, the document goes.

        Raises:
            SearchError: the server failed, also when asked again, or another program is writing other versions of
                these documents. Documents may then be there in part; writing them again mends that.
        """
        written = {stamp for stamp, chunks in documents.values() if chunks}
        for _ in range(2):
            for batch in self._batches(documents):
                self._upsert(batch)
            self.tidy(documents, written)
            if written <= whole_stamps(self.stamps(documents)):
                return
        raise SearchError(
            f"Another program is writing other versions of {next(iter(documents))} to collection {self.name} "
            f"at {self.server.url}. Stop it and load again."
        )

    def _count_by(self, field: str) -> None:
        from qdrant_client import models

        kind = models.PayloadSchemaType(_INDEXED[field])
        self._ask(lambda client: client.create_payload_index(self.name, field, kind, wait=True), tries=_PATIENCE)

    def _upsert(self, points: list[models.PointStruct]) -> None:
        self._ask(lambda client: client.upsert(self.name, points, wait=True), tries=_PATIENCE)

    def _delete(self, some: models.Filter) -> None:
        self._ask(lambda client: client.delete(self.name, some, wait=True), tries=_PATIENCE)

    def _batches(self, documents: Mapping[str, tuple[str, Sequence[Chunk]]]) -> Iterator[list[models.PointStruct]]:
        batch: list[models.PointStruct] = []
        size = 0
        for stamp, chunks in documents.values():
            for chunk in chunks:
                if batch and (len(batch) == _BATCH or size + len(chunk.text) > _BATCH_CHARS):
                    yield batch
                    batch, size = [], 0
                batch.append(self._point(chunk, stamp))
                size += len(chunk.text)
        if batch:
            yield batch

    def _point(self, chunk: Chunk, stamp: str) -> models.PointStruct:
        from qdrant_client import models

        gained = weights(terms(chunk), self.about.average)
        vector = models.SparseVector(indices=[*gained], values=[*gained.values()])
        return models.PointStruct(
            id=point_id(chunk.document, chunk.number),
            vector={VECTOR: vector} if gained else {},
            payload=payload_of(chunk, stamp),
        )

    def remove(self, names: Some[str]) -> None:
        """Delete documents; done when it returns. Names that are not there are ignored."""
        from qdrant_client import models

        ordered = sorted(names)
        for at in range(0, len(ordered), _PAGE):
            self._delete(models.Filter(must=[_any("document", ordered[at : at + _PAGE])]))

    def tidy(self, names: Some[str], stamps: Some[str]) -> None:
        """Delete what is there of some documents and does not have one of these stamps: leftovers of old versions."""
        from qdrant_client import models

        self._delete(models.Filter(must=[_any("document", names)], must_not=[_any("stamp", stamps)]))

    def stamps(self, names: Some[str]) -> dict[str, int]:
        """The stamps that points of some documents have, and how many points have each; see `whole_stamps`."""
        condition = _any("document", names) if names else None
        return self._counts("stamp", condition, 4 * len(names) + 100, tries=_PATIENCE) if condition else {}

    def languages(self) -> list[str]:
        """The languages of the documents."""
        return sorted(self._counts("language", None, _PAGE, tries=2))

    def count(self) -> int:
        """How many chunks there are."""
        return self._ask(lambda client: client.count(self.name, exact=True)).count

    def _counts(self, field: str, condition: models.FieldCondition | None, limit: int, *, tries: int) -> dict[str, int]:
        from qdrant_client import models

        some = models.Filter(must=[condition]) if condition else None
        answer = self._ask(
            lambda client: client.facet(self.name, field, facet_filter=some, limit=limit, exact=True), tries=tries
        )
        return {str(hit.value): hit.count for hit in answer.hits}

    def matching(
        self, asked: Mapping[str, int], *, limit: int, hidden: Some[str] = (), unknown: Sequence[str] = ()
    ) -> tuple[list[Match], dict[str, float]]:
        """
        The chunks that have words of a question, best first, and what words tell, in one request.

        What a word tells is learnt by asking for the word alone: the score of its best chunk is its idf times the
        weight in that chunk. This is the very idf that the server ranks by, and needs nothing kept beside the index.

        Args:
            asked: the question's words, each with how often it is there.
            limit: the most chunks; 0: none are asked for.
            hidden: names of documents to leave out.
            unknown: words of which the idf is wanted.

        Returns:
            Matches, and idf by word: ln((N + 1) / (n + 0.5)) for a word that n of N chunks have; infinite for a word
            that none has.
        """
        from qdrant_client import models

        requests: list[models.QueryRequest] = []
        if asked and limit:
            query: dict[int, float] = {}
            for word, count in asked.items():
                query[dimension(word)] = query.get(dimension(word), 0) + count
            requests.append(
                models.QueryRequest(
                    query=models.SparseVector(indices=[*query], values=[*query.values()]),
                    using=VECTOR,
                    limit=limit,
                    filter=models.Filter(must_not=[_any("document", hidden)]) if hidden else None,
                    with_payload=True,
                )
            )
        requests += [
            models.QueryRequest(
                query=models.SparseVector(indices=[dimension(word)], values=[1.0]),
                using=VECTOR,
                limit=1,
                with_vector=[VECTOR],
            )
            for word in unknown
        ]
        if not requests:
            return [], {}
        answers = self._ask(lambda client: client.query_batch_points(self.name, requests))
        found = answers.pop(0).points if len(requests) > len(unknown) else []
        matches = [Match(chunk, point.score) for point in found if (chunk := chunk_of(point.payload or {}))]
        told = {word: _told(answer.points, word) for word, answer in zip(unknown, answers, strict=True)}
        return matches, told

    def document(self, name: str) -> list[Chunk]:
        """The chunks of a document, in order; none if it is not there."""
        from qdrant_client import models

        some = models.Filter(must=[models.FieldCondition(key="document", match=models.MatchValue(value=name))])
        chunks = [chunk for payload in self._payloads(some) if (chunk := chunk_of(payload))]
        return sorted(chunks, key=lambda chunk: chunk.number)

    def firsts(self) -> Iterator[dict[str, Any]]:
        """Of every document, in no order: its `document`, `stamp`, `heading` and `language`."""
        from qdrant_client import models

        some = models.Filter(must=[models.FieldCondition(key="number", match=models.MatchValue(value=0))])
        return (first for first in self._payloads(some, [*_FIRST]) if is_ours(first, _FIRST))

    def sample(self, size: int) -> list[Chunk]:
        """Some chunks, as if drawn at random: those with the lowest ids, and ids are hashes."""
        points, _ = self._ask(
            lambda client: client.scroll(self.name, limit=size, with_payload=True, with_vectors=False)
        )
        return [chunk for point in points if (chunk := chunk_of(point.payload or {}))]

    def _payloads(self, some: models.Filter, wanted: list[str] | bool = True) -> Iterator[dict[str, Any]]:
        offset: Any = None
        while True:
            points, offset = self._page(some, wanted, offset)
            for point in points:
                yield point.payload or {}
            if offset is None:
                return

    def _page(
        self, some: models.Filter, wanted: list[str] | bool, offset: Any
    ) -> tuple[list[models.Record], models.ExtendedPointId | None]:
        return self._ask(
            lambda client: client.scroll(
                self.name, some, limit=_PAGE, offset=offset, with_payload=wanted, with_vectors=False
            )
        )

    def state(self) -> str:
        """A text that is another one after a load."""
        info = _info(self.server, self.name)
        if info is None:
            raise self._gone()
        return f"{(info.config.metadata or {}).get('loaded', '')} {info.points_count}"

    def mark(self) -> None:
        """Tell everybody who looks at `state` that something has changed."""
        metadata = {"loaded": uuid.uuid4().hex}
        self._ask(lambda client: client.update_collection(self.name, metadata=metadata), tries=_PATIENCE)

    def deleted(self) -> None:
        """Delete the whole collection."""
        self._ask(lambda client: client.delete_collection(self.name))


def _told(points: Sequence[models.ScoredPoint], word: str) -> float:
    if not points:
        return math.inf
    vectors: Any = points[0].vector
    vector = vectors[VECTOR]
    weight = float(dict(zip(vector.indices, vector.values, strict=True))[dimension(word)])
    return points[0].score / weight if weight > 0 else math.inf  # ours are above 0


def _any(field: str, values: Some[str]) -> models.FieldCondition:
    from qdrant_client import models

    return models.FieldCondition(key=field, match=models.MatchAny(any=sorted(values)))


def _info(server: Server, name: str, *, tries: int = 2) -> models.CollectionInfo | None:
    if not server.ask(lambda client: client.collection_exists(name), tries=tries):
        return None
    return server.ask(lambda client: client.get_collection(name), tries=tries)


def _is_blank(info: models.CollectionInfo) -> bool:
    return _fits(info) and not info.points_count and not (info.config.metadata or {}).get("grounded")


def _fits(info: models.CollectionInfo) -> bool:
    vector = (info.config.params.sparse_vectors or {}).get(VECTOR)
    return vector is not None and vector.modifier == "idf"


def _about(info: models.CollectionInfo, server: Server, name: str, chunk_words: int) -> About:
    where = f"Collection {name} at {server.url}"
    kept: Any = (info.config.metadata or {}).get("grounded")
    try:
        about = About(**{field.name: kept[field.name] for field in fields(About)})
    except (KeyError, TypeError):
        about = None
    if about is None or not _fits(info):
        raise SearchError(
            f"{where} is not one of ours. Set RAG_QDRANT_COLLECTION to another name and run python -m rag load."
        )
    if about.words != rules():
        raise SearchError(
            f"{where} was loaded with other rules for words, by another version of this program. Set "
            "RAG_QDRANT_COLLECTION to a new name and run python -m rag load."
        )
    if about.chunk_words != chunk_words:
        raise SearchError(
            f"{where} was loaded with RAG_CHUNK_WORDS={about.chunk_words}, which is now {chunk_words}. Put it back, "
            "or set RAG_QDRANT_COLLECTION to a new name and run python -m rag load."
        )
    return about
