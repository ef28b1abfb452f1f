"""
Downloads a file from a model hub: what the hub says of it, its bytes, and whether they are what it said.

Written on httpx2, which openai brings anyway. huggingface_hub resumes and shows progress too, but compares only the
length of a download, not its checksum, and brings 22 MB more, half of it a binary for another protocol.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx2
from pydantic import SecretStr

from rag.addresses import display_url, is_loopback
from rag.errors import DownloadError, SettingsError
from rag.gguf import Gguf
from rag.machine import sized

_PIECE_BYTES = 1 << 20
_MOST_HOPS = 5
_TRIES = 5

#: Told of what is done: `download` or `check`, how many bytes of it, and of how many.
Progress = Callable[[Literal["download", "check"], int, int], None]


@dataclass(frozen=True)
class Remote:
    """
    A file as the hub has it now.

    Attributes:
        url: its address in exactly this state.
        revision: the state of its repository, as the hub names it.
        sha256: its checksum, in 64 hexadecimal digits.
        bytes: how large it is.
    """

    url: str
    revision: str
    sha256: str
    bytes: int


class Hub:
    """
    A model hub, or a mirror of it.

    Args:
        url: its address.
        token: a key for it, sent to this address alone.
        connect_s: how long it may take to accept a connection, in seconds.
        silence_s: how long it may send nothing, in seconds.
        pause_s: how long to wait after a connection broke, in seconds; doubled each time that nothing comes.
    """

    def __init__(
        self,
        url: str,
        token: SecretStr | None = None,
        *,
        connect_s: float = 10.0,
        silence_s: float = 30.0,
        pause_s: float = 1.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.shown = display_url(self.url).rstrip("/")
        self._pause_s = pause_s
        key = token.get_secret_value() if token else ""
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("RAG_HUB_TOKEN has characters that no key has. Copy it again.")
        headers = {"Accept-Encoding": "identity", "User-Agent": "grounded"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(silence_s, connect=connect_s),
            follow_redirects=False,
            trust_env=not is_loopback(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def look_up(self, model: Gguf) -> Remote:
        """
        Ask what the hub has under a model's name now. Nothing is downloaded or written.

        Raises:
            DownloadError: the hub is not reached, refuses, does not have it, or gives no checksum of it.
        """
        url = httpx2.URL(f"{self.url}/{model.repo}/resolve/main/{model.file}")
        for _ in range(_MOST_HOPS):
            try:
                answer = self._client.head(url)
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from error
            elsewhere = answer.next_request.url if answer.next_request else None
            if "x-repo-commit" in answer.headers or elsewhere is None:
                break
            if not _same_origin(url, elsewhere):  # what holds the bytes knows nothing of the repository
                moved = display_url(str(elsewhere))
                raise DownloadError(f"The model hub at {self.shown} points to {moved}. Set RAG_HUB_URL to that hub.")
            url = elsewhere  # a repository that was renamed
        if answer.status_code >= 400:
            raise self._refused(answer, model)
        revision = answer.headers.get("x-repo-commit", "")
        if not revision.isalnum():
            raise self._no_hub(answer)
        tag = answer.headers.get("x-linked-etag", "") or answer.headers.get("etag", "")
        sha256 = tag.removeprefix("W/").strip('"').lower()
        size = answer.headers.get("x-linked-size", "") or answer.headers.get("content-length", "")
        if not re.fullmatch("[0-9a-f]{64}", sha256) or not size.isdigit():
            raise DownloadError(
                f"The model hub at {self.shown} gives no size and SHA-256 of {model.file}, so a download could not be "
                "checked. Set RAG_HUB_URL to a hub that does."
            )
        pinned = str(url).replace("/resolve/main/", f"/resolve/{revision}/")
        return Remote(pinned, revision, sha256, int(size))

    def download(self, remote: Remote, part: Path, progress: Progress) -> None:
        """
        Fetch a file, from where an earlier download of it stopped, and see that it is what the hub said.

        The connection may break: it is taken up again, and given up when nothing came for several times. What came so
        far stays in `part`, also when the caller is interrupted; a file that is not what the hub said does not.

        Args:
            remote: what `look_up` found.
            part: where the bytes go. It must be one for this checksum alone.
            progress: told of each piece.

        Raises:
            DownloadError: it did not come whole, or is another file than the hub said.
        """
        failures = 0
        while (done := _size(part)) < remote.bytes:
            try:
                why = self._receive(remote, part, done, progress)
            except httpx2.HTTPError as error:
                why = "Nothing came for a while" if isinstance(error, httpx2.ReadTimeout) else "The connection broke"
            failures = 0 if _size(part) > done else failures + 1
            if failures == _TRIES:
                share = f"{sized(_size(part))} of {sized(remote.bytes)}"
                raise DownloadError(f"{why} at {share}. The same command goes on from there.")
            if _size(part) < remote.bytes:
                time.sleep(self._pause_s * 2**failures)
        if done > remote.bytes or sha256_of(part, progress) != remote.sha256:
            part.unlink()
            raise DownloadError(
                f"What came is not the file that the model hub at {self.shown} announced: its SHA-256 differs. "
                "It was deleted. Try again, or set RAG_HUB_URL to another hub."
            )

    def _receive(self, remote: Remote, part: Path, done: int, progress: Progress) -> str:
        """Add what comes to the part, until it is whole or the connection ends; what ended it, in words."""
        answer = self._opened(remote.url, {"Range": f"bytes={done}-"})
        try:
            if answer.status_code >= 500:
                return f"The model hub failed ({answer.status_code})"
            if answer.status_code >= 400:
                raise self._refused(answer, None)
            if answer.headers.get("content-type", "").startswith("text/html"):
                raise self._no_hub(answer)
            if answer.status_code != 206:
                done = 0  # it sends all of it again
            elif answer.headers.get("content-range") != f"bytes {done}-{remote.bytes - 1}/{remote.bytes}":
                raise self._another_length(remote)
            length = answer.headers.get("content-length", "")
            if length and length != str(remote.bytes - done):
                raise self._another_length(remote)
            with open(part, "r+b" if part.exists() else "wb") as file:
                file.seek(done)
                file.truncate()
                for piece in answer.iter_raw():  # as they come: pieces of a set size are lost where one is cut short
                    file.write(piece)
                    done += len(piece)
                    if done > remote.bytes:
                        break
                    progress("download", done, remote.bytes)
                file.flush()
                os.fsync(file.fileno())
            return "The connection broke"
        finally:
            answer.close()

    def _opened(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """The answer behind all redirects. Another host than the hub's is sent no key."""
        request = self._client.build_request("GET", url, headers=headers)
        for _ in range(_MOST_HOPS):
            answer = self._client.send(request, stream=True)
            following = answer.next_request
            if following is None:
                return answer
            answer.close()
            if not _same_origin(httpx2.URL(self.url), following.url):
                following.headers.pop("Authorization", None)
            request = following
        raise DownloadError(f"The model hub at {self.shown} redirects in circles. Set RAG_HUB_URL to another hub.")

    def _unreachable(self, error: httpx2.HTTPError) -> DownloadError:
        if "certificate" in str(error).lower():
            what = f"The certificate of the model hub at {self.shown} is not trusted here."
        elif isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            what = f"The model hub at {self.shown} cannot be reached. Is there a network?"
        else:
            what = f"The model hub at {self.shown} did not answer ({type(error).__name__})."
        return DownloadError(f"{what} Nothing was changed. Try again, or set RAG_HUB_URL to a mirror.")

    def _refused(self, answer: httpx2.Response, model: Gguf | None) -> DownloadError:
        status = answer.status_code
        what = f"{model.file} of {model.repo}" if model else "the file"
        if status in (401, 403):
            remedy = "It may be gone or renamed, or want an account: set RAG_HUB_TOKEN to a key that may read it."
            return DownloadError(f"The model hub at {self.shown} does not give {what} to us ({status}). {remedy}")
        if status == 404:
            remedy = "It may have been renamed; set RAG_HUB_URL to a hub that has it, or take another model."
            return DownloadError(f"The model hub at {self.shown} does not have {what} (404). {remedy}")
        if status == 429:
            asked = answer.headers.get("retry-after", "")
            when = f"in {asked} s" if asked.isdigit() else "in some minutes"
            return DownloadError(f"The model hub at {self.shown} has too much to do (429). Try again {when}.")
        return DownloadError(f"The model hub at {self.shown} failed ({status}). Try again later.")

    def _no_hub(self, answer: httpx2.Response) -> DownloadError:
        sent = answer.headers.get("content-type", "nothing").split(";")[0]
        return DownloadError(
            f"What answers at {self.shown} is no model hub: it sent {sent} (status {answer.status_code}). Check "
            "RAG_HUB_URL, and whether this network asks for a log-in first."
        )

    def _another_length(self, remote: Remote) -> DownloadError:
        return DownloadError(
            f"The model hub at {self.shown} sends a file of another length than the {remote.bytes:,} bytes that it "
            "announced. Try again later, or set RAG_HUB_URL to another hub."
        )


def sha256_of(path: Path, progress: Progress) -> str:
    """The checksum of a file, in hexadecimal digits."""
    found, done, size = hashlib.sha256(), 0, _size(path)
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
            done += len(piece)
            progress("check", done, size)
    return found.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _same_origin(one: httpx2.URL, other: httpx2.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
