"""Where the queue is, with which key, and the form of a request: the same for both clients."""

import os
from typing import Any, TypedDict

import httpx

from jobqueue_client.protocol import Send

VERSION = "0.1.0"
API_PATH = "/api/v1"
URL_VARIABLE, KEY_VARIABLE = "JOBQUEUE_URL", "JOBQUEUE_KEY"


class HttpOptions(TypedDict):
    """What httpx's clients are made with."""

    base_url: str
    headers: dict[str, str]


def http_options(url: str | None, key: str | None) -> HttpOptions:
    """From the address and the key, by default those of the environment. Raises `ValueError`.

    The address is the queue's (`https://jobs.example.org`), with or without `/api/v1`.
    """
    address = (url or os.environ.get(URL_VARIABLE, "")).strip().rstrip("/")
    secret = (key or os.environ.get(KEY_VARIABLE, "")).strip()
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"Give the queue's address, http://… or https://…, or set {URL_VARIABLE}.")
    if not secret:
        raise ValueError(f"Give a key of the tenant, or set {KEY_VARIABLE}.")
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("The key holds characters that no key has.")  # and httpx would print it
    return {
        "base_url": address.removesuffix(API_PATH) + API_PATH,
        "headers": {
            "Authorization": f"Bearer {secret}",
            "Accept": "application/json",
            "User-Agent": f"jobqueue-client/{VERSION}",
        },
    }


def request_of(http: httpx.Client | httpx.AsyncClient, send: Send) -> httpx.Request:
    """The request that a step asks for."""
    call = send.call
    content: dict[str, Any] = {"content": call.body} if call.body is not None else {}
    kind = {"Content-Type": "application/json"} if content else {}
    return http.build_request(
        call.method,
        call.path,
        params=call.query or None,
        headers={**call.headers, **kind},
        timeout=send.timeout_seconds,
        **content,
    )
