"""Zip files that may be bombs: their contents are counted before anything is unpacked, and while it is."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from typing import Any

from rag.errors import DocumentsError
from rag.readers.base import UNZIPPED_BYTES, ZIP_ENTRIES

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError)


class Zip:
    """
    A zip file within limits.

    What its directory says is a promise that Python's zipfile holds it to: it never unpacks an entry to more bytes
    than were announced. So the sum of what is announced bounds every reader that uses zipfile.

    Args:
        raw: the file.
        kind: what it should be, for messages: `a Word document`.

    Raises:
        DocumentsError: it is no zip file, is encrypted, or would unpack to more than the limits.
    """

    def __init__(self, raw: bytes, *, kind: str) -> None:
        self._kind = kind
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise DocumentsError(f"not {kind} inside: damaged, or another format under this name") from error
        entries = self._zip.infolist()
        if len(entries) > ZIP_ENTRIES:
            raise DocumentsError(f"{len(entries):,} files in it, the limit is {ZIP_ENTRIES:,}: split it")
        size = sum(entry.file_size for entry in entries)
        if size > UNZIPPED_BYTES:
            raise DocumentsError(f"{size:,} bytes when unpacked, the limit is {UNZIPPED_BYTES:,}: split it")
        if any(entry.flag_bits & 1 for entry in entries):
            raise DocumentsError("encrypted: save a copy without a password")
        self._left = UNZIPPED_BYTES

    @property
    def names(self) -> frozenset[str]:
        """The names of the entries."""
        return frozenset(self._zip.namelist())

    def require(self, folder: str) -> None:
        """Make sure that there are entries whose names begin so: without them this is another kind of file."""
        if not any(name.startswith(folder) for name in self.names):
            raise DocumentsError(f"not {self._kind} inside: damaged, or another format under this name")

    def read(self, name: str) -> bytes:
        """
        Unpack one entry.

        Raises:
            DocumentsError: it is missing or damaged, or all that was unpacked so far is over the limit.
        """
        if name not in self.names:
            raise DocumentsError(f"damaged: no {name} in it")
        try:
            with self._zip.open(name) as entry:
                content = entry.read(self._left + 1)
        except _DAMAGE as error:
            raise DocumentsError(f"damaged: {name} cannot be unpacked") from error
        self._left -= len(content)
        if self._left < 0:
            raise DocumentsError(f"over {UNZIPPED_BYTES:,} bytes when unpacked: split it")
        return content

    def refuse_entities(self, *, ending: str) -> None:
        """
        Make sure that no XML entry defines entities: office programs never do, bombs do.

        Raises:
            DocumentsError: one does.
        """
        for name in self.names:
            if name.endswith(ending) and b"<!ENTITY" in self.head(name):
                raise DocumentsError("XML entities in it, which no office program writes: save it again with one")

    def head(self, name: str) -> bytes:
        """The first bytes of an entry, where a document type stands."""
        try:
            with self._zip.open(name) as entry:
                return entry.read(65_536)
        except _DAMAGE as error:
            raise DocumentsError(f"damaged: {name} cannot be unpacked") from error


def parse_xml(raw: bytes) -> Any:
    """
    A small XML file as a tree of lxml. Entities stay unresolved, nothing is fetched.

    Raises:
        DocumentsError: it is not well-formed.
    """
    from lxml import etree

    try:
        return etree.fromstring(raw, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except etree.LxmlError as error:
        raise DocumentsError("damaged: a part of it is no XML") from error


def core_title(package: Zip) -> str:
    """The title in the properties of an office document; empty if there is none."""
    if "docProps/core.xml" not in package.names:
        return ""
    for element in parse_xml(package.read("docProps/core.xml")).iter("{http://purl.org/dc/elements/1.1/}title"):
        return str(element.text or "")
    return ""
