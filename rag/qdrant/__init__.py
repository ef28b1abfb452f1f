"""The search past one machine: BM25 on a Qdrant server, with the words and the contract of `rag.bm25`."""

from rag.qdrant.collection import About, Collection
from rag.qdrant.follow import Followed
from rag.qdrant.index import QdrantIndex
from rag.qdrant.load import Progress, load
from rag.qdrant.server import Server

__all__ = ["About", "Collection", "Followed", "Progress", "QdrantIndex", "Server", "load"]
