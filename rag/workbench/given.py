"""A JSON file that somebody made, or filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rag.errors import FileError


def read_given(path: Path, *, most_bytes: int, kind: str, get: str, shape: str) -> Any:
    """
    What a JSON file holds.

    Args:
        path: of the file.
        most_bytes: a larger one is none of these.
        kind: what it should be, in words.
        get, shape: what to do where it cannot be read, and where it is no JSON; sentences.

    Raises:
        FileError: it cannot be read, is too large, or is no JSON; names the file.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise FileError(f"{path} has more than {most_bytes:,} bytes; it is no {kind}.")
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}). {get}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON in UTF-8 ({error}). {shape}") from error
