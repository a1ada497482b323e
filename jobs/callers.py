"""From where a request came: what failures are counted by, and what the audit log remembers."""

from collections.abc import Callable
from contextvars import ContextVar
from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


def remember_address(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: while a request is answered, `caller_address` tells where it came from."""

    def remembering(request: HttpRequest) -> HttpResponse:
        token = _request.set(request)
        try:
            return answer(request)
        finally:
            _request.reset(token)

    return remembering


def caller_address() -> str | None:
    """The IP address that the present request came from; None outside of requests."""
    request = _request.get()
    return address_of(request) if request else None


def address_of(request: HttpRequest) -> str | None:
    """The caller's IP address: the one that the outermost of our own proxies (`PROXIES`) saw.

    What else stands in `X-Forwarded-For` was written by the caller and says nothing. None where
    there is none, as behind a Unix socket.
    """
    seen = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if 0 < settings.PROXIES <= len(forwarded):
        seen = forwarded[-settings.PROXIES].strip()
    try:
        return str(ip_address(seen))
    except ValueError:
        return None


def counted_address(request: HttpRequest) -> str:
    """Where failures are counted: django-ratelimit needs an address always."""
    return address_of(request) or "0.0.0.0"  # noqa: S104  (nothing is bound to it)
