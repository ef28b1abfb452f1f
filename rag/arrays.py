"""Arrays and strings in files: written whole, mapped into memory, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_MAGIC = b"GRNDARR1"
_ALIGN = 64
_PAGE = 4096
_INDEX = "index.json"


class BrokenFile(ValueError):
    """A saved file is not what was written: cut short, changed, or of another version."""


@dataclass(frozen=True)
class Strings:
    """
    Many strings as one UTF-8 text and the places where they begin; each is made when it is asked for.

    Attributes:
        blob: the bytes, (n_bytes,).
        offsets: (n_strings + 1,).
    """

    blob: Array
    offsets: Array

    @classmethod
    def of(cls, strings: Iterable[str]) -> Self:
        """Some strings; half of a surrogate pair, which a file name may have, survives."""
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, at: int) -> str:
        return str(self.blob[self.offsets[at] : self.offsets[at + 1]].tobytes(), "utf-8", "surrogatepass")

    def all(self) -> list[str]:
        """Every string."""
        whole, offsets = self.blob.tobytes(), self.offsets.tolist()
        if whole.isascii():
            text = whole.decode("ascii")
            return [text[start:end] for start, end in pairwise(offsets)]
        return [str(whole[start:end], "utf-8", "surrogatepass") for start, end in pairwise(offsets)]

    def arrays(self, name: str) -> dict[str, Array]:
        """What `restored` needs."""
        return {f"{name}.blob": self.blob, f"{name}.offsets": self.offsets}

    @classmethod
    def restored(cls, arrays: Mapping[str, Array], name: str) -> Self:
        """The strings saved under a name."""
        return cls(arrays[f"{name}.blob"], arrays[f"{name}.offsets"])


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> str:
    """Write arrays into a new file, down to the disk, and say its digest, which `read_arrays` asks for."""
    entries: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        entries[name] = [array.dtype.newbyteorder("<").str, list(array.shape), at]
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    header = json.dumps(entries).encode()
    start = -(-(len(_MAGIC) + 8 + len(header)) // _ALIGN) * _ALIGN
    with open(path, "wb") as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for name, array in arrays.items():
            file.seek(start + entries[name][2])
            np.ascontiguousarray(array, dtype=entries[name][0]).tofile(file)
        # Written, not left out: on a full disk a hole kills whoever looks into it.
        file.write(bytes(-(-(start + at) // _PAGE) * _PAGE - file.tell()))
        file.flush()
        os.fsync(file.fileno())
    return _digest(_mapped(path))


def read_arrays(path: Path, digest: str) -> dict[str, Array]:
    """
    The arrays of a file, mapped into memory and read-only.

    Raises:
        BrokenFile: the file is missing or is not what was written.
    """
    try:
        whole = _mapped(path)
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{path} cannot be read: {error}") from error
    if _digest(whole) != digest:
        raise BrokenFile(f"{path} is not what was written: its checksum differs")
    if whole[: len(_MAGIC)].tobytes() != _MAGIC:
        raise BrokenFile(f"{path} is not a file of arrays")
    length = int.from_bytes(whole[8:16].tobytes(), "little")
    entries = json.loads(whole[16 : 16 + length].tobytes())
    start = -(-(16 + length) // _ALIGN) * _ALIGN
    arrays = {}
    for name, (kind, shape, at) in entries.items():
        dtype = np.dtype(kind)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        arrays[name] = whole[start + at : start + at + size].view(dtype).reshape(shape)
    return arrays


def _mapped(path: Path) -> Array:
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)


def _digest(whole: Array) -> str:
    # A sum for each page, at the speed of memory, and a cryptographic hash of the sums.
    if len(whole) % _PAGE:
        return ""
    sums = whole.view("<u8").reshape(-1, _PAGE // 8).sum(axis=1, dtype=np.uint64)
    return hashlib.blake2b(sums.astype("<u8").tobytes(), digest_size=16).hexdigest()


def write_folder(
    folder: Path, body: Mapping[str, Any], files: Mapping[str, str | Mapping[str, Array]]
) -> dict[str, str]:
    """
    Save arrays and a JSON text beside them; a crash at any moment leaves what was there before, or this.

    Files are named by what is in them, and the text, which names the files, is replaced in one step. One process
    may write at a time; others may read meanwhile.

    Args:
        folder: made if it is not there.
        body: the text.
        files: arrays for each file, or the name that this function gave to a file that is still there.

    Returns:
        The name of each file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for role, content in files.items():
        if isinstance(content, str):
            names[role] = content
            continue
        temporary = folder / f"{role}.tmp"
        names[role] = f"{role}-{write_arrays(temporary, content)}.bin"
        if (folder / names[role]).exists():
            temporary.unlink()  # the same content; it may be mapped, which forbids to replace it on Windows
        else:
            os.replace(temporary, folder / names[role])
    text = _in_json({"files": names, "body": body})
    with open(folder / "index.tmp", "w", encoding="utf-8") as file:
        file.write(f"{hashlib.blake2b(text.encode()).hexdigest()}\n{text}")
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder / "index.tmp", folder / _INDEX)
    _remove_others(folder, names.values())
    return names


def _in_json(value: Any) -> str:
    # As json.dumps, which holds Python's lock for all that it is given at once.
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(name))}: {_in_json(one)}' for name, one in value.items())}}}"
    return json.dumps(value)


def tidy_folder(folder: Path) -> None:
    """
    Remove what a process that was killed while it saved has left behind; for the one process that may write there.

    Raises:
        BrokenFile: nothing whole is saved there.
    """
    _remove_others(folder, _read_index(folder)["files"].values())


def _remove_others(folder: Path, names: Collection[str]) -> None:
    for path in [*folder.glob("*.bin"), *folder.glob("*.tmp")]:
        if path.name not in names:
            with contextlib.suppress(OSError):  # still mapped on Windows; goes next time
                path.unlink()


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, Array]]]:
    """
    What `write_folder` wrote: the text, the name of each file, and its arrays, mapped into memory.

    Raises:
        BrokenFile: something is missing or is not what was written.
    """
    whole = _read_index(folder)
    names = whole["files"]
    arrays = {role: read_arrays(folder / name, name[len(role) + 1 : -len(".bin")]) for role, name in names.items()}
    return whole["body"], names, arrays


def _read_index(folder: Path) -> Any:
    try:
        digest, _, text = (folder / _INDEX).read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{folder} holds no saved index: {error}") from error
    if hashlib.blake2b(text.encode()).hexdigest() != digest:
        raise BrokenFile(f"{folder / _INDEX} is not what was written: its checksum differs")
    return json.loads(text)


def gathered(values: Array, offsets: Array, which: Array) -> Array:
    """The stretches `values[offsets[i]:offsets[i + 1]]` for each i of `which`, one after the other."""
    if not len(which):
        return values[:0]
    # Neighbours are copied in one piece.
    breaks = np.flatnonzero(np.diff(which) != 1) + 1
    begins = offsets[which[np.concatenate(([0], breaks))]].tolist()
    ends = offsets[which[np.concatenate((breaks - 1, [len(which) - 1]))] + 1].tolist()
    return np.concatenate([values[begin:end] for begin, end in zip(begins, ends, strict=True)])


def offsets_of(lengths: Array) -> Array:
    """Where stretches of these lengths begin, and the end of the last, (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
