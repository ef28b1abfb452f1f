"""The folder of downloaded model files: which there are, and which of them answer as SLM and as LLM."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.errors import DownloadError
from rag.gguf import ROLES, Role
from rag.savelock import SaveLock
from rag.settings import Settings, env_names

_STATE = "chosen.json"
_MAGIC = b"GGUF"
_WAIT_S = 5.0
# What wins over a chosen file, strongest first.
_ABOVE = {
    "slm": ("slm_backend", "slm_gguf", "slm_url", "foundry_local_endpoint"),
    "llm": ("llm_backend", "llm_url", "llm_gguf"),
}


@dataclass(frozen=True)
class Kept:
    """
    A model file that was downloaded and found to be what the hub says it is.

    Attributes:
        name: what it is called on the command line.
        file: its name in the folder.
        bytes: how large it is.
        sha256: its checksum, as the hub gave it and as it was computed here.
        repo, revision: where on the hub it is from, and in which state of that.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    repo: str
    revision: str


@dataclass(frozen=True)
class Choice:
    """What the state file says: the files, by name, and the name that is chosen for each role."""

    kept: dict[str, Kept]
    roles: dict[Role, str]

    def of(self, role: Role) -> Kept | None:
        """The file that is chosen for a role."""
        return self.kept.get(self.roles.get(role, ""))


class ModelsFolder:
    """
    A folder with model files, and a small file in it that says which of them are in use.

    Args:
        path: the folder; it is made when the first file comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Choice:
        """
        What is there and what is chosen; nothing of both where no file has come yet.

        Raises:
            DownloadError: the state file cannot be read.
        """
        state = self.path / _STATE
        try:
            found = json.loads(state.read_text(encoding="utf-8"))
            kept = {one["name"]: Kept(**one) for one in found["files"]}
            roles = {role: str(found["roles"][role]) for role in ROLES if role in found["roles"]}
        except (FileNotFoundError, NotADirectoryError):
            return Choice({}, {})
        except (OSError, ValueError, TypeError, KeyError) as error:
            said = f"{state} cannot be read, so no downloaded model is in use. Delete it, and run"
            raise DownloadError(
                f"{said} python -m rag models get again: whole files are not downloaded twice."
            ) from error
        kept = {name: one for name, one in kept.items() if Path(one.file).name == one.file}
        return Choice(kept, {role: name for role, name in roles.items() if name in kept})

    def file(self, kept: Kept) -> Path:
        """Where a file lies."""
        return self.path / kept.file

    def fault_of(self, kept: Kept) -> str:
        """What a glance shows to be wrong with a file, in words; empty if nothing. Its checksum is not computed."""
        path = self.file(kept)
        try:
            with open(path, "rb") as file:
                magic, size = file.read(len(_MAGIC)), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            what = "is gone"
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
        else:
            if magic == _MAGIC and size == kept.bytes:
                return ""
            what = f"is damaged: it has {size:,} bytes, not {kept.bytes:,}"
            if size == kept.bytes:
                what = "is damaged: it does not begin as a .gguf file does"
        remedy = f"Run python -m rag models get {kept.name}, or python -m rag models drop {kept.name}."
        return f"The model file {path} {what}. {remedy}"

    def keep(self, kept: Kept, role: Role) -> None:
        """Note a file that came, and choose it for a role."""
        with self._changing() as choice:
            choice.kept[kept.name] = kept
            choice.roles[role] = kept.name

    def choose(self, name: str | None, role: Role) -> None:
        """
        Let a file answer in a role; None: no file.

        Raises:
            DownloadError: it is not there, or not whole as far as a glance shows.
        """
        kept = self.read().kept  # before anything is written
        if name is not None and name not in kept:
            raise DownloadError(f"{name} is not downloaded. Run python -m rag models get {name} --as {role}.")
        if not kept:
            return
        with self._changing() as choice:
            if name is None:
                choice.roles.pop(role, None)
                return
            if name not in choice.kept:
                raise DownloadError(f"{name} was deleted meanwhile.")
            if fault := self.fault_of(choice.kept[name]):
                raise DownloadError(fault)
            choice.roles[role] = name

    def drop(self, name: str) -> list[Role]:
        """
        Delete a file if there is one, and choose it for nothing any more.

        Returns:
            The roles that it had.

        Raises:
            DownloadError: the system does not let go of it.
        """
        with self._changing() as choice:
            kept = choice.kept.get(name)
            if kept is None:
                return []
            try:
                self.file(kept).unlink(missing_ok=True)
            except OSError as error:
                said = f"{self.file(kept)} cannot be deleted ({error.strerror})."
                raise DownloadError(f"{said} Stop the chat that uses it, and try again.") from error
            del choice.kept[name]
            had = [role for role in ROLES if choice.roles.get(role) == name]
            for role in had:
                del choice.roles[role]
            return had

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Choice]:
        """The state, to be changed in place; it is written if nothing is raised. One process at a time."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with held(self.path / f".{_STATE}.lock", wait_s=_WAIT_S) as ours:
                if not ours:
                    raise DownloadError(f"Another process is changing {self.path / _STATE}. Try again.")
                choice = self.read()
                yield choice
                self._write({"files": [asdict(one) for one in choice.kept.values()], "roles": choice.roles})
        except OSError as error:
            said = f"{self.path} cannot be written ({error.strerror})."
            raise DownloadError(f"{said} Mend that, or set RAG_MODELS_DIR to another folder.") from error

    def _write(self, state: dict[str, Any]) -> None:
        fresh = self.path / f".{_STATE}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path / _STATE)


@contextlib.contextmanager
def held(path: Path, *, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold a lock for the length of a `with` block, if it can be had within some seconds; whether it is ours."""
    lock = SaveLock(path)
    until = time.monotonic() + wait_s
    ours = lock.acquire()
    while not ours and time.monotonic() < until:
        time.sleep(0.05)
        ours = lock.acquire()
    try:
        yield ours
    finally:
        if ours:
            with contextlib.suppress(OSError):  # Windows keeps an open file; an empty one more does no harm
                path.unlink()
            lock.release()


def chosen_file(folder: Path | None, role: Role) -> tuple[Path | None, str]:
    """
    The file that answers in a role, if one is chosen and can; else what is wrong with it, in words.

    >>> chosen_file(None, "slm")
    (None, '')
    """
    if folder is None:
        return None, ""
    models = ModelsFolder(folder)
    try:
        kept = models.read().of(role)
    except DownloadError as error:
        return None, str(error)
    if kept is None:
        return None, ""
    fault = models.fault_of(kept)
    return (None, fault) if fault else (models.file(kept), "")


def overridden_by(settings: Settings, role: Role) -> str | None:
    """
    The setting that wins over a chosen file, by its name in the environment.

    >>> overridden_by(Settings(llm_url="http://localhost:8080"), "llm")
    'RAG_LLM_URL'
    """
    named = next((env_names(name)[-1] for name in _ABOVE[role] if getattr(settings, name)), None)
    return named or ("RAG_FOUNDRY" if role == "slm" and settings.foundry == "embed" else None)
