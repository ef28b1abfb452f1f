"""From the hub into the folder of model files: what is asked before a download, and what is noted after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.backends.chosen import Kept, ModelsFolder, held
from rag.backends.embedded import CONTEXT_TOKENS
from rag.errors import DownloadError
from rag.gguf import LISTED, ROLES, Gguf, Role
from rag.hub import Hub, Progress, Remote, sha256_of
from rag.machine import Memory, sized

#: What a disk should have left after a download, in bytes.
_SPARE_BYTES = 200_000_000


@dataclass(frozen=True)
class Fetched:
    """
    A model file that is there and chosen.

    Attributes:
        kept: the file.
        fresh: whether it was downloaded now; else it was there, and whole.
    """

    kept: Kept
    fresh: bool


def needed_memory(model: Gguf, file_bytes: int | None = None) -> int:
    """About how much memory a model needs when the chat runs it, in bytes."""
    return model.memory_bytes(context_tokens=CONTEXT_TOKENS, file_bytes=file_bytes)


def fetch(
    model: Gguf,
    role: Role,
    *,
    hub: Hub,
    folder: ModelsFolder,
    memory: Memory,
    free_disk: int | None,
    force: bool = False,
    progress: Progress,
    warn: Callable[[str], None],
) -> Fetched:
    """
    Have a model file in the folder, whole, and choose it for a role.

    A file that is there and has its checksum is not downloaded again, and the hub is not asked. Nothing is written
    before the hub was reached and the machine found large enough.

    Args:
        memory: what the machine has.
        free_disk: how many bytes can be written to the folder; None: not known.
        force: download it also where the machine has too little memory.
        progress: told of each piece.
        warn: told, in a sentence, of what is no reason to stop.

    Raises:
        DownloadError: it could not be had.
    """
    if kept := _whole(model, folder, progress, warn):
        folder.choose(kept.name, role)
        return Fetched(kept, fresh=False)
    remote = hub.look_up(model)
    part = _part(model, folder, remote)
    _see_memory(model, role, remote, folder, memory, force=force, warn=warn)
    _see_disk(model, remote, part, folder, free_disk)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with held(folder.path / f".{model.file}.lock") as ours:
            if not ours:
                raise DownloadError(f"Another process is downloading {model.name}. Wait until it is done, or stop it.")
            fresh = _put(model, remote, part, folder, hub, progress)
            kept = Kept(model.name, model.file, remote.bytes, remote.sha256, model.repo, remote.revision)
            folder.keep(kept, role)
    except OSError as error:
        said = f"{folder.path} cannot be written ({error.strerror}). What came so far is kept."
        raise DownloadError(f"{said} Mend that, or set RAG_MODELS_DIR to another folder.") from error
    return Fetched(kept, fresh=fresh)


def parts(model: Gguf, folder: ModelsFolder) -> list[Path]:
    """The beginnings of downloads that did not come to their end."""
    return sorted(folder.path.glob(f".{model.file}.*.part"))


def drop(model: Gguf, folder: ModelsFolder) -> list[Role]:
    """
    Delete a model's file, or what came of it.

    Returns:
        The roles that it had.

    Raises:
        DownloadError: there is nothing of it, it is being downloaded, or the system does not let go of it.
    """
    begun = parts(model, folder)
    if not begun and model.name not in folder.read().kept:
        raise DownloadError(f"{model.name} is not downloaded, so there is nothing to delete.")
    try:
        with held(folder.path / f".{model.file}.lock") as ours:
            if not ours:
                raise DownloadError(f"Another process is downloading {model.name}. Wait until it is done, or stop it.")
            for part in begun:
                part.unlink(missing_ok=True)
            return folder.drop(model.name)
    except OSError as error:
        raise DownloadError(f"{model.name} cannot be deleted from {folder.path} ({error.strerror}).") from error


def _part(model: Gguf, folder: ModelsFolder, remote: Remote) -> Path:
    return folder.path / f".{model.file}.{remote.sha256[:16]}.part"


def _whole(model: Gguf, folder: ModelsFolder, progress: Progress, warn: Callable[[str], None]) -> Kept | None:
    kept = folder.read().kept.get(model.name)
    if kept is None:
        return None
    fault = folder.fault_of(kept)
    try:
        if not fault and sha256_of(folder.file(kept), progress) == kept.sha256:
            return kept
    except OSError as error:
        fault = f"{folder.file(kept)} cannot be read ({error.strerror})."
    warn(fault.partition(" Run ")[0] or f"The model file {folder.file(kept)} is damaged: its SHA-256 differs.")
    return None


def _put(model: Gguf, remote: Remote, part: Path, folder: ModelsFolder, hub: Hub, progress: Progress) -> bool:
    """Have the file of the hub's checksum at its place; whether it had to be downloaded."""
    place = folder.path / model.file
    if place.is_file() and place.stat().st_size == remote.bytes and sha256_of(place, progress) == remote.sha256:
        return False  # there, and not noted: chosen.json was deleted
    for old in parts(model, folder):
        if old != part:
            old.unlink()  # of a state that the hub has no more
    hub.download(remote, part, progress)
    part.replace(place)
    return True


def _see_memory(
    model: Gguf,
    role: Role,
    remote: Remote,
    folder: ModelsFolder,
    memory: Memory,
    *,
    force: bool,
    warn: Callable[[str], None],
) -> None:
    needed = needed_memory(model, remote.bytes)
    says = f"{model.name} needs about {sized(needed)} of memory"
    if memory.total is None:
        warn(f"{says}; how much this machine has is not known here.")
        return
    if needed > memory.total:
        if not force:
            raise DownloadError(
                f"{says}, and this machine has {sized(memory.total)} in all. Nothing was downloaded; --force downloads "
                "it all the same."
            )
        warn(f"{says}, and this machine has {sized(memory.total)} in all: it will be very slow, or not load.")
        return
    if memory.available is not None and needed > memory.available:
        warn(f"{says}, and {sized(memory.available)} are free now: close other programs before you use it.")
    other = next(one for one in ROLES if one != role)
    beside = folder.read().of(other)
    listed = next((one for one in LISTED if beside and one.name == beside.name), None)
    if beside and listed and listed.name != model.name:
        together = needed + needed_memory(listed, beside.bytes)
        if together > memory.total:
            warn(
                f"{model.name} and {beside.name}, the {other.upper()}, need about {sized(together)} of memory "
                f"together, and this machine has {sized(memory.total)} in all."
            )


def _see_disk(model: Gguf, remote: Remote, part: Path, folder: ModelsFolder, free: int | None) -> None:
    left = remote.bytes - (part.stat().st_size if part.exists() else 0)
    if free is not None and left + _SPARE_BYTES > free:
        raise DownloadError(
            f"{model.name} needs {sized(left + _SPARE_BYTES)} more on the disk of {folder.path}, which has "
            f"{sized(free)} free. Nothing was downloaded. Make room, or set RAG_MODELS_DIR to a folder on another disk."
        )
