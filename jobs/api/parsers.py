"""Request bodies: JSON in UTF-8 of bounded size, and nothing else."""

import re
from collections.abc import Mapping
from typing import IO, Any

from django.http import HttpRequest
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from jobs.conf import conf
from jobs.errors import InvalidInput, LengthRequired, PayloadTooLarge
from jobs.exact_json import loads_object

_digits = re.compile(r"\A[0-9]{1,30}\Z")


class StrictJSONParser(BaseParser):
    """Parses a JSON object; see `exact_json` for what is refused and what keeps its bytes."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The body as a dict."""
        request: Request = (parser_context or {})["request"]
        _refuse_encodings(request)
        return loads_object(_read(stream, request), max_depth=conf().max_json_depth)


def body_of(request: Request) -> dict[str, Any]:
    """The parsed body. DRF asks no parser about a body of no bytes, so that is refused here."""
    _refuse_pieces(request)
    if not request.data:
        if _length(request) == 0:
            raise InvalidInput("The body is empty; JSON is expected.", code="malformed_json")
        return {}
    return dict(request.data)


def body_or_nothing_of(request: Request) -> dict[str, Any]:
    """The parsed body; without one, as if it were empty: every field has a default."""
    has_none = _length(request) == 0 and "Transfer-Encoding" not in request.headers
    return {} if has_none else body_of(request)


def refuse_body(request: Request) -> None:
    """Raise `InvalidInput` for a body that would be ignored; an empty object says nothing.

    `LengthRequired` where the sender does not say that there is none.
    """
    _refuse_pieces(request)
    if _length(request) and _read(request._request, request).strip() not in {b"", b"{}"}:
        raise InvalidInput("This call takes no body.", code="unknown_field")


def _refuse_pieces(request: Request) -> None:
    """A body of unknown length: not every server reads one."""
    if "Transfer-Encoding" in request.headers and "Content-Length" not in request.headers:
        raise LengthRequired("Send the body whole, with a Content-Length.")


def _refuse_encodings(request: Request) -> None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedMediaType(f"Content-Encoding: {encoding[:50]}")
    charset = (request._request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(f"{request.content_type}"[:100])


def _length(request: Request) -> int:
    """How many bytes the body has, as its sender says; 0 where that is not said."""
    said = request.META.get("CONTENT_LENGTH") or "0"
    if not _digits.match(said):
        raise InvalidInput("The Content-Length is no number of bytes.")
    return int(said)


def _read(stream: IO[Any] | HttpRequest, request: Request) -> bytes:
    """At most the bytes allowed, so that a larger body is never held as a whole."""
    limit = conf().max_body_bytes
    if _length(request) > limit:
        raise _too_large(limit)
    body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"A request body may have {limit} bytes.")
