"""Foundry Local's own runtime in this process: its SDK, a service on loopback, and the models that it serves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from rag.backends.foundry import Service
from rag.errors import ModelBroke, ModelRefused, ModelUnavailable

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_CONFIG = "genai_config.json"  # what makes a folder a model of this runtime


class FoundryRuntime:
    """
    The runtime, started with the first model that is asked for.

    The SDK allows one in a process. All of its calls wait for files or the network, so each runs in a thread.

    Args:
        own: a folder whose subfolders are models of one's own, known by the subfolders' names; None: none.
        cache: where downloaded models are kept; None: where the SDK keeps them.
        catalogue: the address of another list of models than the public one.
    """

    def __init__(self, own: Path | None = None, cache: Path | None = None, catalogue: str | None = None) -> None:
        self._own = own
        self._cache = cache
        self._catalogue = catalogue
        self._lock = asyncio.Lock()
        self._users = 0
        self._manager: Any = None
        self._cancelled = threading.Event()

    async def service(self, alias: str, tell: Callable[[str], None]) -> Service:
        """
        The service, with a model on this machine's disk.

        Args:
            alias: the model: a subfolder of one's own, or a name in Foundry Local's catalogue.
            tell: is told how far a download is, in words.

        Raises:
            ModelError: the SDK is not installed, or the model is not known or cannot be downloaded.
        """
        async with self._lock:
            if self._manager is None:
                await self._in_thread(self._start)
            catalogue = await self._in_thread(lambda: self._provide(alias, tell))
            remedy = "Look at its folder in RAG_FOUNDRY_MODELS." if catalogue else ""
            return Service(self._manager.urls[0].rstrip("/"), catalogue, remedy=remedy)

    async def stop(self) -> None:
        """Unload the models and end the service."""
        self._cancelled.set()
        async with self._lock:
            manager, self._manager = self._manager, None
            if manager is not None:
                await asyncio.to_thread(_ended, manager)

    async def _in_thread(self, do: Callable[[], _Result]) -> _Result:
        """Work that cannot be broken off: who cancels it waits for its end, which a download brings about at once."""
        work = asyncio.ensure_future(asyncio.to_thread(do))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._cancelled.set()
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            self._cancelled.clear()
            if not work.cancelled():
                work.exception()  # nobody else will ask for it
            raise

    def _start(self) -> None:
        self._manager = _started(self._cache, self._catalogue)

    def _provide(self, alias: str, tell: Callable[[str], None]) -> str:
        """Have the model on the disk; returns the path of its catalogue."""
        folder = self._own / alias if self._own else None
        if folder and (folder / _CONFIG).is_file():
            self._register(folder, alias)
            return "/catalogs/local"
        catalogue = self._manager.catalog
        model = catalogue.get_model(alias)
        if model is None:
            raise ModelUnavailable(self._unknown(alias, [one.alias for one in catalogue.list_models()]))
        if not model.is_cached:
            try:
                model.download(
                    lambda percent: tell(f"Downloading {alias} for Foundry Local: {percent:.0f} %"), self._cancelled
                )
            except _exception() as error:
                raise ModelBroke(
                    f"{alias} was not downloaded for Foundry Local ({_line(error)}). Look at the network and the disk, "
                    "and ask again."
                ) from error
            finally:
                tell(f"Loading {alias} into Foundry Local …")
        return ""

    def _register(self, folder: Path, alias: str) -> None:
        sdk = importlib.import_module("foundry_local_sdk.catalog")
        builder = importlib.import_module("foundry_local_sdk.model_info").ModelInfoBuilder
        local = self._manager.get_catalog(sdk.CatalogType.LOCAL)
        known = local.get_model(alias)
        try:
            # It remembers what was registered, also of an earlier run with another folder.
            if known is not None and os.path.realpath(known.get_path() or "") == os.path.realpath(folder):
                return
            if known is not None:
                local.unregister_model(alias)
            with builder() as told:
                told.set_string_property("task", "chat-completion")
                local.register_model(str(folder.absolute()), f"{alias}:1", told)
        except (_exception(), ValueError) as error:
            raise ModelRefused(
                f"{folder} is no model that Foundry Local can run ({_line(error)}).", status=400
            ) from error

    def _unknown(self, alias: str, names: list[str]) -> str:
        own = [path.parent.name for path in self._own.glob(f"*/{_CONFIG}")] if self._own else []
        known = sorted({*names, *own})
        near = get_close_matches(alias, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        if names:
            return f"Foundry Local has no model {alias}.{hint}"
        folder = f"and is not in {self._own}" if self._own else "nor is RAG_FOUNDRY_MODELS set to a folder of models"
        return (
            f"Foundry Local's list of models cannot be reached, {alias} is not on this machine, {folder}.{hint} "
            "Connect to the network once."
        )


def _started(cache: Path | None, catalogue: str | None) -> Any:
    try:
        sdk = importlib.import_module("foundry_local_sdk")
    except ImportError as error:
        raise ModelUnavailable(
            "RAG_FOUNDRY=embed needs a package that is not installed. Run pip install -r requirements-foundry.txt."
        ) from error
    if sdk.FoundryLocalManager.instance is not None:
        raise ModelBroke("Foundry Local's runtime is in use already in this process.")
    try:
        manager = sdk.FoundryLocalManager(
            sdk.Configuration(
                app_name="grounded",
                model_cache_dir=str(cache.absolute()) if cache else None,
                log_level=sdk.logging_helper.LogLevel.FATAL,  # it writes to standard output
                disable_nonessential_telemetry=True,
                catalog_urls=[(catalogue, None)] if catalogue else None,
                web=sdk.Configuration.WebService(urls="http://127.0.0.1:0"),
            )
        )
        try:
            manager.start_web_service()
        except BaseException:
            manager.close()
            raise
    except _exception() as error:
        raise ModelBroke(f"Foundry Local's runtime did not start: {_line(error)}.") from error
    return manager


def _ended(manager: Any) -> None:
    try:
        manager.stop_web_service()
    except _exception() as error:
        log.warning("Foundry Local's service did not end: %s", _line(error))
    manager.close()


def _exception() -> type[Exception]:
    found: type[Exception] = importlib.import_module("foundry_local_sdk.exception").FoundryLocalException
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
