"""Requests whose content type nobody can read: to Django they would be an error of the server."""

from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest


class _Readable:
    """For a request class: an unreadable content type means that nothing is known of the body.

    That is what a missing one means (RFC 9110, section 8.3); whoever wants JSON answers a 415.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except (BadRequest, LookupError, ValueError):
            meta["CONTENT_TYPE"] = "application/octet-stream"
            super()._set_content_type_params(meta)  # type: ignore[misc]


class _ReadableASGIRequest(_Readable, ASGIRequest):
    pass


class _ReadableWSGIRequest(_Readable, WSGIRequest):
    pass


def accept_any_content_type(application: ASGIHandler | WSGIHandler) -> None:
    """Let the application answer requests with such a header as others."""
    is_asgi = isinstance(application, ASGIHandler)
    application.request_class = _ReadableASGIRequest if is_asgi else _ReadableWSGIRequest
