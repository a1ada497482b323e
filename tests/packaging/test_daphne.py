"""What daphne does with requests that it takes from anybody."""

import http.client
import json
import socket
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from jobs.keys import create_api_key
from jobs.models import ApiKey, Tenant
from tests.factories import make_job
from tests.harness import wait_until
from tests.live_server import live_server

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS = 60


def posted(address: str, content_type: str, key: str = "") -> tuple[int, str]:
    """The status and the code that a body of a form is answered."""
    server = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
    headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {key}"} if key else {})
    server.request("POST", "/api/v1/jobs", b"no form at all", headers)
    answer = server.getresponse()
    code = json.loads(answer.read())["code"]
    server.close()
    return answer.status, code


def test_a_body_is_not_read_as_a_form_before_the_key(server: str, alice: Tenant) -> None:
    key = create_api_key(alice, actor="command:test")[1]
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert posted(server, kind) == (401, "not_authenticated")
        assert posted(server, kind, key) == (415, "unsupported_media_type")


def test_a_target_may_name_its_host(server: str, alice: Tenant) -> None:
    key = create_api_key(alice, actor="command:test")[1]
    make_job(alice, queue="orders")
    proxied = HTTPConnection(urlsplit(server).netloc, timeout=PATIENCE_SECONDS)
    query = "/api/v1/jobs?filter=queue:orders"
    proxied.request("GET", f"{server}{query}", headers={"Authorization": f"Bearer {key}"})
    answer = proxied.getresponse()
    assert (answer.status, len(json.loads(answer.read())["results"])) == (200, 1)
    proxied.request("GET", "http://elsewhere.example", headers={"Host": urlsplit(server).netloc})
    with proxied.getresponse() as refused:
        assert refused.status == 400  # who is meant is whom the target names
    proxied.close()


def test_its_access_log_has_no_queries() -> None:
    with live_server() as (address, process):
        server = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
        server.request("GET", "/api/v1/jobs?key=canary&filter=canary")
        assert server.getresponse().status == 401
        server.close()
        wait_until(lambda: '"GET /api/v1/jobs" 401' in process.output, PATIENCE_SECONDS)
        assert "canary" not in process.output


def test_an_export_that_cannot_go_on_is_cut_off_and_the_next_one_too(alice: Tenant) -> None:
    for _ in range(30):
        make_job(alice, payload=b'"%s"' % (b"x" * 900_000))
    with live_server() as (address, _):
        for _ in range(2):
            made, key = create_api_key(alice, actor="command:test")
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                read_until_cut_off(address, key, ApiKey.objects.filter(pk=made.pk).delete)


def read_until_cut_off(address: str, key: str, end: Callable[[], object]) -> None:
    """Read an export of which the key ends meanwhile."""
    reader = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
    reader.connect()
    reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.request("GET", "/api/v1/jobs/export", headers={"Authorization": f"Bearer {key}"})
    answer = reader.getresponse()
    answer.read(200)
    end()
    try:
        answer.read()
    finally:
        reader.close()
