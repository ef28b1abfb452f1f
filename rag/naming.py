"""Which of the long names that servers give to models mean the model that somebody asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a longer name may not add: with one of these it is another model. 'phi-4-mini' is no 'phi-4'.
_OTHER = frozenset(
    """
    audio base code coder distill distilled draft embed embedding flash guard large lite math max medium micro mini moe
    multimodal nano plus pro reasoning rerank reranker safeguard small thinking tiny turbo vision vl
    """.split()
)


def means(alias: str, name: str) -> bool:
    """
    Whether a server's name for a model begins with an alias and adds nothing that makes it another model.

    >>> means("phi-4-mini", "microsoft/Phi-4-mini-instruct-generic-cpu:5"), means("phi-4", "phi-4-mini")
    (True, False)
    """
    short, long = _plain(alias), _plain(name)
    if not short or not long.startswith(short):
        return False
    rest = long[len(short) :]
    return not rest or (not rest[0].isalnum() and not _OTHER & set(_words(rest)))


def may_mean(alias: str, name: str) -> bool:
    """
    Whether a name has all words of an alias in their order, and is perhaps that model.

    >>> may_mean("deepseek-r1-7b", "deepseek-r1-distill-qwen-7b-generic-cpu:3"), may_mean("phi-4", "phi-3.5")
    (True, False)
    """
    words = iter(_words(_plain(name)))
    wanted = _words(_plain(alias))
    return bool(wanted) and all(word in words for word in wanted)


def is_exactly(alias: str, name: str) -> bool:
    """
    Whether a name is an alias, but for case, its maker and its version.

    >>> is_exactly("phi-4-mini-cpu", "Phi-4-mini-cpu:5"), is_exactly("phi-4-mini", "Phi-4-mini-cpu:5")
    (True, False)
    """
    return bool(_plain(alias)) and _plain(name) in (_plain(alias), f"{_plain(alias)}:{_plain(name).rpartition(':')[2]}")


def closest(alias: str, names: Sequence[str]) -> str | None:
    """
    The name that means an alias, if one does: the same, else one for instructions, else the shortest.

    >>> closest("phi-4-mini", ["Phi-4-mini-reasoning", "Phi-4-mini-instruct-gpu:1", "Phi-4-mini-instruct-cpu:1"])
    'Phi-4-mini-instruct-gpu:1'
    """
    if alias in names:
        return alias
    fitting = [name for name in names if is_exactly(alias, name)] or [name for name in names if means(alias, name)]
    return min(fitting, key=lambda name: ("instruct" not in name.casefold(), len(name))) if fitting else None


def _plain(name: str) -> str:
    return name.strip().casefold().rsplit("/", 1)[-1]


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9.]+", name)
