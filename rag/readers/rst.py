"""reStructuredText (.rst): docutils makes HTML of it, and may neither include other files nor pass on raw HTML."""

from __future__ import annotations

import re
from typing import Any

from rag.readers.base import Extract
from rag.readers.encodings import decode
from rag.readers.web import from_html

_SETTINGS: dict[str, Any] = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "embed_stylesheet": False,
    "stylesheet_path": None,
    "stylesheet_dirs": [],
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "initial_header_level": 1,
    "doctitle_xform": False,
    "smart_quotes": False,
    "line_length_limit": 1_000_000,
}
# Sphinx's own, which docutils does not know: the text in them is what a reader sees.
_ROLES = (
    "ref doc term class func meth mod attr exc data const obj option envvar file command program guilabel kbd "
    "menuselection download numref any samp py:class py:func py:meth py:mod py:attr py:exc py:data py:obj c:func"
).split()
_TARGET = re.compile(r"\s*<[^<>]*>$|^[~!]")  # `shown <target>`, `~module.shown`
_ADMONITIONS = "versionadded versionchanged deprecated seealso".split()


def read(raw: bytes) -> Extract:
    """A text in reStructuredText; one that is beyond docutils is read as plain text."""
    from docutils import nodes
    from docutils.core import publish_parts
    from docutils.parsers.rst import directives, roles
    from docutils.parsers.rst.directives.admonitions import Note

    def role(
        name: str, raw_text: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = None
    ) -> tuple[list[Any], list[Any]]:
        return [nodes.literal(raw_text, _TARGET.sub("", text))], []

    for name in _ROLES:
        roles.register_local_role(name, role)
    for name in _ADMONITIONS:
        directives.register_directive(name, Note)
    text = decode(raw)
    try:
        parts = publish_parts(text, writer="html5", settings_overrides=_SETTINGS)
    except MemoryError:
        raise
    except Exception:  # docutils raises its own SystemMessage, and others for odd input
        return Extract(text)
    page = from_html(parts["html_body"])
    return Extract(page.text, page.markdown, title=_first_heading(page.text))


def _first_heading(text: str) -> str:
    first = text.partition("\n")[0]
    return re.sub(r"\\(.)", r"\1", first.removeprefix("# ")) if first.startswith("# ") else ""
