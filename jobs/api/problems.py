"""Every error as `application/problem+json` (RFC 9457), the framework's own included.

`code` is stable and for programs, `detail` for people; `errors` points at the fields. Neither ever
repeats a payload. docs/errors.md explains each code.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from django.core.exceptions import DisallowedHost, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from jobs.api.rate_limits import refusal_headers
from jobs.api.renderers import RawJSONRenderer
from jobs.errors import (
    EncryptionKeyMissing,
    InvalidFields,
    InvalidInput,
    JobQueueError,
    TooManyRequests,
)
from jobs.uuid7 import uuid7

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:jobqueue:error:"
_LATER = {"Retry-After": "5"}

OTHER_CODES: Mapping[str, tuple[int, str]] = {
    "not_authenticated": (401, "There is no `Authorization: Bearer` header."),
    "authentication_failed": (401, "The key is unknown, revoked, expired or mistyped."),
    "method_not_allowed": (405, "The header `Allow` says which methods are."),
    "not_acceptable": (406, "The header `Accept` excludes JSON."),
    "unsupported_media_type": (415, "Not `application/json` in UTF-8, or a Content-Encoding."),
    "unavailable": (503, "The database cannot be used at the moment; try again."),
    "internal_error": (500, "A mistake of ours, which has been logged."),
}
"""Statuses and meanings of the codes that no class of `jobs.errors` has."""

_INSTEAD: Mapping[str, str] = {
    "not_acceptable": " What is served here is application/json.",
    "unsupported_media_type": " Send application/json in UTF-8, without a Content-Encoding.",
}

logger = logging.getLogger(__name__)
_CUT_ESCAPE = re.compile(r"%.?\Z")
_acceptable_id = re.compile(r"\A[A-Za-z0-9._-]{1,64}\Z")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a request, ready to be told."""

    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_response(exc: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler."""
    set_rollback()
    problem, request = _problem_of(exc, context), context["request"]
    request.accepted_renderer = RawJSONRenderer()  # whatever the view answers otherwise
    request.accepted_media_type = RawJSONRenderer.media_type
    return Response(
        _body(problem, request),
        status=problem.status,
        headers=dict(problem.headers),
        content_type=MEDIA_TYPE,
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler400`: what never reached a view, such as a forged `Host`."""
    if not request.path.startswith("/api/"):
        return defaults.bad_request(request, exception)
    body = _body(_suspicious(exception), request)
    headers = {"X-Request-Id": body["request_id"]}
    return JsonResponse(body, status=400, headers=headers, content_type=MEDIA_TYPE)


def _body(problem: Problem, request: Request | HttpRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code,
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail[:500],
        "instance": _CUT_ESCAPE.sub("", quote(request.path)[:500]),
        "code": problem.code,
        "request_id": request_id(request),
    }
    if problem.errors:
        body["errors"] = problem.errors
    return body


def request_id(request: Request | HttpRequest) -> str:
    """The request's id: the caller's `X-Request-Id` if it is a decent one, otherwise made here."""
    known: str | None = request.META.get("jobs.request_id")
    if known is None:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        known = given if _acceptable_id.match(given) else f"req_{uuid7().hex}"
        request.META["jobs.request_id"] = known
    return known


def _problem_of(exc: Exception, context: Mapping[str, Any]) -> Problem:
    match exc:
        case InvalidInput():
            return _invalid(exc)
        case TooManyRequests():
            return Problem(exc.status, exc.code, exc.detail, headers=refusal_headers(exc))
        case EncryptionKeyMissing():
            return Problem(exc.status, exc.code, exc.detail, headers=_LATER)
        case JobQueueError():
            return Problem(exc.status, exc.code, exc.detail, errors=_item(exc, context["view"]))
        case APIException():
            return _of_rest_framework(exc)
        case _:
            return _of_django(exc, context["request"])


def _invalid(error: InvalidInput) -> Problem:
    each = error.errors if isinstance(error, InvalidFields) else [error]
    return Problem(
        error.status,
        error.field_code,
        error.detail,
        errors=[
            {"pointer": f"/{one.pointer}", "code": one.field_code, "detail": one.detail[:300]}
            for one in each
            if one.pointer
        ],
    )


def _item(error: JobQueueError, view: Any) -> list[dict[str, str]]:
    """In a bulk request, which item the error is about."""
    index = error.extra.get("index")
    if index is None or not getattr(view, "is_bulk", False):
        return []
    return [{"pointer": f"/jobs/{index}", "code": error.code, "detail": error.detail}]


def _of_rest_framework(exc: APIException) -> Problem:
    challenge: str | None = getattr(exc, "auth_header", None)
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    code = exc.default_code if isinstance(exc.default_code, str) else "error"
    detail = f"{exc.detail}{_INSTEAD.get(code, '')}"
    return Problem(exc.status_code, code, detail, headers=headers)


def _of_django(exc: Exception, request: Request) -> Problem:
    match exc:
        case Http404():
            return Problem(404, NotFound.default_code, "There is nothing here.")
        case RequestDataTooBig():
            return Problem(413, "too_large", "The request body is too large.")
        case SuspiciousOperation():
            return _suspicious(exc)
        case _:
            return _failure(exc, request)


def _suspicious(exc: Exception) -> Problem:
    is_host = isinstance(exc, DisallowedHost)
    told = "This host is not allowed here; ALLOWED_HOSTS of the installation names those that are."
    return Problem(400, "invalid_input", told if is_host else "The request is malformed.")


def _failure(exc: Exception, request: Request) -> Problem:
    """An error of ours: logged with its traceback, told to Django's signal, named to nobody."""
    logger.error("request failed", exc_info=exc, extra={"request_id": request_id(request)})
    if isinstance(exc, OperationalError):
        return Problem(
            503,
            "unavailable",
            "The database cannot be used at the moment; try again.",
            headers=_LATER,
        )
    got_request_exception.send(sender=None, request=request._request)
    return Problem(500, "internal_error", "Something went wrong here; it has been logged.")
