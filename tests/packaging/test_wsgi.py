"""The WSGI server of a deployment serves pages and REST."""

import io
import json
import logging
import runpy
import socket
import struct
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from bench.service_server import OURS, served
from jobs.keys import create_api_key
from jobs.models import Tenant
from tests.architecture.rules import ROOT

ANSWER_SECONDS = 60


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body, also of an error."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.django_db(transaction=True)
def test_it_answers_pages_files_and_calls(alice: Tenant) -> None:
    _, key = create_api_key(alice, actor="command:test")
    with served(OURS) as port:
        assert get(port, "/health/ready")[0] == 200
        assert b"csrfmiddlewaretoken" in get(port, "/login")[1]
        assert get(port, "/static/dashboard/app.css")[0] == 200
        assert get(port, "/api/v1/jobs")[0] == 401
        assert get(port, "/api/v1/jobs", Authorization=f"Bearer {key}")[0] == 200


def test_what_it_logs_of_a_request_that_went_wrong_has_no_query() -> None:
    logger, written = logging.Logger("gunicorn.error"), io.StringIO()
    logger.addHandler(logging.StreamHandler(written))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "getLogger", lambda name: {logger.name: logger}[name])
        runpy.run_path(str(ROOT / "deploy" / "gunicorn.py"))["on_starting"](None)
    logger.error("Error handling request %s %s", "GET", "/api/v1/jobs?filter=Jane")
    message = json.loads(written.getvalue())["message"]
    assert message == "Error handling request GET /api/v1/jobs?..."


def test_a_client_that_takes_nothing_does_not_hold_a_thread_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SimpleNamespace(LISTENERS=[SimpleNamespace(sock=listener)])
        runpy.run_path(str(ROOT / "deploy" / "gunicorn.py"))["when_ready"](server)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            longest = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
    assert struct.unpack("ll", longest) == (30, 0)
