"""Keeps the page on this machine: nothing is fetched from elsewhere, and nobody elsewhere reaches the socket."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import chainlit.server as server
from chainlit.config import config
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 'unsafe-eval' is what Chainlit's custom elements need; 'unsafe-inline' its page.
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# What somebody sent must not run as a page of ours.
_HEADERS_OF_FILES = _HEADERS | {"Content-Security-Policy": "sandbox", "Content-Disposition": "attachment"}
_FILES = "/project/file/"

# Around a file there are its name and some lines of multipart.
_WRAPPING = 100_000

# <link> tags that load from, or announce, another host; and the preview picture that link unfurlers would fetch.
_REMOTE = re.compile(
    r"<link\b[^>]*\bhref=\"https?://[^>]*>|<meta property=\"og:(?:image|url)\" content=\"https?://[^>]*>"
)


def harden() -> None:
    """Attach all of it to Chainlit's own server; once, before it starts."""
    _stay_offline()
    uploads = config.features.spontaneous_file_upload
    server.app.add_middleware(BodyLimit, most=(uploads.max_size_mb or 0) * 1024 * 1024 + _WRAPPING)
    server.app.add_middleware(SecurityHeaders)
    _accept_own_origins_only()
    _refuse_invalid_sessions()


class SecurityHeaders:
    """Adds the security headers to every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its response."""
        added = _HEADERS_OF_FILES if _FILES in scope.get("path", "") else _HEADERS

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class BodyLimit:
    """
    Refuses a request with a larger body than any file may have, before a byte of it is read.

    Args:
        app: what takes the others.
        most: the largest body, in bytes.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with what is wrong."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers:
            await JSONResponse({"detail": "the length of the request is missing"}, 411)(scope, receive, send)
        elif not length.isdecimal() or int(length) > self._most:
            await JSONResponse({"detail": f"larger than {self._most // 1024**2} MB"}, 413)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def without_remote_links(page: str) -> str:
    """A page without the tags that would make a browser ask another host."""
    return _REMOTE.sub("", page)


def _stay_offline() -> None:
    template: Callable[[str], str] = server.get_html_template
    server.get_html_template = lambda root_path: without_remote_links(template(root_path))


def _accept_own_origins_only() -> None:
    # Chainlit's allow_origins does not cover the websocket, where engine.io has its own list.
    if config.run.host not in ("127.0.0.1", "localhost", "::1"):
        server.sio.eio.cors_allowed_origins = None  # the page's own host, by whichever name it was reached
        return
    port = "" if config.run.port == 80 else f":{config.run.port}"
    own = {f"http://{host}{port}" for host in ("localhost", "127.0.0.1", "[::1]")}
    allowed = own | {origin for origin in config.project.allow_origins if origin != "*"}
    server.sio.eio.cors_allowed_origins = sorted(allowed)


def _refuse_invalid_sessions() -> None:
    connect = server.sio.handlers["/"]["connect"]

    async def checked(sid: str, environ: dict[str, Any], auth: Any) -> Any:
        try:
            uuid.UUID(str(auth["sessionId"]))
        except (TypeError, KeyError, ValueError):
            raise ConnectionRefusedError("invalid session") from None
        return await connect(sid, environ, auth)

    server.sio.on("connect", checked)
