"""`models`: which model files can be downloaded; `models get`, `use` and `drop` them."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from typing import Any

from rag.backends.chosen import Choice, ModelsFolder, overridden_by
from rag.commands.terminal import print_json
from rag.errors import DownloadError, SettingsError
from rag.fetching import drop, fetch, needed_memory, parts
from rag.gguf import LISTED, ROLES, Gguf, Role, find
from rag.hub import Hub
from rag.machine import Memory, free_disk, memory, sized
from rag.settings import Settings

_BAR = 20
_EVERY_S = 0.1


def models(options: argparse.Namespace, settings: Settings) -> int:
    """List the models, or do with one of them what the command says."""
    if options.action is None:
        return _list(options, settings)
    if settings.models_dir is None:
        raise SettingsError("Downloading models is switched off: RAG_MODELS_DIR is none. Set it to a folder.")
    folder = ModelsFolder(settings.models_dir)
    return {"get": _get, "use": _use, "drop": _drop}[options.action](options, settings, folder)


def _get(options: argparse.Namespace, settings: Settings, folder: ModelsFolder) -> int:
    model = find(options.name)
    role: Role = options.role or model.role
    line = ProgressLine(model.name)
    try:
        with Hub(settings.hub_url, settings.hub_token) as hub:
            done = fetch(
                model, role, hub=hub, folder=folder, memory=memory(), free_disk=free_disk(folder.path),
                force=options.force, progress=line.show, warn=line.note,
            )  # fmt: skip
    except KeyboardInterrupt:
        line.note("What came so far is kept: the same command goes on from there.")
        raise
    finally:
        line.end()
    where = folder.file(done.kept)
    came = "is downloaded and checked" if done.fresh else "is already there and whole"
    return _told(
        f"{model.name} {came}: {where} ({sized(done.kept.bytes)}, SHA-256 {done.kept.sha256}).",
        options, settings, role=role, name=model.name,
        fresh=done.fresh, file=str(where), bytes=done.kept.bytes, sha256=done.kept.sha256,
        repo=done.kept.repo, revision=done.kept.revision,
    )  # fmt: skip


def _use(options: argparse.Namespace, settings: Settings, folder: ModelsFolder) -> int:
    if options.name == "none":
        if options.role is None:
            raise DownloadError("Say which model: --as slm, or --as llm.")
        folder.choose(None, options.role)
        return _told("", options, settings, role=options.role, name=None)
    model = find(options.name, _known(folder.read()))
    role: Role = options.role or model.role
    folder.choose(model.name, role)
    return _told("", options, settings, role=role, name=model.name)


def _drop(options: argparse.Namespace, settings: Settings, folder: ModelsFolder) -> int:
    model = find(options.name, _known(folder.read()))
    had = drop(model, folder)
    if options.json:
        print_json({"name": model.name, "dropped": True, "had_roles": had})
        return 0
    roles = "".join(f" It was the {role.upper()}; without it the next one in the order is taken." for role in had)
    print(f"{model.name} is deleted.{roles}")
    return 0


def _told(
    came: str, options: argparse.Namespace, settings: Settings, *, role: Role, name: str | None, **more: Any
) -> int:
    """Say what is chosen now, and which setting wins over it if one does."""
    above = overridden_by(settings, role)
    if options.json:
        print_json({"name": name, "role": role, "overridden_by": above, **more})
        return 0
    what = f"{name} is chosen as the {role.upper()}" if name else f"No downloaded file is the {role.upper()} now"
    print(" ".join(filter(None, [came, f"{what}; a chat that runs follows when it is started again."])))
    if above:
        print(f"{above} is set and wins over it: take that setting out.", file=sys.stderr)
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    have = memory()
    folder = ModelsFolder(settings.models_dir) if settings.models_dir else None
    fault, choice = "", Choice({}, {})
    try:
        choice = folder.read() if folder else choice
    except DownloadError as error:
        fault = str(error)
    free = free_disk(folder.path) if folder else None
    rows = [_row(one, have, choice, folder, settings) for one in _known(choice)]
    for told in filter(None, [fault, *(row["fault"] for row in rows)]):
        print(told, file=sys.stderr)
    if options.json:
        machine = {"memory_total": have.total, "memory_available": have.available, "disk_free": free}
        print_json({"folder": str(settings.models_dir or "none"), "machine": machine, "models": rows})
        return 1 if fault else 0
    table = [["NAME", "FOR", "SIZE", "MEMORY", "LICENCE", "FITS", "STATE", "ABOUT"], *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print(f"\n{_machine(have, free, settings)}")
    for role in ROLES:
        if above := overridden_by(settings, role):
            print(f"{above} is set and wins over a downloaded {role.upper()}.")
    print("Download one with: python -m rag models get NAME")
    return 1 if fault else 0


def _known(choice: Choice) -> list[Gguf]:
    """The models of the list, and those that were downloaded when it had them."""
    listed = {one.name for one in LISTED}
    others = [one for one in choice.kept.values() if one.name not in listed]
    return [
        *LISTED,
        *(Gguf(one.name, "slm", one.repo, one.file, one.bytes, 0, "–", "not listed now") for one in others),
    ]


def _row(model: Gguf, have: Memory, choice: Choice, folder: ModelsFolder | None, settings: Settings) -> dict[str, Any]:
    kept = choice.kept.get(model.name)
    fault = folder.fault_of(kept) if folder and kept else ""
    chosen = [role for role in ROLES if choice.roles.get(role) == model.name]
    needed = needed_memory(model, kept.bytes if kept else None)
    fits = None
    if have.total is not None:
        fits = "no" if needed > have.total else "yes"
        if fits == "yes" and have.available is not None and needed > have.available:
            fits = "tight"
    return {
        "name": model.name,
        "role": model.role,
        "repo": model.repo,
        "file": model.file,
        "bytes": kept.bytes if kept else model.bytes,
        "licence": model.licence,
        "about": model.about,
        "memory_needed": needed,
        "fits": fits,
        "downloaded": bool(kept) and not fault,
        "begun": bool(folder and parts(model, folder)),
        "chosen_as": chosen,
        "in_use_as": [role for role in chosen if not fault and not overridden_by(settings, role)],
        "fault": fault or None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    state = "faulty" if row["fault"] else "downloaded" if row["downloaded"] else "begun" if row["begun"] else ""
    used = [role.upper() for role in row["in_use_as"]]
    unused = [role.upper() for role in row["chosen_as"] if role not in row["in_use_as"]]
    roles = [f"in use as {' and '.join(used)}" if used else "", f"chosen as {' and '.join(unused)}" if unused else ""]
    return [
        row["name"], row["role"].upper(), sized(row["bytes"]), sized(row["memory_needed"]), row["licence"],
        row["fits"] or "unknown", ", ".join(filter(None, [state, *roles])) or "–", row["about"],
    ]  # fmt: skip


def _machine(have: Memory, free: int | None, settings: Settings) -> str:
    total = f"{sized(have.total)} of memory" if have.total is not None else "memory not known on this system"
    available = "" if have.available is None else f", {sized(have.available)} of it free"
    if settings.models_dir is None:
        return f"This machine: {total}{available}. RAG_MODELS_DIR is none: nothing is downloaded or used."
    disk = "not known" if free is None else sized(free)
    return f"This machine: {total}{available}. Free on the disk of {settings.models_dir}: {disk}."


class ProgressLine:
    """How far a download is, on one line of the terminal; nothing where standard error is none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = sys.stderr.isatty()
        self._work = ""
        self._from: tuple[float, int] = (0.0, 0)
        self._shown = 0.0

    def show(self, work: str, done: int, whole: int) -> None:
        """A piece more is done."""
        now = time.monotonic()
        if work != self._work or done < self._from[1]:
            self._work, self._from, self._shown = work, (now, done), 0.0
        if self._seen and (now - self._shown >= _EVERY_S or done == whole):
            began, before = self._from
            text = progress_text(self._name, work, done, whole, fresh=done - before, seconds=now - began)
            with contextlib.suppress(OSError):
                print(f"\r{text:<79}", end="", file=sys.stderr, flush=True)
            self._shown = now

    def note(self, text: str) -> None:
        """A sentence, on a line of its own."""
        self.end()
        print(text, file=sys.stderr)

    def end(self) -> None:
        """Go to the next line."""
        if self._seen and self._shown:
            print(file=sys.stderr)
        self._shown = 0.0


def progress_text(name: str, work: str, done: int, whole: int, *, fresh: int, seconds: float) -> str:
    """
    How far a work on bytes is, in words.

    Args:
        work: `download` or `check`.
        fresh: how many of the bytes came in this run.
        seconds: how long that took.

    >>> progress_text("phi-4-mini", "download", 500_000_000, 2_000_000_000, fresh=100_000_000, seconds=10.0)
    'phi-4-mini [#####...............]  25 %  500 MB of 2.0 GB, 10 MB/s, 3 min left'
    """
    share = done / whole if whole else 1.0
    bar = f"[{'#' * int(share * _BAR):.<{_BAR}}]"
    if work == "check":
        return f"{name} {bar} {share:4.0%} checked".replace("%", " %")
    rate = fresh / seconds if seconds > 0 else 0.0
    left = f", {_time((whole - done) / rate)} left" if rate > 0 and seconds >= 1 else ""
    speed = f", {sized(int(rate))}/s" if rate > 0 and seconds >= 1 else ""
    return f"{name} {bar} {int(share * 100):3d} %  {sized(done)} of {sized(whole)}{speed}{left}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
