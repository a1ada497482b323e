"""Middleware that pages need and calls of the API do not: those have no session and no script."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware as Authentication
from django.contrib.messages.middleware import MessageMiddleware as Message
from django.contrib.sessions.middleware import SessionMiddleware as Session
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_htmx.middleware import HtmxMiddleware as Htmx

API = "/api/v1/"


def pages_only(middleware: type[Any]) -> type[Any]:
    """The middleware, passed over by calls of the API, whether they are awaited or not."""
    call: Callable[[Any, HttpRequest], Any] = middleware.__call__

    def call_for_pages(self: Any, request: HttpRequest) -> Any:
        return self.get_response(request) if request.path.startswith(API) else call(self, request)

    return type(middleware.__name__, (middleware,), {"__call__": call_for_pages})


ContentSecurityPolicyMiddleware = pages_only(import_string(settings.CSP_MIDDLEWARE))
SessionMiddleware = pages_only(Session)
AuthenticationMiddleware = pages_only(Authentication)
MessageMiddleware = pages_only(Message)
HtmxMiddleware = pages_only(Htmx)
