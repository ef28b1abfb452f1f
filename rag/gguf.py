"""The model files that can be downloaded: which there are, and what they need."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.errors import DownloadError

Role = Literal["slm", "llm"]
ROLES: tuple[Role, ...] = ("slm", "llm")

#: What llama.cpp computes in, and its process, beside the file and the context, in bytes: a rounded-up guess.
MARGIN_BYTES = 500_000_000


@dataclass(frozen=True)
class Gguf:
    """
    A model file on the hub.

    Attributes:
        name: what it is called on the command line.
        role: what it suits best.
        repo, file: where it lies on the hub.
        bytes: about how large the file is; how large exactly, the hub says.
        context_bytes_per_token: the memory for one token of the context: two vectors for each layer and each head
            that stores them, two bytes a number. Of the model's own published configuration.
        licence: its name as on the hub.
        about: whom it suits, in a few words.
    """

    name: str
    role: Role
    repo: str
    file: str
    bytes: int
    context_bytes_per_token: int
    licence: str
    about: str

    def memory_bytes(self, *, context_tokens: int, file_bytes: int | None = None) -> int:
        """
        About how much memory it needs when it runs: the file, the context and a margin.

        Args:
            context_tokens: how many tokens of context are reserved.
            file_bytes: how large the file really is, if that is known.
        """
        return (file_bytes or self.bytes) + context_tokens * self.context_bytes_per_token + MARGIN_BYTES


def _read(path: Path) -> tuple[Gguf, ...]:
    return tuple(Gguf(**one) for one in json.loads(path.read_text(encoding="utf-8")))


LISTED = _read(Path(__file__).with_suffix(".json"))


def find(name: str, listed: Sequence[Gguf] = LISTED) -> Gguf:
    """
    The model of this name.

    Raises:
        DownloadError: there is none; it names the nearest, or all.

    >>> find("GPT-OSS-20b").file
    'gpt-oss-20b-mxfp4.gguf'
    """
    for one in listed:
        if one.name.casefold() == name.casefold():
            return one
    near = difflib.get_close_matches(name.casefold(), [one.name for one in listed], n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(one.name for one in listed)}."
    raise DownloadError(f"No model {name!r} can be downloaded. {hint}")
