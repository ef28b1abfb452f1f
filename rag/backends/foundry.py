"""A Foundry Local service: how one is found on this machine, and what it tells of its models."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2

from rag.addresses import display_url, is_loopback
from rag.backends.openai_compatible import trust
from rag.errors import ModelBroke, ModelRefused, ModelUnavailable
from rag.naming import closest, is_exactly, may_mean

log = logging.getLogger(__name__)

#: Where a service listens if nobody says otherwise.
USUAL_URL = "http://127.0.0.1:5273"
# What prints the address of a service, the newer command first.
_COMMANDS = (("foundry", "server", "status", "-o", "json"), ("foundry", "service", "status"))
_COMMAND_S = 5.0
_ANSWER_S = 2.0
_LIST_S = 15.0  # without a network the first list takes 5 s
_LOAD_S = 900.0
_DRAIN_S = 0.5
_POLL_S = 0.02
_MOST_BYTES = 1 << 20
_URL = re.compile(r"https?://[^\s\"'<>,;]+")

#: Runs a command and returns what it printed; None if there is none, or it failed.
Run = Callable[[Sequence[str]], Awaitable[str | None]]


@dataclass(frozen=True)
class Service:
    """
    A service that answered.

    Attributes:
        root: its address without a path.
        catalogue: the path of one of its catalogues, such as `/catalogs/local`; empty: the public one.
        dialect: `new` (`/models/load`), `old` (`/openai/load`), or `plain`: it speaks chat completions only.
        remedy: what to do about a model that it does not load, if that is not to download it.
    """

    root: str
    catalogue: str = ""
    dialect: Literal["new", "old", "plain"] = "new"
    remedy: str = ""

    @property
    def url(self) -> str:
        """Where its chat completions are."""
        return f"{self.root}{self.catalogue}/v1"

    async def listed(self) -> list[str]:
        """The ids of the models that it lists, loaded or not. Raises `ModelError`."""
        found = await self._get("/v1/models", _LIST_S)
        return _ids(found.get("data") if isinstance(found, dict) else None)

    async def loaded(self) -> list[str]:
        """The ids of the models that can answer at once, as far as it tells which. Raises `ModelError`."""
        if self.dialect == "plain":
            return await self.listed()
        return _ids(await self._get("/models/loaded" if self.dialect == "new" else "/openai/loadedmodels", _LIST_S))

    async def load(self, model: str, *, known: str = "") -> str:
        """
        Load a model if it is not loaded.

        Args:
            model: an alias, such as `phi-4-mini`, or an id.
            known: the id that answered to it before.

        Returns:
            The id that answers to it.

        Raises:
            ModelError: it is not downloaded, not known, or does not fit.
        """
        before = await self.loaded()
        if self.dialect == "plain":
            return closest(model, before) or model
        if same := next((one for one in before if is_exactly(model, one)), None):
            return same
        if self.dialect == "new":
            await self._get(f"/models/load/{quote(model, safe='')}", _LOAD_S, model=model)
        else:
            kept = _ids(await self._get("/openai/models", _LIST_S))  # it loads by id only
            await self._get(f"/openai/load/{quote(closest(model, kept) or model, safe='')}", _LOAD_S, model=model)
        after = await self.loaded()
        if known in after:
            return known
        new = [one for one in after if one not in before]
        # It does not say which id it loaded, nor whether there was anything to load.
        fitting = [closest(model, new), closest(model, after), *(new if len(new) == 1 else [])]
        alike = [one for one in after if may_mean(model, one)]
        found = next(filter(None, fitting), alike[0] if len(alike) == 1 else None)
        if found is None:
            raise ModelBroke(
                f"Foundry Local loaded {model}; which of {', '.join(after) or 'no models'} that is cannot be told. "
                "Use the id in place of the alias."
            )
        return found

    async def _get(self, path: str, seconds: float, *, model: str = "") -> Any:
        address = f"{self.root}{self.catalogue}{path}"
        try:
            status, body = await _fetch(address, seconds)
        except (httpx2.TimeoutException, TimeoutError) as error:
            what = f"did not load {model}" if model else "did not answer"
            raise ModelBroke(f"Foundry Local at {display_url(self.root)} {what} within {seconds:g} s.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise gone(self.root) from error
        if status >= 400 and model:
            listed = await self._nearest(model) if status == 404 else ""
            remedy = listed or self.remedy or f"Download it with: foundry model download {model}."
            raise ModelRefused(f"Foundry Local did not load {model} ({status}): {_said(body)} {remedy}", status=status)
        if status >= 400:
            raise ModelRefused(f"Foundry Local at {display_url(address)} failed ({status}).", status=status)
        try:
            return json.loads(body) if body.strip() else None
        except (ValueError, RecursionError):
            if model:
                return None  # older services confirm in words
            raise ModelBroke(f"{display_url(address)} did not send JSON. Is it Foundry Local?") from None

    async def _nearest(self, model: str) -> str:
        known = {one.casefold(): one for one in await self.listed()}
        near = get_close_matches(model.casefold(), known, n=1, cutoff=0.4)
        return f"Did you mean {known[near[0]]}?" if near else ""


def gone(url: str) -> ModelUnavailable:
    """The error for a service that is not there; `url` is where it was expected, empty: on the usual port."""
    where = display_url(url or USUAL_URL)
    return ModelUnavailable(
        f"No Foundry Local at {where}. Start it (foundry server start), or set FOUNDRY_LOCAL_ENDPOINT."
    )


def address_of(url: str) -> tuple[str, str]:
    """
    The root and the catalogue of a service's URL, however much of a path it has.

    >>> address_of("http://localhost:5273/"), address_of("http://localhost:5273/catalogs/local/v1/models")
    (('http://localhost:5273', ''), ('http://localhost:5273', '/catalogs/local'))

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url.strip())
    catalogue = re.match(r"/catalogs/[^/]+", parts.path)
    root = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    return root, catalogue[0] if catalogue else ""


