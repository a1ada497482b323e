"""What is logged of a request: where it went, and never its query, which may hold a filter."""

import json
import logging

import pytest
from django.test import Client

from jobs.logs import StructuredFormatter

SECRET = "Jane"


@pytest.mark.parametrize(
    ("message", "arguments", "logged"),
    [
        (
            "Application instance %r for connection %s took too long",
            (
                "a",
                f"<WebRequest at 0x7f method=GET uri=/api/v1/jobs?filter={SECRET} proto=x>",
            ),
            "connection <WebRequest at 0x7f method=GET uri=/api/v1/jobs?... proto=x> took",
        ),
        ("Error handling request %s %s", ("GET", f"/jobs?filter=a%20{SECRET}"), "GET /jobs?..."),
        (
            f"Invalid HTTP request line: 'GET /jobs?filter=error:\"by {SECRET}\" HTTP/1.1'",
            (),
            "'GET /jobs?... HTTP/1.1'",
        ),
        ("HTTP %(method)s %(path)s", ({"method": "GET", "path": f"/?{SECRET}"},), "HTTP GET /?..."),
        ("Is it ready? /health says so", (), "Is it ready? /health says so"),
    ],
)
def test_a_line_has_no_query(message: str, arguments: tuple[object, ...], logged: str) -> None:
    logger = logging.getLogger("daphne.server")
    record = logger.makeRecord(logger.name, logging.WARNING, "", 0, message, arguments, None)
    line = json.loads(StructuredFormatter().format(record))["message"]
    assert logged in line
    assert SECRET not in line


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/no-such-page", "localhost", 404), ("/health/live", "of.somebody.else", 400)],
)
def test_what_anybody_can_have_refused_fills_no_log(
    path: str, host: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert Client(HTTP_HOST=host).get(path).status_code == status
    assert not caplog.records
