"""What is wrong with the address of a model server, in words, and which of its models are loaded."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx2

from rag.addresses import display_url
from rag.backends.openai_compatible import trust, untrusted

_Error = TypeVar("_Error", bound=BaseException)

_PATIENCE_S = 3.0
_MOST_BYTES = 1 << 20
# What people copy from a manual's example of a request.
_TAILS = ("/chat/completions", "/completions", "/models")


@dataclass(frozen=True)
class _Seen:
    """
    What a GET came back with.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        kind: the content type.
        body: its first megabyte.
        location: where a redirect leads.
        error: what kept an answer from coming.
    """

    status: int = 0
    kind: str = ""
    body: bytes = b""
    location: str = ""
    error: Exception | None = None

    @property
    def json(self) -> Any:
        """The body, if it is JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def lists_models(self) -> bool:
        """Whether this is a model server's list."""
        found = self.json
        return self.status == 200 and isinstance(found, dict) and isinstance(found.get("data"), list)

    @property
    def is_page(self) -> bool:
        """Whether this is meant for a browser."""
        return "html" in self.kind or self.body.lstrip()[:1] == b"<"


async def fault_of(url: str, *, role: str, setting: str = "") -> str | None:
    """
    Say what is wrong with an address, and which one is right if it can be found; None if nothing can be told.

    No key is sent, so that none reaches a server that it is not for.

    Args:
        url: the base address that the client uses.
        role: `SLM` or `LLM`, to name the setting.
        setting: its name, if that is another one.
    """
    shown, setting = display_url(url), setting or f"RAG_{role}_URL"
    async with _client(url) as http:
        seen = await _get(http, f"{url}/models")
        if seen.error is not None:
            return await _unreachable(seen.error, url, setting)
        if 300 <= seen.status < 400:
            target = display_url(seen.location) if "://" in seen.location else seen.location
            return f"{shown} points elsewhere ({seen.status}), to {target}. Set {setting} to where it really is."
        if seen.lists_models or seen.status not in (200, 404, 405) or (seen.status != 200 and seen.json is not None):
            other = None if seen.lists_models or seen.status != 404 else await _right_one(http, url)
            return other and f"{shown} is not the address of its models (404). Set {setting} to {display_url(other)}."
        what = "answers with a web page, as for a browser, and not as a model server" if seen.is_page else ""
        what = what or f"answers, but not as a model server ({seen.status})"
        other = await _right_one(http, url)
    there = display_url(other) if other else "the address of a model server"
    if not other and not url.endswith("/v1"):
        there = "the address of the server's API, which often ends in /v1"
    return f"{shown} {what}. Set {setting} to {there}."


async def loaded_models(url: str) -> list[str] | None:
    """The models that a server has in memory, where it can be asked: Foundry Local, Ollama, LM Studio; else None."""
    root = urlunsplit((*urlsplit(url)[:2], "", "", ""))
    async with _client(url) as http:
        foundry, older, ollama, studio = await asyncio.gather(
            _get(http, f"{root}/models/loaded"),
            _get(http, f"{root}/openai/loadedmodels"),
            _get(http, f"{root}/api/ps"),
            _get(http, f"{root}/api/v0/models"),
        )
    for seen in (foundry, older):
        if seen.status == 200 and isinstance(seen.json, list):
            return _texts(seen.json)
    if ollama.status == 200 and isinstance(ollama.json, dict) and isinstance(ollama.json.get("models"), list):
        return _texts([one.get("name") for one in ollama.json["models"] if isinstance(one, dict)])
    if studio.lists_models:
        known = [one for one in studio.json["data"] if isinstance(one, dict) and "state" in one]
        return _texts([one.get("id") for one in known if one["state"] == "loaded"]) if known else None
    return None


async def _unreachable(error: Exception, url: str, setting: str) -> str | None:
    shown = display_url(url)
    secure = url.startswith("https://")
    turned = "http" + url[5:] if secure else "https" + url[4:]
    if why := untrusted(error):
        return f"{shown} {why}"
    tls = _cause(error, ssl.SSLError)
    silent = isinstance(error, httpx2.ReadTimeout)  # a server may wait for the end of what it cannot read
    if tls is not None or silent or isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        async with _client(turned) as http:
            again = await _get(http, f"{turned}/models")
        if again.error is None or _cause(again.error, ssl.SSLCertVerificationError):
            spoken = "https" if secure else "http"
            return f"{shown} does not speak {spoken}. Set {setting} to {display_url(turned)}."
        if not silent:
            return f"{shown} is no web server, so no model server. Set {setting} to another address."
    if silent:
        return (
            f"{shown} takes the connection and says nothing for {_PATIENCE_S:g} s. Look at its log, or set {setting}."
        )
    return None


async def _right_one(http: httpx2.AsyncClient, url: str) -> str | None:
    """An address on the same server that lists models."""
    parts = urlsplit(url)
    origin = urlunsplit((*parts[:2], "", "", ""))
    path = parts.path
    for tail in _TAILS:
        path = path.removesuffix(tail)
    for other in dict.fromkeys((f"{origin}{path}", f"{origin}{path.rstrip('/')}/v1", f"{origin}/v1", origin)):
        if other != url and (await _get(http, f"{other}/models")).lists_models:
            return other
    return None


async def _get(http: httpx2.AsyncClient, url: str) -> _Seen:
    try:
        async with asyncio.timeout(_PATIENCE_S), http.stream("GET", url) as response:
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    break
            kind, location = response.headers.get("content-type", ""), response.headers.get("location", "")
            return _Seen(response.status_code, kind.lower(), body, location)
    except TimeoutError:
        return _Seen(error=httpx2.ReadTimeout("nothing came"))
    except Exception as error:  # whatever a server can do to a client
        return _Seen(error=error)


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(**trust(url), follow_redirects=False, timeout=_PATIENCE_S)


def _cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _texts(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]
