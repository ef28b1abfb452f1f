"""Addresses of servers: which may be shown, and which lead to this very machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def display_url(url: str) -> str:
    """
    A URL as it may be shown: without user, password and query.

    >>> display_url("https://user:secret@host:8443/v1?key=secret")
    'https://host:8443/v1'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_loopback(url: str) -> bool:
    """
    Whether a URL leads to this very machine; what is no URL does not.

    >>> is_loopback("http://[::1]:5273"), is_loopback("http://localhost/v1"), is_loopback("http://[::1")
    (True, True, False)
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
