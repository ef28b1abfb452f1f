"""A chunk as a point of a collection and back: its id, its words as a sparse vector, and the whole of it as payload."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, fields
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from rag import okapi
from rag.chunking import Chunk

_IDS = uuid.UUID("6f7bd7d8-3c1c-5a0e-9e0a-52a5d4a3c9b1")  # of ours alone; a new one makes every point another
_FIELDS = [field.name for field in fields(Chunk)]
# What is in the payload of a point of ours, as JSON has it; a stamp looks like nobody else's.
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "document": (str,),
    "number": (int,),
    "heading": (list,),
    "start": (int,),
    "end": (int,),
    "page": (int, type(None)),
    "markdown": (bool,),
    "opening": (str,),
    "language": (str,),
    "stamp": (str,),
}
_STAMP = re.compile(r"[0-9a-f]{24}-[1-9][0-9]*")

# Names, numbers and scripts of all kinds: whatever changes what becomes of words changes what becomes of these.
_PROBE = "The runners' RAG_DOCS_DIR holds 1,024.5 Häuser and rag/library.py; streamToken, C++, 東京タワー, नेपाली भाषा."


@lru_cache(maxsize=1)
@lru_cache(maxsize=200_000)
def dimension(word: str) -> int:
    """
    The dimension of a word in the sparse vectors: its CRC-32, the same on every machine.

    Words of the same length that differ within four bytes in a row never share one; of other pairs, one in four
    thousand million does. Such words count as one in the scores of the server, and `QdrantIndex` drops what only
    looks like a match.

    >>> dimension("router")
    1171452453
    """
    return crc32(word.encode("utf-8", "surrogatepass"))


def weights(terms: Sequence[str], average: float) -> dict[int, float]:
    """
    What each word of a chunk adds to its score for a unit of the word's idf, by dimension.

    Args:
        terms: the chunk's words, as `rag.part.terms` makes them.
        average: how many words a chunk of the collection is taken to have on average; above 0.
    """
    counted = Counter(map(dimension, terms))
    gained = okapi.impacts(np.array([*counted.values()], dtype=np.float64), np.array([len(terms)]), average)
    return dict(zip(counted, gained.tolist(), strict=True))


def point_id(document: str, number: int) -> str:
    """The id of a chunk's point: the same for the same place, so that writing it twice is writing it once."""
    return str(uuid.uuid5(_IDS, f"{number} {document}"))


def payload_of(chunk: Chunk, stamp: str) -> dict[str, Any]:
    """All of a chunk, for JSON, and the stamp of its document. Half of a surrogate pair, which JSON has not, is `�`."""
    return {name: _for_json(value) for name, value in zip(_FIELDS, astuple(chunk), strict=True)} | {"stamp": stamp}


def is_ours(payload: Mapping[str, Any], names: Collection[str] = tuple(_KINDS)) -> bool:
    """Whether these fields of a payload are what `payload_of` makes; nobody else's points look like it by chance."""
    return (
        all(type(payload.get(name)) in _KINDS[name] for name in names)
        and _STAMP.fullmatch(payload["stamp"]) is not None
        and all(isinstance(part, str) for part in payload["heading"])
    )


def chunk_of(payload: Mapping[str, Any]) -> Chunk | None:
    """The chunk of a payload; None if the point is not one of ours."""
    if not is_ours(payload):
        return None
    values: dict[str, Any] = {name: payload.get(name) for name in _FIELDS}
    return Chunk(**values | {"heading": tuple(payload["heading"])})


def stamp_of(name: str, source: bytes, chunks: int) -> str:
    """
    What all points of a document have in common: they are all there if as many have it as it says at its end.

    Args:
        name: the document's.
        source: what the document was made of and by.
        chunks: how many chunks it has.
    """
    return f"{stamp_start(name, source)}-{chunks}"


def stamp_start(name: str, source: bytes) -> str:
    """The part of a stamp that is known before the chunks are."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass") + b"\0" + source, digest_size=12).hexdigest()


def source_of(chunks: Sequence[Chunk]) -> bytes:
    """A digest of chunks, for documents of which nothing else is known."""
    return hashlib.blake2b(repr(list(map(astuple, chunks))).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def whole_stamps(counts: Mapping[str, int]) -> set[str]:
    """Of stamps and how many points have each, those of documents that are all there."""
    return {stamp for stamp, count in counts.items() if stamp.rpartition("-")[2] == str(count)}


def _for_json(value: Any) -> Any:
    if isinstance(value, str):
        # U+FFFD takes the place of one character, so that positions in the text stay true.
        return value if value.isascii() else "".join("�" if "\ud800" <= one <= "\udfff" else one for one in value)
    if isinstance(value, Collection):
        return [_for_json(one) for one in value]
    return value
