"""Outgoing HTTP on behalf of tenants, safe against reaching into the own network.

A URL is parsed once and its host resolved once; every address must be public; the connection goes
to the address that was checked, with the host's own name for TLS. Redirects are not followed and
proxies of the environment are ignored. See "Server Side Request Forgery" of the OWASP cheat sheets.
"""

import asyncio
import email.utils
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore

from jobs.conf import conf
from jobs.errors import Discard, Retry

MAX_RESPONSE_BYTES = 65_536
TOTAL_SECONDS = 30
MAX_RETRY_AFTER_SECONDS = 86_400
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
FORBIDDEN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A token of RFC 9110."""

# Ranges that the `ipaddress` of some Python calls global although what is behind may be inside:
# translated and tunnelled IPv4, site-local and documentation addresses, and the metadata services
# of clouds on public-looking addresses.
_INSIDE = [
    ipaddress.ip_network(network)
    for network in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
        "100::/64",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
    )
]


def is_public(address: str) -> bool:
    """Whether an IP address is a public one of a single host."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    isatap = ip.version == 6 and (int(ip) >> 32) & 0xFFFF_FFFF in {0x5EFE, 0x0200_5EFE}
    inside = any(ip in network for network in _INSIDE if network.version == ip.version)
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or inside or isatap)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were found public, or to hosts that the operator allows."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = host if host in conf().webhook_private_hosts else await _resolve(host, port)
        return await self._backend.connect_tcp(
            address, port, timeout, local_address, socket_options
        )


async def _resolve(host: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise Discard(f"The host {host!r} is no name of one.") from None
    addresses = [str(info[4][0]) for info in found]
    if not all(is_public(address.partition("%")[0]) for address in addresses):
        raise Discard(f"The host {host!r} is not on the public internet.")
    return addresses[0]


async def request(
    url: str, *, method: str, headers: Mapping[str, str], body: Any
) -> dict[str, Any]:
    """Send one request; answer status, headers and the beginning of the body.

    Raises `Discard` for a request that may not be sent or was refused for good, `Retry` where
    trying again makes sense, and httpcore's errors for a network that failed.
    """
    _check_url(url)
    _check_method(method)
    _check_headers(headers)
    content = b"" if body is None else _encode(body)
    sent = {"user-agent": "jobqueue", "accept": "*/*", **_lower(headers)}
    if content and not isinstance(body, str):
        sent.setdefault("content-type", "application/json")
    async with asyncio.timeout(TOTAL_SECONDS):
        return _judge(await _send(url, method, sent, content))


async def _send(
    url: str, method: str, headers: Mapping[str, str], content: bytes
) -> dict[str, Any]:
    async with (
        httpcore.AsyncConnectionPool(network_backend=_CheckedBackend()) as pool,
        pool.stream(method, url, headers=list(headers.items()), content=content) as response,
    ):
        received = bytearray()
        async for chunk in response.aiter_stream():
            received += chunk
            if len(received) >= MAX_RESPONSE_BYTES:
                break
        answered = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }
        answered.pop("set-cookie", None)
        text = bytes(received[:MAX_RESPONSE_BYTES]).decode("utf-8", "replace").replace("\0", "�")
        return {"status": response.status, "headers": answered, "body": text}


def _judge(answer: dict[str, Any]) -> dict[str, Any]:
    status = answer["status"]
    if 200 <= status < 300:
        return answer
    if status in {408, 429} or status >= 500:
        raise Retry(_retry_after(answer["headers"].get("retry-after")), f"answered {status}")
    raise Discard(f"The target answered {status}.")


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, at most a day; None where there is none to go by."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        when = email.utils.parsedate_to_datetime(value)
        # Without an offset the date is in GMT.
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0), MAX_RETRY_AFTER_SECONDS)


def _check_url(url: Any) -> None:
    if not isinstance(url, str):
        raise Discard("The URL must be a text.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Discard("The URL cannot be read.") from None
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in {"http", "https"} or not parts.hostname or not printable:
        raise Discard("The URL must be an http or https address in printable ASCII.")
    if "@" in parts.netloc:
        raise Discard("The URL must not hold a user name or password; use a header.")
    allowed = parts.hostname in conf().webhook_private_hosts
    if not allowed and port is not None and port not in {80, 443} and port < 1_024:
        raise Discard(f"The port {port} is not one for web servers.")


def _check_method(method: Any) -> None:
    if not isinstance(method, str) or method not in METHODS:
        raise Discard(f"The method must be one of {', '.join(sorted(METHODS))}.")


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise Discard("The headers must be an object of names and values.")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise Discard(f"The header name {name!r} is not one.")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise Discard(f"The header {name!r} must be printable ASCII text.")
        if name.lower() in FORBIDDEN_HEADERS:
            raise Discard(f"The header {name!r} is set by us.")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _encode(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
