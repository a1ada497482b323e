"""Parts of addresses: names of queues and tasks, and NUL, which nothing is called by."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.urls.converters import StringConverter

NAMES = frozenset({"queue", "task"})
"""The parts of addresses that have to be names."""


class Name(StringConverter):
    """What should be the name of a queue or task in an address; its view says if it is none."""

    regex = "[^/]+"


def refuse_nul(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: 400 for a NUL in an address or a cookie, wherever it would have led.

    The API's views read each parameter strictly themselves and say which one is wrong.
    """

    def checked(request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/api/") and _has_nul(request):
            raise BadRequest("A NUL character cannot be looked for.")
        return answer(request)

    return checked


def _has_nul(request: HttpRequest) -> bool:
    texts = (request.path, *request.COOKIES.values())
    return "%00" in request.META.get("QUERY_STRING", "") or any("\0" in text for text in texts)