async def find_service(endpoint: str | None = None, *, run: Run | None = None) -> Service | None:
    """
    Find a service that runs: at the endpoint, where either generation of the command says, or on the usual port.

    Args:
        endpoint: as `FOUNDRY_LOCAL_ENDPOINT` says.
        run: what runs a command, in tests.

    Returns:
        The first that answers; None if none does.
    """
    if endpoint:
        found = await look_at(endpoint)
        if found or not is_loopback(endpoint):  # another machine's service has not moved to this one
            return found
    for command in _COMMANDS:
        printed = await (run or _printed)(command)
        for url in filter(is_loopback, urls_in(printed or "")):  # not those of a manual that it points to
            if found := await look_at(url):
                return found
    found = await look_at(USUAL_URL)
    if found and found.dialect == "plain" and not await _lists_any(found):
        return None  # something else lives on that port
    return found


async def look_at(url: str) -> Service | None:
    """The service at an address, if one answers there."""
    try:
        root, catalogue = address_of(url)
    except ValueError:
        return None
    for path, dialect in (("/status", "new"), ("/openai/status", "old"), ("/v1/models", "plain")):
        try:
            status, body = await _fetch(f"{root}{catalogue if dialect == 'plain' else ''}{path}", _ANSWER_S)
            told = json.loads(body) if status == 200 else None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            return None
        except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError):
            continue
        if isinstance(told, dict) and ("endpoints" in told or "data" in told):
            return Service(root, catalogue, dialect)  # type: ignore[arg-type]
    return None


def urls_in(printed: str) -> list[str]:
    """
    The addresses in what a command printed: those in its JSON, else any.

    >>> urls_in('Checking …\\n{"webUrls": ["http://127.0.0.1:60001"]}'), urls_in("running on http://127.0.0.1:5273/x!")
    (['http://127.0.0.1:60001'], ['http://127.0.0.1:5273/x'])
    """
    decoder = json.JSONDecoder()
    for at, letter in enumerate(printed):
        if letter != "{":
            continue
        try:
            found, _ = decoder.raw_decode(printed, at)
        except (ValueError, RecursionError):
            continue
        urls = found.get("webUrls")
        if isinstance(urls, list):
            return [url for url in urls if isinstance(url, str) and _URL.match(url)]
    return [url.rstrip(".!)") for url in _URL.findall(printed)]


async def _lists_any(service: Service) -> bool:
    try:
        return bool(await service.listed())
    except (ModelBroke, ModelRefused, ModelUnavailable):
        return False


async def _fetch(url: str, seconds: float) -> tuple[int, str]:
    timeout = httpx2.Timeout(seconds, connect=min(seconds, _ANSWER_S))
    async with (
        asyncio.timeout(seconds),
        httpx2.AsyncClient(timeout=timeout, **trust(url)) as client,
        client.stream("GET", url) as response,
    ):
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _MOST_BYTES:
                break
        return response.status_code, body.decode("utf-8", "replace")


async def _printed(command: Sequence[str]) -> str | None:
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            program, *command[1:], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.warning("%s cannot be run and is ignored (%s)", program, error.strerror)
        return None
    printed = bytearray()
    reader = asyncio.create_task(_read(process, printed))
    try:
        if await _ends(process, _COMMAND_S):
            await asyncio.wait([reader], timeout=_DRAIN_S)
        else:
            log.warning("%s did not end within %g s", " ".join(command), _COMMAND_S)
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        await _end(process)
    return printed.decode("utf-8", "replace") if process.returncode == 0 else None


async def _ends(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether a process ends in time. Its own `wait` also waits for its output, which what it started may hold open."""
    for _ in range(max(1, round(seconds / _POLL_S))):
        if process.returncode is not None:
            return True
        await asyncio.sleep(_POLL_S)
    return process.returncode is not None


async def _read(process: asyncio.subprocess.Process, printed: bytearray) -> None:
    while process.stdout and (piece := await process.stdout.read(_MOST_BYTES)) and len(printed) < _MOST_BYTES:
        printed += piece


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that has not ended, with what it has started, and let go of its output."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        await _ends(process, _DRAIN_S)
    transport = getattr(process, "_transport", None)  # or the pipe stays open as long as somebody writes into it
    if transport is not None:
        transport.close()


def _ids(found: Any) -> list[str]:
    """Ids from a list of texts, or of objects with an `id`."""
    if not isinstance(found, list):
        return []
    ids = [one.get("id") if isinstance(one, dict) else one for one in found]
    return [one for one in ids if isinstance(one, str) and one]


def _said(body: str) -> str:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = body
    inner = told.get("error", told.get("message", "")) if isinstance(told, dict) else told
    text = inner.get("message", "") if isinstance(inner, dict) else inner
    said = " ".join(str(text).split())[:200]
    return said if said.endswith((".", "!", "?")) else f"{said}."
