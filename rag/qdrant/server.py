"""A Qdrant server: one client, used from any thread, whose errors are sentences."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from rag.addresses import is_loopback
from rag.errors import SearchError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

log = logging.getLogger(__name__)
# The client tells of each request, with its whole URL.
logging.getLogger("httpx").setLevel(logging.WARNING)

# Collections have metadata from here on; in them lies by which words and weights a collection was made.
_OLDEST = (1, 16)
# What passes by itself: a server that starts, is moved, or has too much to do.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0


class Server:
    """
    The way to a Qdrant server. Close it when nobody asks any more.

    Args:
        url: where it listens; without a port, the protocol's own.
        api_key: its key, if it asks for one.
        timeout_s: how long one request may take; a question waits for that at most twice.
        pause: waits before a request is tried again.

    Raises:
        SearchError: qdrant-client is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: SecretStr | None = None,
        timeout_s: int = 10,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if importlib.util.find_spec("qdrant_client") is None:
            raise SearchError(
                "qdrant-client is not installed. Run pip install -r requirements-scale.txt, or set RAG_INDEX=bm25."
            )
        from qdrant_client import QdrantClient

        self.url = _without_password(url)
        self._timeout_s = timeout_s
        self._pause = pause
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a key that goes over http: said below, in the log
            self._client = QdrantClient(
                url=url,
                port=None,
                api_key=api_key.get_secret_value() if api_key else None,
                timeout=timeout_s,
                check_compatibility=False,  # `check` does it, with a sentence
                trust_env=not is_loopback(url),
            )
        if api_key and url.startswith("http:") and not is_loopback(url):
            log.warning("the key for Qdrant at %s is sent unencrypted: use https", self.url)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def check(self) -> None:
        """
        See that a server is there and new enough.

        Raises:
            SearchError: it is not.
        """
        version = self.ask(lambda client: client.info()).version
        found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if found < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise SearchError(f"Qdrant at {self.url} is version {version}; at least {oldest} is needed. Update it.")

    def ask(self, request: Callable[[QdrantClient], T], *, tries: int = 2) -> T:
        """
        The answer to a request, which is sent again if it fails for a reason that may pass.

        Args:
            request: does the asking; sent twice, it must do no more than once.
            tries: how often, in all.

        Raises:
            SearchError: there was none.
        """
        from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
        from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

        for number in range(1, tries + 1):
            wait_s = min(_PAUSE_S * 2 ** (number - 1), _LONGEST_PAUSE_S)
            try:
                return request(self._client)
            except ResourceExhaustedResponse as error:
                wait_s = min(float(error.retry_after_s), _LONGEST_PAUSE_S)
                failure: Exception = error
            except UnexpectedResponse as error:
                if error.status_code not in _PASSING:
                    raise SearchError(self._sentence(error)) from error
                failure = error
            except (ApiException, QdrantException, ValueError) as error:
                failure = error
            if number == tries or _is_nonsense(failure):
                raise SearchError(self._sentence(failure)) from failure
            self._pause(wait_s)
        raise AssertionError("the last try returns or raises")

    def _sentence(self, error: Exception) -> str:
        status = getattr(error, "status_code", None)
        source = getattr(error, "source", error)
        here = f"Qdrant at {self.url}"
        if status in (401, 403):
            return f"{here} refuses the key (status {status}). Set RAG_QDRANT_API_KEY to one that may read and write."
        if status is not None:
            return f"{here} answered with status {status}: {_reason(getattr(error, 'content', b''))}"
        if _is_nonsense(error):
            return f"What answers at {self.url} is no Qdrant server. Set RAG_QDRANT_URL."
        kind = type(source).__name__
        if kind == "ConnectTimeout" or "Connect" in kind:
            return f"No Qdrant server at {self.url}. Start it, or set RAG_QDRANT_URL."
        if "Timeout" in kind:
            return f"{here} gave no answer within {self._timeout_s} s. Look at its load and its log."
        if kind == "ResourceExhaustedResponse":
            return f"{here} has too much to do. Ask again later."
        return f"{here} broke off ({kind}). Look at its log, or set RAG_QDRANT_URL."


def _is_nonsense(error: Exception) -> bool:
    return isinstance(getattr(error, "source", error), ValueError)  # JSON's and pydantic's errors are such


def _reason(content: bytes) -> str:
    try:
        said = json.loads(content)["status"]["error"]
    except (ValueError, KeyError, TypeError):
        said = content.decode("utf-8", "replace")
    return " ".join(str(said).split())[:200] or "no reason given"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
