"""E-books (.epub): a zip of XHTML chapters and the order in which they are read."""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from rag.errors import DocumentsError
from rag.readers.base import Extract
from rag.readers.encodings import decode_declared
from rag.readers.markdown import Markdown
from rag.readers.web import from_html
from rag.readers.zipped import Zip, parse_xml

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def read(raw: bytes) -> Extract:
    """A book, chapter after chapter."""
    book = Zip(raw, kind="an e-book")
    package_name = _first(parse_xml(book.read(_CONTAINER)), "rootfile", "full-path")
    package = parse_xml(book.read(package_name))
    hidden = _encrypted(book)
    folder = posixpath.dirname(package_name)
    places = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
        for item in _all(package, "item")
        if "nav" not in (item.get("properties") or "").split()
    }
    text = Markdown()
    for reference in _all(package, "itemref"):
        name = places.get(reference.get("idref"))
        if name is None or name not in book.names:
            continue
        if name in hidden:
            raise DocumentsError("encrypted: its shop has locked it, save a copy without the lock")
        from_html(decode_declared(book.read(name)), into=text)
    titles = _all(package, "title")
    return text.extract(title="".join(titles[0].itertext()) if titles else "")


def _encrypted(book: Zip) -> set[str]:
    if _ENCRYPTION not in book.names:
        return set()
    return {unquote(one.get("URI") or "") for one in _all(parse_xml(book.read(_ENCRYPTION)), "CipherReference")}


def _all(tree: Any, name: str) -> list[Any]:
    return list(tree.iter(f"{{*}}{name}"))


def _first(tree: Any, name: str, attribute: str) -> str:
    for element in _all(tree, name):
        value = element.get(attribute)
        if value:
            return str(value)
    raise DocumentsError(f"damaged: no {name} in it")
